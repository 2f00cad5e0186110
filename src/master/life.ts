/*
 * Chunks that change what they are to be: sealed and kept, archived when their time has come, held for the trash when their
 * files are deleted, moved when their class, or that of their files, says something else. What is decided is one command
 * for many (`chunkWishes`); repair carries it out.
 *
 * Looked at is what commands touched, what is due, and, when labels or places of disks have changed and now and then, every
 * chunk there is, slowly: that finds what stands wrong by now, and what was forgotten by a restart. Everything held here can be
 * thrown away. While nothing has any but the default class nothing is looked at, because nothing could be wanted.
 */

import type { ChunkId, Ino } from '../base/ids.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { ChunkWatch } from './chunk-watch.ts'
import { DEFAULT_CLASS } from './core/class-table.ts'
import { codeFor } from './core/coding.ts'
import { type ChunkWished, WISHES_MAX } from './core/commands-chunks.ts'
import { DueTimes } from './core/due-times.ts'
import { type Life, Living } from './core/life.ts'
import type { ChunkRecord } from './core/records.ts'
import { ALL_COUNTED, NOBODYS } from './core/usage.ts'
import type { WorkParts } from './parts.ts'

/** Chunks, and files, waiting to be looked at; what is beyond is found by a survey. */
const FRESH_MAX = 100_000
/** Chunks waiting for their time. Beyond it, the survey finds those that are due. */
const DUE_MAX = 1_000_000
/** Chunks taken from a survey in one step, and files whose chunks are. */
const STEP_CHUNKS = 256
/** Looked at in one step, in extents: some 20 ms of the processor, and commits of wishes between. */
const STEP_EXTENTS = 8_192
/** What looking at a chunk costs beside its extents, in extents. */
const EXTENTS_A_CHUNK = 16
const STEP_REST_MS = 50
/** Of a chunk with more extents than this one page is looked at in a step: some milliseconds, while the others go on. */
const PAGE_EXTENTS = 1_024
const WALKS_AT_ONCE = 4
/** Such chunks begun: some megabytes. What is beyond is found by a survey. */
const WALKS_MAX = 10_000
/** Of one file at a time. */
const FILE_EXTENTS = 1_024
const SURVEY_EVERY_MS = 6 * 3_600_000
/** When something did not fit into a queue, the next survey comes sooner: after as many times what the last one took, … */
const SURVEY_REST_FACTOR = 10
/** … and at least after this. */
const SURVEY_REST_MS = 30_000
/** After the start: first the disks come back. */
const FIRST_SURVEY_MS = 15_000
const DUE_LOOK_MS = 1_000
const PLACES_EVERY_MS = 1_000
const IDLE_MS = 60_000

export class Lives implements Work {
  readonly #master: WorkParts
  readonly #watch: ChunkWatch
  readonly #fresh = new Set<ChunkId>()
  readonly #files = new Map<Ino, number>()
  readonly #due = new DueTimes<ChunkId>(DUE_MAX)
  readonly #walks = new Map<ChunkId, Walk>()
  /** Decided, and not told yet: a commit costs as much as many wishes. */
  #wishes: ChunkWished[] = []
  #idle = true
  #cursor: ChunkId | 0 | undefined
  #surveyAtMs: number
  #beganMs = 0
  /** Something did not fit into a queue since the last survey began. */
  #missed = false
  #againAtMs = 0
  #places: string | undefined
  #placesAtMs = 0
  /** As of that command. */
  #used = false
  #usedAsOf: number | undefined
  #changed = 0

  constructor(master: WorkParts, watch: ChunkWatch) {
    this.#master = master
    this.#watch = watch
    this.#surveyAtMs = master.clock.monotonicMs() + FIRST_SURVEY_MS
  }

