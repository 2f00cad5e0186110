/*
 * Sealing: every copy that can be reached is told the committed length, cuts what is beyond, and counts as sealed when it
 * has confirmed. One confirmation makes the chunk sealed; copies that were away confirm when they come back.
 *
 * What was committed but not yet on the disks can be lost with the power on all of them at once. Only when every copy has
 * been heard, or has stayed away past its grace, and none holds what was committed, the chunk ends where the longest of
 * them does; the others are not cut down to a shorter one's length. What is beyond stays in the files as bytes that
 * cannot be read, and a longer copy that comes back later is asked for it before it is sealed.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId, Ino } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { ChunkJobs } from './chunk-jobs.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import { bytesBeyond } from './core/chunks.ts'
import { lostFiles } from './core/losses.ts'
import type { ChunkRecord } from './core/records.ts'
import { isGone } from './core/repair.ts'
import { isAbsence } from './orders.ts'
import type { WorkParts } from './parts.ts'
import type { Spare } from './spare.ts'

/** With something waiting for its rest to be over; the end of an order ends the wait early. */
const WAIT_MS = 1_000
const IDLE_MS = 60_000
/** Files named in the log; `holdfast check` names more. */
const FILES_TOLD = 16
/** Extents counted between two turns of the event loop: about 10 ms. */
const COUNTED_AT_ONCE = 2_048
/** Whoever changes files of a chunk makes its count worthless; one that changes all the time is counted in one go. */
const COUNTS_MAX = 3

/** How the copies answered. */
interface Answers {
  readonly confirmed: DiskId[]
  readonly refused: DiskId[]
  absent: number
  /** Of both, those that did not say that they never held that much: they were away, or their disk was in trouble. */
  unsure: number
}

