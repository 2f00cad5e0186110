/*
 * Reads every sealed chunk of one disk once in a period and checks every block, so that rot is found while other copies are
 * still good. Damage is reported by the disk itself, as for any other read. The pace follows from what the disk holds; the
 * place is kept in `scrubber.json` beside the chunks, so a restart goes on and does not begin again.
 *
 * Open chunks are left out: their writer still reads and syncs them, and they are sealed soon.
 */

import { FsError } from '../base/fault.ts'
import type { Work, WorkStep } from '../base/worker.ts'
import type { Clock } from '../base/world.ts'
import type { ScrubRound } from '../wire/shapes.ts'
import type { Disk } from './disk.ts'
import { Pace } from './pace.ts'

const NOTE = 'scrubber.json'
const NEW_ROUND = { chunks: 0, bytes: 0, damaged: 0, finished: false }
/** The place is written this often: at most a minute is read twice after a restart. */
const NOTE_EVERY_MS = 60_000
/** A round of a small disk is over long before its period; looked at again this often. */
const REST_MS = 3_600_000
const DAY_MS = 86_400_000
/** Not slower than this, or a chunk would stay half-read for an hour. */
const BYTES_PER_SECOND_MIN = 64 * 1024
/** A quarter faster than needed, so that pauses and restarts do not make a round longer than its period. */
const HEADROOM = 1.25

export interface ScrubberOptions {
  /** Everything is read once in this many days. */
  readonly days: number
}

export class Scrubber implements Work {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #options: ScrubberOptions
  readonly #pace: Pace
  /** The chunk that was checked last; 0 at the start of a round. */
  #position = 0
  #round: ScrubRound
  #loaded = false
  #notedAt = 0
  #checked = 0

  constructor(disk: Disk, clock: Clock, options: ScrubberOptions) {
    this.#disk = disk
    this.#clock = clock
    this.#options = options
    this.#round = { startedMs: 0, ...NEW_ROUND, days: options.days }
    this.#pace = new Pace(clock, BYTES_PER_SECOND_MIN)
  }

  progress(): string {
    return `${this.#checked} chunks checked since the start`
  }
  queued(): number {
    return 0
  }

  /** For people: what the pace is now. */
  bytesPerSecond(): number {
    return Math.max(BYTES_PER_SECOND_MIN, (this.#disk.space.ownBytes * HEADROOM * 1000) / (this.#options.days * DAY_MS))
  }

  async step(signal: AbortSignal): Promise<WorkStep> {
    if (this.#disk.state === 'failed' || this.#disk.state === 'gone') return { restMs: 60_000, resting: 'idle' }
    if (!this.#loaded) await this.#load()
    const next = this.#disk.holdings.nextSealed(this.#position)
    if (next === undefined) {
      this.#say({ finished: true })
      const left = this.#round.startedMs + this.#options.days * DAY_MS - this.#nowMs()
      if (left > 0) return { restMs: Math.min(left, REST_MS), resting: 'idle' }
      this.#position = 0
      this.#say({ startedMs: this.#nowMs(), ...NEW_ROUND })
      await this.#save()
      return { restMs: 1000, resting: 'idle' }
    }
    this.#pace.bytesPerSecond = this.bytesPerSecond()
    const { chunks, bytes, damaged } = this.#round
    // A large chunk takes minutes at a low pace: what is read of it shows meanwhile.
    const found = await this.#disk.chunks.verify(next.chunk, true, async (read) => {
      this.#say({ bytes: this.#round.bytes + read, finished: false })
      await this.#pace.take(read, signal)
    })
    this.#say({
      chunks: chunks + 1,
      bytes: bytes + found.length,
      damaged: damaged + (found.state === 'damaged' ? 1 : 0),
      finished: false,
    })
    this.#position = next.chunk
    this.#checked++
    if (this.#clock.monotonicMs() - this.#notedAt > NOTE_EVERY_MS) await this.#save()
    return { restMs: 0, resting: 'throttled' }
  }

  #say(news: Partial<ScrubRound>): void {
    this.#round = { ...this.#round, ...news }
    this.#disk.scrub = this.#round
  }

  async #load(): Promise<void> {
    const text = await this.#disk.readNote(NOTE)
    this.#loaded = true
    this.#say({ startedMs: this.#nowMs(), ...NEW_ROUND })
    if (text === '') return
    try {
      const { position, passStartedMs, ...said } = JSON.parse(text) as Record<string, unknown>
      if (!isCount(position) || !isCount(passStartedMs)) return
      this.#position = position
      const counted = { chunks: said.chunks, bytes: said.bytes, damaged: said.damaged }
      // Notes of the first version say only where it was.
      const known = Object.values(counted).every(isCount) ? (counted as typeof NEW_ROUND) : {}
      this.#say({ startedMs: passStartedMs, ...known })
    } catch (error) {
      // A torn note costs one round from the beginning.
      if (!(error instanceof SyntaxError)) throw error
    }
  }

  async #save(): Promise<void> {
    if (this.#disk.state !== 'ok') return
    const { startedMs, chunks, bytes, damaged } = this.#round
    const note = { position: this.#position, passStartedMs: startedMs, chunks, bytes, damaged }
    await this.#disk.writeNote(NOTE, JSON.stringify(note))
    this.#notedAt = this.#clock.monotonicMs()
  }

  /** At the end of the process. */
  async save(): Promise<void> {
    try {
      await this.#save()
    } catch (error) {
      if (!(error instanceof FsError)) throw error
    }
  }

  #nowMs(): number {
    const { sec, nsec } = this.#clock.now()
    return sec * 1000 + Math.floor(nsec / 1_000_000)
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
