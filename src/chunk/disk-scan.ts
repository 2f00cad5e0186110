/*
 * What lies in the chunk directories, by name alone. Files that are not ours are counted and left alone.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkId } from '../base/ids.ts'
import { CHUNK_FILE, COPY_FILE, dirOf, IDENTITY } from './disk-identity.ts'
import type { DiskIo } from './disk-io.ts'

export interface Scan {
  readonly chunks: ReadonlySet<ChunkId>
  /** Begun and not finished. */
  readonly copies: readonly ChunkId[]
  readonly foreign: number
}

export async function scanDisk(io: DiskIo): Promise<Scan> {
  const chunks = new Set<ChunkId>()
  const copies: ChunkId[] = []
  let foreign = 0
  for (let i = 0; i < 256; i++) {
    const dir = dirOf(chunkId(i))
    if (!(await io.exists(dir))) {
      // Lost to a repair of the filesystem. Not made anew when it is the whole disk that has gone meanwhile.
      if (!(await io.exists(IDENTITY))) throw new FsError('ENODEV', `${io.root} vanished`)
      await io.makeDir(dir)
    }
    const idIn = (pattern: RegExp, name: string): ChunkId | undefined => {
      const hex = pattern.exec(name)?.[1]
      const id = hex === undefined ? undefined : Number.parseInt(hex, 16)
      return id !== undefined && Number.isSafeInteger(id) && id % 256 === i ? chunkId(id) : undefined
    }
    for (const name of await io.list(dir)) {
      const chunk = idIn(CHUNK_FILE, name)
      const copy = idIn(COPY_FILE, name)
      if (chunk !== undefined) chunks.add(chunk)
      else if (copy !== undefined) copies.push(copy)
      else foreign++
    }
  }
  return { chunks, copies, foreign }
}