  /** Whether anything has, or a chunk is still as it had, a class that says more than how many copies there are. */
  get #classes(): boolean {
    const { state } = this.#master
    const { index, nextClass, usageTo } = state.counters()
    if (nextClass === undefined) return false
    if (this.#usedAsOf !== index) {
      this.#usedAsOf = index
      // Chunks of a class that is deleted count, too: they are to become the default one's.
      const chunks = (): boolean => state.usage.numbers().some((row) => row !== NOBODYS && row !== DEFAULT_CLASS)
      this.#used = state.classes.defaultSet || state.classes.given || usageTo !== ALL_COUNTED || chunks()
    }
    return this.#used
  }

  /** Commands have changed these. */
  touched(chunks: readonly ChunkId[]): void {
    if (!this.#classes) return
    for (const chunk of chunks)
      if (this.#fresh.size < FRESH_MAX) this.#fresh.add(chunk)
      else this.#missed = true
  }
  touchedFiles(inodes: readonly { readonly ino: Ino; readonly data: boolean }[]): void {
    if (!this.#classes) return
    for (const { ino } of inodes)
      if (this.#files.size < FRESH_MAX) this.#files.set(ino, 0)
      else this.#missed = true
  }
  /** It rests and has something to do: a rest between two steps is not to be cut short by every commit. */
  get waits(): boolean {
    return this.#idle && this.queued() > 0
  }
  queued(): number {
    return this.#fresh.size + this.#files.size + this.#walks.size
  }
  progress(): string {
    const surveying = this.#cursor === undefined ? '' : `, surveying from chunk ${this.#cursor}`
    return `${this.#changed} changed, ${this.#due.size} waiting for their time${surveying}`
  }

  async step(): Promise<WorkStep> {
    this.#idle = true
    if (!this.#classes) {
      this.#fresh.clear()
      this.#files.clear()
      this.#walks.clear()
      return { restMs: IDLE_MS, resting: 'idle' }
    }
    this.#idle = false
    for (const chunk of this.#due.take(this.#master.clock.now().sec)) this.#fresh.add(chunk)
    this.#takeFiles()
    const nowMs = this.#master.clock.monotonicMs()
    this.#lookAtPlaces(nowMs)
    this.#missed ||= this.#watch.takeMissed()
    const again = this.#missed && nowMs >= this.#againAtMs
    if (this.#cursor === undefined && (again || nowMs >= this.#surveyAtMs)) this.#cursor = 0
    if (this.#cursor === 0) {
      this.#beganMs = nowMs
      this.#missed = false
    }
    if (this.#cursor !== undefined && this.#fresh.size < STEP_CHUNKS) this.#takeSurveyed(nowMs)
    await this.#lookAtFresh()
    const busy = this.queued() > 0 || this.#cursor !== undefined
    this.#idle = !busy
    return busy ? { restMs: STEP_REST_MS, resting: 'throttled' } : { restMs: DUE_LOOK_MS, resting: 'idle' }
  }

  /** Disks that have come, and other labels, racks and sites, whoever gave them: everything may stand wrong. */
  #lookAtPlaces(nowMs: number): void {
    if (nowMs < this.#placesAtMs) return
    this.#placesAtMs = nowMs + PLACES_EVERY_MS
    const places = [...this.#master.nodes.map().values()]
      .map(({ disk, location, labels }) => [disk, location.host, location.rack, location.site, ...labels].join(' '))
      .sort()
      .join('\n')
    if (this.#places !== undefined && places !== this.#places) this.#cursor = 0
    this.#places = places
  }

  /** The chunks of files that were deleted, restored, changed. */
  #takeFiles(): void {
    let left = STEP_CHUNKS
    for (const [ino, from] of this.#files) {
      if (left-- === 0 || this.#fresh.size >= FRESH_MAX) break
      this.#files.delete(ino)
      const { extents, complete } = this.#master.state.extents.from(ino, from, FILE_EXTENTS)
      for (const { chunk } of extents) this.#fresh.add(chunk)
      const last = extents.at(-1)
      if (!complete && last !== undefined) this.#files.set(ino, last.offset + last.length)
    }
  }

  #takeSurveyed(nowMs: number): void {
    const page = this.#master.state.chunkIndex.all(this.#cursor!, STEP_CHUNKS)
    for (const chunk of page) this.#fresh.add(chunk)
    // Also where each stands.
    this.#watch.touched(page)
    this.#cursor = page.at(-1)
    if (this.#cursor !== undefined) return
    this.#surveyAtMs = nowMs + SURVEY_EVERY_MS
    this.#againAtMs = nowMs + Math.max(SURVEY_REST_MS, (nowMs - this.#beganMs) * SURVEY_REST_FACTOR)
  }

  async #lookAtFresh(): Promise<void> {
    let left = STEP_EXTENTS
    for (const [chunk, walk] of [...this.#walks].slice(0, WALKS_AT_ONCE)) left -= this.#goOn(chunk, walk)
    const beganMs = this.#nowMs()
    for (const chunk of this.#fresh) {
      if (left <= 0) break
      this.#fresh.delete(chunk)
      const walk = this.#walks.get(chunk)
      if (walk !== undefined) walk.again = true
      else left -= this.#goOn(chunk, { sum: new Living(), beganMs, after: undefined, again: false })
      if (this.#wishes.length >= WISHES_MAX) await this.#tell()
    }
    if (this.#wishes.length > 0) await this.#tell()
  }

  #nowMs(): number {
    const { sec, nsec } = this.#master.clock.now()
    return sec * 1000 + nsec / 1e6
  }

  /** Looks at the next page of a chunk's extents, and after the last one judges it. Answers what that cost. */
  #goOn(chunk: ChunkId, walk: Walk): number {
    this.#walks.delete(chunk)
    const { state } = this.#master
    const record = state.chunk(chunk)
    if (record?.state !== 'sealed' || record.live === 0 || record.whole !== undefined) return 1
    const page = state.extents.inChunk(chunk, walk.after, PAGE_EXTENTS)
    const { trashRetentionMs } = state.settings()
    for (const { ino, extent } of page) {
      const inode = ino === walk.after?.ino ? undefined : state.inode(ino)
      walk.after = { ino, offset: extent.offset }
      if (inode === undefined || inode.doomed) continue
      const trashed = inode.trashedUntil !== undefined
      walk.sum.add({ attr: inode.attr, trashed, retentionMs: inode.retentionMs ?? trashRetentionMs })
    }
    if (page.length === PAGE_EXTENTS) {
      // Last of all: each gets its turn.
      if (this.#walks.size < WALKS_MAX) this.#walks.set(chunk, walk)
      else this.#missed = true
    } else {
      this.#judge(chunk, record, walk)
      if (walk.again) this.#fresh.add(chunk)
    }
    return EXTENTS_A_CHUNK + page.length
  }

  #judge(chunk: ChunkId, record: ChunkRecord, { sum, beganMs }: Walk): void {
    const life = sum.life((classId) => this.#master.state.classes.meaning(classId), record, beganMs)
    if (life === undefined) return
    if (life.dueMs !== undefined) this.#due.add(chunk, Math.ceil(life.dueMs / 1000))
    if (isAs(record, life)) return
    const classId = life.classId === 0 ? undefined : life.classId
    const phase = life.phase === 'keep' ? undefined : life.phase
    this.#wishes.push({ chunk, classId, phase, copies: life.copies, code: life.code })
  }

  async #tell(): Promise<void> {
    const wishes = this.#wishes
    this.#wishes = []
    try {
      await this.#master.loop.command(() => ({ ok: { kind: 'chunkWishes', wishes } }))
      this.#changed += wishes.length
    } catch (error) {
      for (const { chunk } of wishes) this.#fresh.add(chunk)
      throw error
    }
  }
}

/** A chunk whose files are being looked at. */
interface Walk {
  readonly sum: Living
  /**
   * Judged is as of then: whatever is old enough when it is come upon, and was not touched since, was so then. As of the end,
   * a chunk could be archived that at no time had old files only.
   */
  readonly beganMs: number
  after: { readonly ino: Ino; readonly offset: number } | undefined
  /** It was touched meanwhile. */
  again: boolean
}

const isAs = (record: ChunkRecord, { classId, phase, copies, code: asked }: Life): boolean => {
  const code = codeFor(record.length, asked)
  return (
    (record.classId ?? 0) === classId &&
    (record.phase ?? 'keep') === phase &&
    record.copies === copies &&
    record.code?.data === code?.data &&
    record.code?.parity === code?.parity
  )
}