export class Sealing implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #jobs: ChunkJobs
  readonly #spare: Spare

  constructor(master: WorkParts, watch: ChunkWatch, jobs: ChunkJobs, spare: Spare) {
    this.#master = master
    this.#watch = watch
    this.#jobs = jobs
    this.#spare = spare
  }

  queued(): number {
    return this.#watch.sealing
  }
  progress(): string {
    return this.#jobs.progress()
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    for (const chunk of this.#watch.nextSealing(this.#jobs.room(), this.#jobs.busy))
      this.#jobs.begin(chunk, undefined, signal, { says: 'sealing failed; trying again later' }, (own) =>
        this.#seal(chunk, own),
      )
    return { restMs: this.#jobs.waits ? WAIT_MS : IDLE_MS, resting: 'idle' }
  }

  /** Whether everybody who can be reached has answered for good. */
  async #seal(chunk: ChunkId, signal: AbortSignal): Promise<boolean> {
    const record = this.#master.state.chunk(chunk)
    if (record === undefined || record.state === 'open') return true
    const pending = record.state === 'sealing' ? record.disks : record.unsealed
    const present = pending.filter((disk) => this.#master.nodes.isLive(disk))
    if (present.length === 0) return false
    if (record.lost !== undefined) return this.#shorten(chunk, record, present, signal)
    const answers = await this.#tell(chunk, record.length, present, signal)
    const none = record.state === 'sealing' && answers.confirmed.length === 0
    if (none && answers.unsure === 0 && this.#allHeard(record)) {
      if (record.whole !== undefined) return this.#missing(chunk, record, present)
      return this.#shorten(chunk, record, present, signal)
    }
    return this.#take(chunk, answers)
  }

  /** How long a part is follows from its chunk: one that nobody has whole is made anew, as long as it was. */
  async #missing(chunk: ChunkId, { length }: ChunkRecord, present: readonly DiskId[]): Promise<boolean> {
    this.#master.log.warn({ chunk, length }, 'a part is not on its disk; it is made anew')
    await this.#master.loop.command(() => ({
      ok: { kind: 'chunkShortened', chunk, length, disks: [], gone: [...present], lost: 0 },
    }))
    return true
  }

  async #take(chunk: ChunkId, { confirmed, refused, absent }: Answers): Promise<boolean> {
    if (confirmed.length > 0)
      await this.#master.loop.command(() => ({ ok: { kind: 'chunkSealed', chunk, disks: confirmed } }))
    return (await this.#dropRefused(chunk, refused)) === 0 && absent === 0
  }

  /** The copies that are not here now are not expected back. */
  #allHeard({ disks }: ChunkRecord): boolean {
    const rules = this.#master.state.settings()
    const map = this.#master.nodes.map()
    return disks.every((disk) => {
      const known = map.get(disk)
      return known === undefined || known.live || isGone(known, rules)
    })
  }

  async #tell(chunk: ChunkId, length: number, disks: readonly DiskId[], signal: AbortSignal): Promise<Answers> {
    const answers: Answers = { confirmed: [], refused: [], absent: 0, unsure: 0 }
    const digests = new Map<string, number>()
    await Promise.all(
      disks.map(async (disk) => {
        try {
          const request = { disk, chunk, length }
          const { digest } = await this.#master.orders.give(disk, 'orderSeal', request, signal, { writes: [disk] })
          digests.set(digest, disk)
          answers.confirmed.push(disk)
        } catch (error) {
          if (!(error instanceof FsError)) throw error
          this.#master.log.warn({ chunk, disk, length, error: error.message }, 'a copy could not be sealed')
          if (isAbsence(error)) answers.absent++
          else answers.refused.push(disk)
          if (!isFinal(error)) answers.unsure++
        }
      }),
    )
    if (digests.size > 1)
      this.#master.log.error(
        { chunk, disks: [...digests.values()] },
        'copies of one chunk differ although their checksums are good',
      )
    return answers
  }

  /**
   * A copy that does not hold what was committed is none. Without one that does and can be read now it is kept all the
   * same: part of the data is better than nothing. Answers how many are kept.
   */
  async #dropRefused(chunk: ChunkId, refused: readonly DiskId[]): Promise<number> {
    let kept = 0
    for (const disk of refused) {
      if (this.#master.state.chunk(chunk)?.state === 'sealed' && this.#spare.hasOther(chunk, disk))
        await this.#master.loop.command(() =>
          this.#spare.hasOther(chunk, disk)
            ? { ok: { kind: 'copyDropped', chunk, disk, reason: 'damaged' } }
            : { errno: 'EAGAIN', detail: 'the copy may be needed' },
        )
      else kept++
    }
    return kept
  }

  /**
   * Ends the chunk where the longest of these copies does, or, when it has been shortened before and none of these is
   * longer, seals them like the others. Each copy is only ever sealed at its own full length or at the chunk's.
   */
  async #shorten(
    chunk: ChunkId,
    record: ChunkRecord,
    present: readonly DiskId[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const committed = record.committed ?? record.length
    const lengths = await this.#lengths(chunk, present, committed, signal)
    if (lengths === undefined) return false
    const atLeast = record.state === 'sealing' ? 0 : record.length
    const longer = [...new Set(lengths.values())].filter((length) => length > atLeast).sort((a, b) => b - a)
    for (const length of longer) {
      const disks = present.filter((disk) => lengths.get(disk) === length)
      const { confirmed, unsure } = await this.#tell(chunk, length, disks, signal)
      if (confirmed.length === 0 && unsure > 0) return false
      if (confirmed.length > 0) return this.#endAt(chunk, length, committed, confirmed, [])
    }
    if (record.state === 'sealing') return this.#endAt(chunk, 0, committed, [], present)
    return this.#take(chunk, await this.#tell(chunk, record.length, present, signal))
  }

  /** What the copies hold, as far as it was committed; undefined when one of them cannot be asked now. */
  async #lengths(
    chunk: ChunkId,
    disks: readonly DiskId[],
    committed: number,
    signal: AbortSignal,
  ): Promise<Map<DiskId, number> | undefined> {
    const lengths = new Map<DiskId, number>()
    for (const disk of disks) {
      const held = await this.#master.orders.give(disk, 'orderVerify', { disk, chunks: [chunk], deep: false }, signal)
      const length = held.chunks.find((entry) => entry.chunk === chunk)?.length
      if (length === undefined) return undefined
      lengths.set(disk, Math.min(length, committed))
    }
    return lengths
  }

  /** What files miss when the chunk ends there; in slices, as long as nothing changes meanwhile. */
  async #lostBeyond(chunk: ChunkId, length: number): Promise<number> {
    let lost = 0
    for (let after: { ino: Ino; offset: number } | undefined; ; ) {
      const page = this.#master.state.extents.inChunk(chunk, after, COUNTED_AT_ONCE)
      for (const { extent } of page) lost += bytesBeyond(extent, length)
      const last = page.at(-1)
      if (last === undefined || page.length < COUNTED_AT_ONCE) return lost
      after = { ino: last.ino, offset: last.extent.offset }
      await this.#master.clock.sleep(0)
    }
  }

  async #endAt(
    chunk: ChunkId,
    length: number,
    committed: number,
    disks: readonly DiskId[],
    gone: readonly DiskId[],
  ): Promise<boolean> {
    let before = this.#master.state.chunk(chunk)
    let counted = await this.#lostBeyond(chunk, length)
    for (let counts = 1; this.#master.state.chunk(chunk) !== before && counts < COUNTS_MAX; counts++) {
      before = this.#master.state.chunk(chunk)
      counted = await this.#lostBeyond(chunk, length)
    }
    await this.#master.loop.command(() => {
      // The record is another one as soon as anything that refers to the chunk came or went.
      const missed = this.#master.state.chunk(chunk) === before ? counted : undefined
      return { ok: { kind: 'chunkShortened', chunk, length, disks: [...disks], gone: [...gone], lost: missed } }
    })
    const lost = this.#master.state.chunk(chunk)?.lost ?? 0
    const fields = { chunk, length, committed, lost }
    if (lost === 0) this.#master.log.warn(fields, 'all copies of a chunk ended early; no file has lost anything by it')
    else
      this.#master.log.error(
        { ...fields, files: lostFiles(this.#master.state, chunk, FILES_TOLD) },
        'no copy of a chunk holds all that was committed: these files have lost bytes; restore them, or write them again',
      )
    return true
  }
}

/** The copy does not hold it, whenever it is asked: not a disk or a connection in trouble. */
const isFinal = ({ code }: FsError): boolean => code === 'ERANGE' || code === 'ENOENT' || code === 'EBADMSG'
