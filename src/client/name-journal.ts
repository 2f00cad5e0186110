/*
 * Making and removing names without asking first, in directories that this session holds (master/holdings.ts). The change
 * is carried out here, shown here, and told to the master within LAG_MS together with its neighbours.
 *
 * Order that matters: changes are told in the order in which they were made, one batch at a time; whatever else is said
 * to the master about an inode or directory with pending changes waits for them (`settle`). A hold is used only while the
 * master was heard within the session's lease: it gives the directory to nobody else before that is over. When the master
 * recalls a directory, nothing more is changed in it from that moment, and it is answered when all that was is told.
 *
 * When this process is killed, what was not told has not happened: the last LAG_MS and a round trip. A lost connection
 * loses nothing: changes are told again, and the number of a new inode, which belongs to this session for ever, says
 * whether they were heard the first time.
 */

import type { Attr, AttrChange } from '../base/attr.ts'
import { type Errno, errno, errnoFromNumber } from '../base/errno.ts'
import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { World } from '../base/world.ts'
import type { ClassRule } from '../topology/class-patterns.ts'
import { RemoteError } from '../wire/link.ts'
import { NAME_CHANGES_MAX, type NameChange } from '../wire/shapes.ts'
import { PendingNames } from './core/pending-names.ts'
import { Counted } from './counted.ts'
import type { MasterSession } from './session.ts'
import type { NewNode } from './vfs.ts'

/** Changes gather this long, or until there are this many. */
const LAG_MS = 5
const LAG_CHANGES = 128
/** Changes not told yet; the next one asks the master, behind them all. Some 300 bytes each. */
const PENDING_MAX = 4_096
/** Directories held at a time; beyond it the older half is let go. The master's own bound is eight times this. */
const HELD_MAX = 8_192
/** Numbers for new inodes that are asked for at a time, and when to ask for more. */
const NUMBERS = 2_560
const NUMBERS_LOW = 512
/** Ranges remembered: PENDING_MAX inodes lie in as many at most, one begun and one just given included. */
const RANGES = PENDING_MAX / (NUMBERS - NUMBERS_LOW) + 2
const RETRY_MS = 1_000
/** What a master of another make, or one with a defect, says of a batch that it cannot read. */
const UNINTELLIGIBLE: ReadonlySet<Errno> = new Set<Errno>(['EINVAL', 'EPROTO', 'EMSGSIZE', 'ENOSYS'])

/** For `asking`: it may be any directory. */
export const ANY = -1

export interface JournalEvents {
  /** All that was pending of these directories is told: this is what they are now. */
  told(parents: readonly Attr[]): void
  /** A new inode that was shown here is as it was shown. */
  born(attr: Attr): void
  /** An inode has lost a name: what was heard of it before may be out of date. */
  unlinked(ino: Ino): void
  /** The master could not do what had been answered here as done. */
  refused(change: NameChange, error: FsError): void
}

export class NameJournal {
  readonly #world: World
  readonly #session: MasterSession
  readonly #events: JournalEvents
  readonly #pending = new PendingNames()
  readonly #held = new Set<Ino>()
  /** Directories in which the master is being asked to change something. */
  readonly #asking = new Counted<number>()
  /** Grows whenever something that is held, or about to be, may not be any more. */
  #recalls = 0
  #rules: readonly ClassRule[] = []
  #numbers = { next: 0, end: 0 }
  /** The last that were reserved, the present one last. */
  #ranges: { first: Ino; count: number }[] = []
  #reserving = false
  #timer: (() => void) | undefined
  #telling = false
  #told = 0
  #added = 0
  #waiters: { upTo: number; resolve: () => void; reject: (error: unknown) => void }[] = []

  constructor(world: World, session: MasterSession, events: JournalEvents) {
    this.#world = world
    this.#session = session
    this.#events = events
  }

  /**
   * Which class what is made here has. What was made by other rules has been called in before; only what a mount that was cut off
   * tells later has another class than was shown here, and is moved where that wants it.
   */
  classesBy(rules: readonly ClassRule[]): void {
    this.#rules = rules
  }

  // ---- holding

