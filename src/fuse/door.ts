/*
 * What the operations of one mount share besides the Vfs: who asks, what may be believed for how long, which inodes are
 * known to have no extended attributes, and what is left over of directory pages.
 *
 * Nothing here is needed for correctness after a restart: it is caches with bounds, and losing them costs a round trip.
 */

import type { Attr } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Clock } from '../base/world.ts'
import type { Caller, Entry, Vfs } from '../client/vfs.ts'
import type { Request, Validity } from './codec.ts'

/** Names and attributes are at most this stale (changes made elsewhere are pushed as well). */
export const VALIDITY: Validity = { entryMs: 1000, attrMs: 1000 }

/** The asking process. The AbortController is made when someone looks at the signal, because most never do. */
export class FuseCaller implements Caller {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  umask = 0
  #controller: AbortController | undefined
  #interrupted = false

  constructor(request: Pick<Request, 'uid' | 'gid' | 'pid'>) {
    this.uid = request.uid
    this.gid = request.gid
    this.pid = request.pid
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#interrupted) this.#controller.abort(new FsError('EINTR'))
    }
    return this.#controller.signal
  }

  get interrupted(): boolean {
    return this.#interrupted
  }

  interrupt(): void {
    this.#interrupted = true
    this.#controller?.abort(new FsError('EINTR'))
  }
}

/** Inodes remembered as having no xattrs: 64 Ki × about 60 bytes is 4 MiB, more than a busy second ever touches. */
const PLAIN_INODES_MAX = 65_536

/**
 * Which inodes had no extended attribute when last seen, so that the kernel's constant questions (security.capability on
 * a first write, the two ACLs on every permission check) are answered here. As stale as attributes may be, no more.
 */
export class PlainInodes {
  readonly #clock: Clock
  readonly #until = new Map<Ino, number>()
  /** Grows with every xattr change made here; an attribute asked for before the change says nothing after it. */
  changes = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  note(attr: Attr, changesBefore: number): void {
    if (attr.hasXattr || changesBefore !== this.changes) {
      this.#until.delete(attr.ino)
      return
    }
    if (this.#until.size >= PLAIN_INODES_MAX) this.#until.clear()
    this.#until.set(attr.ino, this.#clock.monotonicMs() + VALIDITY.attrMs)
  }

  has(node: Ino): boolean {
    const until = this.#until.get(node)
    if (until === undefined) return false
    if (until >= this.#clock.monotonicMs()) return true
    this.#until.delete(node)
    return false
  }

  forget(node: Ino): void {
    this.changes++
    this.#until.delete(node)
  }
}

/** Entries asked of the vfs at once; the contract's largest page. */
export const DIR_PAGE_ENTRIES = 1024
/** Directories listed at the same time that keep their rest of a page: 64 × 1024 entries × ~400 bytes is 25 MiB. */
const DIR_RESTS_MAX = 64

interface Rest {
  readonly entries: readonly Entry[]
  /** The first entry not yet given out. */
  readonly from: number
  readonly epoch: number
  readonly expires: number
}

/**
 * What a READDIR did not have room for, kept for the next one, by inode and cookie. A rest holds attributes that the
 * kernel will believe, so it is used only while nothing has changed through this door since it was fetched (`epoch`) and
 * never past the life of an attribute.
 */
export class DirRests {
  readonly #clock: Clock
  readonly #rests = new Map<string, Rest>()
  /** The last page of a directory: its epoch, to see whether fetching whole pages pays. */
  readonly #lastEpoch = new Map<Ino, number>()
  epoch = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  take(node: Ino, cookie: number): Rest | undefined {
    const key = `${node}:${cookie}`
    const rest = this.#rests.get(key)
    if (rest === undefined) return undefined
    this.#rests.delete(key)
    return rest.epoch === this.epoch && rest.expires > this.#clock.monotonicMs() ? rest : undefined
  }

  /** A directory that is being changed while it is listed (rm -r) would throw every rest away: fetch what fits. */
  pageEntries(node: Ino, cookie: number, fitting: number): number {
    const last = this.#lastEpoch.get(node)
    this.#lastEpoch.delete(node)
    if (this.#lastEpoch.size >= DIR_RESTS_MAX) dropOldest(this.#lastEpoch)
    this.#lastEpoch.set(node, this.epoch)
    const changing = cookie !== 0 && last !== undefined && last !== this.epoch
    return changing ? Math.min(fitting, DIR_PAGE_ENTRIES) : DIR_PAGE_ENTRIES
  }

  keep(node: Ino, cookie: number, rest: Omit<Rest, 'expires'> & { expires?: number }): void {
    if (rest.epoch !== this.epoch) return
    if (this.#rests.size >= DIR_RESTS_MAX) dropOldest(this.#rests)
    const expires = rest.expires ?? this.#clock.monotonicMs() + VALIDITY.attrMs
    this.#rests.set(`${node}:${cookie}`, { ...rest, expires })
  }

  /** Milliseconds for which attributes of a rest may still be believed. */
  lifeMs(rest: Rest): number {
    return Math.max(0, rest.expires - this.#clock.monotonicMs())
  }
}

function dropOldest<K>(map: Map<K, unknown>): void {
  for (const key of map.keys()) {
    map.delete(key)
    return
  }
}

export class Door {
  readonly vfs: Vfs
  readonly plain: PlainInodes
  readonly dirs: DirRests
  /** The kernel did not grant SETXATTR_EXT: its SETXATTR structure ends early. */
  shortSetxattr = false

  /** Makes the kernel ask again for an inode's attributes; done when it returns. */
  readonly attributesMoved: (ino: Ino) => void

  constructor(vfs: Vfs, clock: Clock, attributesMoved: (ino: Ino) => void) {
    this.vfs = vfs
    this.attributesMoved = attributesMoved
    this.plain = new PlainInodes(clock)
    this.dirs = new DirRests(clock)
  }
}
