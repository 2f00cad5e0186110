/*
 * Chunk files that are open: opened once for all who ask at the same time, kept while somebody uses them and for as long
 * as there is room. A file that is taken out of the table is closed when its last user is done.
 */

import type { FsError } from '../base/fault.ts'
import { type ChunkId, chunkName } from '../base/ids.ts'
import type { ChunkFile } from './chunk-file.ts'

export interface Handle {
  readonly chunk: ChunkId
  readonly opening: Promise<ChunkFile>
  file: ChunkFile | undefined
  users: number
  /** The length that was told last. */
  counted: number
  /** Taken out of the table. */
  doomed: boolean
}

/** Open files per disk: a descriptor and about 5 KiB each, so 256 are 1.3 MiB, enough for every writer and hot chunk. */
const OPEN_FILES_MAX = 256
/** Handles looked at when there are too many; those in use or not yet synced stay, the next call looks further. */
const EVICT_LOOKS = 8

/** What the owner of the files wants to know. */
export interface OpenFilesEvents {
  /** How long a file is, whenever it may have changed, before `counted` is set to it. */
  counts(handle: Handle, length: number): void
  /** The file is no longer in the table: nothing more is told of it, what happens to its last users is about no chunk. */
  dropped(handle: Handle): void
  /** What a user ran into; it is thrown on. */
  failed(handle: Handle, error: unknown): void
}

export class OpenFiles {
  readonly #failure: (error: unknown, doing: string) => FsError
  readonly #events: OpenFilesEvents
  /** In order of use, oldest first. */
  readonly #handles = new Map<ChunkId, Handle>()

  constructor(failure: (error: unknown, doing: string) => FsError, events: OpenFilesEvents) {
    this.#failure = failure
    this.#events = events
  }

  get(chunk: ChunkId): Handle | undefined {
    return this.#handles.get(chunk)
  }

  /** The file, if it is open; it counts as used now. */
  touched(chunk: ChunkId): ChunkFile | undefined {
    const handle = this.#handles.get(chunk)
    if (handle?.file === undefined) return undefined
    this.#handles.delete(chunk)
    this.#handles.set(chunk, handle)
    return handle.file
  }

  /** The handle of the chunk, opened by `open` when there is none. */
  obtain(chunk: ChunkId, open: () => Promise<ChunkFile>): Handle {
    const known = this.#handles.get(chunk)
    if (known !== undefined) {
      this.#handles.delete(chunk)
      this.#handles.set(chunk, known)
      return known
    }
    const handle: Handle = { chunk, opening: open(), file: undefined, users: 0, counted: 0, doomed: false }
    handle.opening.then(
      (file) => {
        handle.file = file
        this.#count(handle, file.length)
      },
      () => {
        if (this.#handles.get(chunk) === handle) this.#handles.delete(chunk)
      },
    )
    this.#handles.set(chunk, handle)
    this.#evict()
    return handle
  }

  async use<T>(handle: Handle, work: (file: ChunkFile) => Promise<T>): Promise<T> {
    handle.users++
    try {
      const file = handle.file ?? (await handle.opening)
      const answer = await work(file)
      this.#count(handle, file.length)
      return answer
    } catch (error) {
      if (!handle.doomed) this.#events.failed(handle, error)
      throw error
    } finally {
      handle.users--
      if (handle.doomed && handle.users === 0) this.#close(handle)
    }
  }

  #count(handle: Handle, length: number): void {
    if (handle.doomed) return
    this.#events.counts(handle, length)
    handle.counted = length
  }

  drop(chunk: ChunkId): void {
    const handle = this.#handles.get(chunk)
    if (handle === undefined) return
    this.#handles.delete(chunk)
    handle.doomed = true
    this.#events.dropped(handle)
    if (handle.users === 0) this.#close(handle)
  }

  dropAll(): void {
    for (const chunk of [...this.#handles.keys()]) this.drop(chunk)
  }

  #close(handle: Handle): void {
    void handle.opening.then(
      (file) =>
        file.close().catch((error: unknown) => this.#failure(error, `closing chunk ${chunkName(handle.chunk)}`)),
      () => {},
    )
  }

  #evict(): void {
    if (this.#handles.size <= OPEN_FILES_MAX) return
    let looks = EVICT_LOOKS
    for (const handle of this.#handles.values()) {
      if (looks-- === 0) return
      // Looked at again when all others have been: those that have to stay must not hide those that need not.
      this.#handles.delete(handle.chunk)
      this.#handles.set(handle.chunk, handle)
      if (handle.users > 0 || handle.file === undefined) continue
      if (handle.file.idle) {
        this.drop(handle.chunk)
        if (this.#handles.size <= OPEN_FILES_MAX) return
      } else if (handle.file.unsynced) {
        // Old and not durable yet: made so now, closed at a later look. The sync's failure is kept by the chunk file.
        const { file } = handle
        void this.use(handle, () => file.sync(file.length)).catch((error: unknown) => this.#failure(error, 'syncing'))
      }
    }
  }
}