  /** To be given to `hold` with what is answered to a request that is sent now. */
  get recalls(): number {
    return this.#recalls
  }

  /** The master says that this session holds the directory; not so, when it has recalled something since it was asked. */
  hold(directory: Ino, recalls: number): void {
    if (recalls !== this.#recalls || this.#held.has(directory)) return
    if (this.#numbers.end - this.#numbers.next < NUMBERS_LOW) this.#reserve()
    this.#hold(directory)
  }

  /** None named: all of them. */
  letGo(directories?: readonly Ino[]): void {
    this.#recalls++
    if (directories === undefined) this.#held.clear()
    else for (const ino of directories) this.#held.delete(ino)
  }

  /** Whether names in the directory may be changed here, now. */
  holds(directory: Ino): boolean {
    if (!this.#held.has(directory)) return false
    if (this.#session.leased()) return this.#pending.size < PENDING_MAX && !this.#isAsking(directory)
    // The master may have given any of them to somebody else by now.
    this.#giveBack([...this.#held])
    return false
  }

  #isAsking(directory: Ino): boolean {
    return this.#asking.size > 0 && (this.#asking.has(directory) || this.#asking.has(ANY))
  }

  /**
   * Asks the master for a change in these directories, behind what is pending of them. Nothing is changed there without
   * asking until it has answered: the one could stand in the way of the other.
   */
  asking<T>(
    directories: readonly number[],
    settled: () => Promise<void> | undefined,
    ask: () => Promise<T>,
  ): Promise<T> {
    return this.#asking.during(directories, async () => {
      await settled()
      return ask()
    })
  }

  // ---- changing; the caller knows that it holds the directory

  /** undefined: no inode number is at hand. */
  make(directory: Attr, name: string, node: NewNode & { uid: number; gid: number; opened: boolean }): Attr | undefined {
    if (this.#numbers.next === this.#numbers.end) {
      this.#reserve()
      return undefined
    }
    const ino = this.#numbers.next++ as Ino
    if (this.#numbers.end - this.#numbers.next === NUMBERS_LOW) this.#reserve()
    const { type, mode, uid, gid, rdev = 0, target = '', opened } = node
    const wanted = { type, mode, uid, gid, rdev, target, opened }
    const attr = this.#pending.make(directory, name, ino, wanted, this.#session.now(), this.#rules)
    if (type === 'dir') this.#hold(ino)
    this.#added++
    this.#soon()
    return attr
  }

  remove(kind: 'unlink' | 'rmdir', directory: Attr, name: string, child: Ino): void {
    this.#pending.remove(kind, directory, name, child, this.#session.now())
    this.#held.delete(child)
    this.#added++
    this.#soon()
  }

  /** Of a directory that is held. */
  setattr(directory: Attr, change: AttrChange): Attr {
    const attr = this.#pending.setattr(directory, change, this.#session.now())
    this.#added++
    this.#soon()
    return attr
  }

  // ---- what is shown here

  name(parent: Ino, name: string): number | undefined {
    return this.#pending.size === 0 ? undefined : this.#pending.name(parent, name)
  }
  attr(ino: Ino): Attr | undefined {
    return this.#pending.size === 0 ? undefined : this.#pending.attr(ino)
  }
  involves(ino: Ino): boolean {
    return this.#pending.size > 0 && this.#pending.involves(ino)
  }
  unborn(ino: Ino): boolean {
    return this.#pending.size > 0 && this.#pending.unborn(ino)
  }
  parents(): Ino[] {
    return this.#pending.parents()
  }
  /** Where inodes that are pending have their numbers from: the last ranges. */
  numbers(): { first: Ino; count: number }[] {
    return this.#ranges
  }

  // ---- telling

  /** When all that is pending now has been told; undefined when nothing is. Rejects when the master cannot take it now. */
  settle(): Promise<void> | undefined {
    if (this.#pending.size === 0) return undefined
    const settled = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ upTo: this.#added, resolve, reject })
    })
    this.#now()
    return settled
  }

  /** The same, when something is pending that concerns the inode. */
  settleIf(ino: Ino): Promise<void> | undefined {
    return this.involves(ino) ? this.settle() : undefined
  }

  #soon(): void {
    if (this.#pending.size >= LAG_CHANGES) this.#now()
    else if (!this.#telling) this.#timer ??= this.#world.clock.timer(LAG_MS, () => this.#now())
  }

  #now(): void {
    this.#timer?.()
    this.#timer = undefined
    if (this.#telling || this.#pending.size === 0) return
    this.#telling = true
    void this.#tell()
  }

  async #tell(): Promise<void> {
    let again = false
    while (this.#pending.size > 0) {
      const changes = this.#pending.oldest(NAME_CHANGES_MAX)
      const session = this.#session.id
      try {
        const { errnos, parents } = await this.#session.change('names', { changes })
        this.#confirmed(changes, errnos, again)
        again = false
        this.#events.told(parents.filter(({ ino }) => !this.#pending.involves(ino)))
      } catch (error) {
        if (!(error instanceof FsError)) throw error
        if (error instanceof RemoteError && UNINTELLIGIBLE.has(error.code)) {
          // It will never understand them, and everything behind them would wait for ever.
          this.#confirmed(
            changes,
            changes.map(() => errno[error.code].number),
            false,
          )
          continue
        }
        again = true
        // A new session has begun: nobody knows whether it was heard in the old one.
        if (error.code === 'ESTALE' && session !== this.#session.id) continue
        this.letGo()
        this.#reject(error)
        if (this.#session.closed) {
          this.#world.log.error(
            { changes: this.#pending.size },
            'the mount ends with changes of names that no master has heard',
          )
          break
        }
        this.#world.log.warn({ error: error.message }, 'the master takes no changes of names now; they are told again')
        await this.#world.clock.sleep(RETRY_MS)
      }
    }
    this.#telling = false
  }

  #confirmed(changes: readonly NameChange[], errnos: readonly number[], again: boolean): void {
    changes.forEach((change, i) => {
      const attr = this.#pending.done()
      const number = errnos[i] ?? 0
      if (number === 0 || (again && change.kind !== 'make' && errnoFromNumber(number) === 'ENOENT')) {
        if (change.kind === 'unlink') this.#events.unlinked(change.ino)
        else if (attr !== undefined && change.kind === 'make') this.#events.born(attr)
        return
      }
      const code: Errno = errnoFromNumber(number)
      this.letGo()
      this.#events.refused(change, new FsError(code, `${change.kind} in directory ${change.parent}`))
    })
    this.#told += changes.length
    while (this.#waiters.length > 0 && this.#waiters[0]!.upTo <= this.#told) this.#waiters.shift()!.resolve()
  }

  #reject(error: FsError): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) waiter.reject(error)
  }

