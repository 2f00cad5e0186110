/*
 * What an error says about a disk. One place decides it, so that no error of a disk ends the process and none is forgotten:
 * every failed operation comes through `failure`, which moves the disk's state and gives the error to answer with.
 *
 *   full      no space: reads go on; back when there is space again
 *   readonly  the kernel remounted it or it was mounted so: reads go on; back when a probe can write
 *   failed    too many input/output errors in a short time, or it does not answer: nothing is read or written until the
 *             operator adds it again or the process restarts, because a dying disk that comes and goes is worse than none
 *   gone      not there (unplugged, unmounted, deleted); back when the same disk is there again
 */

import { type Errno, errno } from '../base/errno.ts'
import { FsError } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'

export type DiskHealthState = 'ok' | 'full' | 'readonly' | 'failed' | 'gone'

/** As MooseFS: two errors within ten minutes. One alone may be a single bad sector, which the checksums deal with. */
const ERRORS_MAX = 2
const ERROR_PERIOD_MS = 600_000

/** A chunk that is not there is not an error of the disk; where ENOENT comes through here, a directory is missing. */
const GONE = new Set(['ENODEV', 'ENXIO', 'ENOTCONN', 'ESTALE', 'ENOMEDIUM', 'ESHUTDOWN', 'ENOENT', 'ENOTDIR'])
const FULL = new Set(['ENOSPC', 'EDQUOT'])
/** The process ran out of something; the disk has nothing to do with it. */
const NOT_THE_DISK = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'])
/** Filesystems say so when they find themselves damaged, the others are how vanishing devices appear half-way. */
const BROKEN = new Set([
  'EIO',
  'EUCLEAN',
  'EBADMSG',
  'EREMOTEIO',
  'EFAULT',
  'ETIMEDOUT',
  'EACCES',
  'EPERM',
  'EISDIR',
  'ELOOP',
  'EFBIG',
  'EINVAL',
  'EEXIST',
])

export class DiskHealth {
  readonly #clock: Clock
  readonly #log: Log
  readonly #path: string
  readonly #changed: () => void
  #state: DiskHealthState = 'gone'
  #error = 'not opened yet'
  #errors = 0
  #recent: number[] = []

  constructor(path: string, clock: Clock, log: Log, changed: () => void) {
    this.#path = path
    this.#clock = clock
    this.#log = log
    this.#changed = changed
  }

  get state(): DiskHealthState {
    return this.#state
  }
  get error(): string {
    return this.#error
  }
  get errors(): number {
    return this.#errors
  }

  set(state: DiskHealthState, error: string): void {
    if (state === this.#state) {
      this.#error = error
      return
    }
    const fields = { disk: this.#path, before: this.#state, now: state, error }
    this.#state = state
    this.#error = error
    if (state === 'ok') this.#log.info(fields, 'disk is in use')
    else this.#log.warn(fields, 'disk is out of use; look at the disk, its copies are replaced from other disks')
    this.#changed()
  }

  /** The disk is given up on purpose: nothing to warn of. */
  retire(): void {
    this.#state = 'gone'
    this.#error = 'no longer in use'
  }

  /** May be read from. */
  assertReadable(): void {
    if (this.#state === 'failed' || this.#state === 'gone')
      throw new FsError('ENODEV', `${this.#path} is ${this.#state}: ${this.#error}`)
  }

  /** `fromReserve`: for what may use the room that a disk keeps aside when it is full for writers. */
  assertWritable(fromReserve = false): void {
    switch (this.#state) {
      case 'ok':
        return
      case 'full':
        if (fromReserve) return
        throw new FsError('ENOSPC', this.#path)
      case 'readonly':
        throw new FsError('EROFS', this.#path)
      default:
        this.assertReadable()
    }
  }

  /** What is not an error of the system, or says that we closed a file too early, is a bug of ours and is thrown on. */
  failure(error: unknown, doing: string): FsError {
    if (error instanceof FsError) return error
    const code = (error as { code?: unknown } | null)?.code
    if (typeof code !== 'string') throw error
    const detail = `${doing} on ${this.#path}: ${(error as Error).message}`
    const answer = (as: Errno): FsError => new FsError(as, detail, { cause: error })
    if (NOT_THE_DISK.has(code)) return answer(Object.hasOwn(errno, code) ? (code as Errno) : 'EIO')
    if (FULL.has(code)) {
      if (this.#state === 'ok') this.set('full', detail)
      return answer('ENOSPC')
    }
    if (code === 'EROFS') {
      if (this.#state === 'ok' || this.#state === 'full') this.set('readonly', detail)
      return answer('EROFS')
    }
    if (GONE.has(code)) {
      if (this.#state !== 'failed') this.set('gone', detail)
      return answer('ENODEV')
    }
    // Network filesystems and new kernels have codes that nobody has listed.
    const fromSystem = typeof (error as { syscall?: unknown }).syscall === 'string' && code !== 'EBADF'
    if (!BROKEN.has(code) && !fromSystem) throw error
    this.#errors++
    this.#log.warn({ disk: this.#path, doing, error: (error as Error).message }, 'disk error')
    const now = this.#clock.monotonicMs()
    this.#recent = [...this.#recent.filter((at) => now - at < ERROR_PERIOD_MS), now]
    if (this.#recent.length >= ERRORS_MAX && this.#state !== 'gone') this.set('failed', detail)
    return answer('EIO')
  }
}