  #reserve(): void {
    if (this.#reserving) return
    this.#reserving = true
    this.#session
      .change('inosReserve', { count: NUMBERS })
      .then(
        ({ first, count }) => {
          this.#numbers = { next: first, end: first + count }
          this.#ranges = [...this.#ranges.slice(1 - RANGES), { first, count }]
        },
        (error: unknown) => {
          if (!(error instanceof FsError)) throw error
          // Without numbers the master is asked for every new inode, as ever; the next one tries again.
          this.#world.log.debug({ error: String(error) }, 'no inode numbers were reserved')
        },
      )
      .finally(() => {
        this.#reserving = false
      })
  }

  #hold(directory: Ino): void {
    this.#held.add(directory)
    if (this.#held.size <= HELD_MAX) return
    const old: Ino[] = []
    for (const ino of this.#held) {
      if (old.length === HELD_MAX / 2) break
      old.push(ino)
    }
    this.#giveBack(old)
  }

  /** Nothing is changed in them from now on; the master hears of it behind what was. */
  #giveBack(directories: readonly Ino[]): void {
    this.letGo(directories)
    Promise.resolve(this.settle()).then(
      () => {
        // They may be held again by now. What the master says to requests that are under way, it says before it hears this.
        this.#recalls++
        const gone = this.#held.size === 0 ? [] : directories.filter((ino) => !this.#held.has(ino))
        if (gone.length > 0 || this.#held.size === 0) this.#session.letGo(gone)
      },
      // It keeps them for this session until somebody else wants them.
      () => this.letGo(),
    )
  }
}
