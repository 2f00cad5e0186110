/*
 * Do quotas agree with what is in them? Usage is counted anew from the inodes, and every directory must count where the
 * directory above it does, or in a quota of its own. While a walk is under way, those on its two sides may meet.
 */

import type { Ino } from '../../base/ids.ts'
import { minus, NOTHING, plus, type Usage, usageOf } from './quota-table.ts'
import type { InodeRecord } from './records.ts'
import type { State } from './state.ts'

type Expect = (holds: boolean, what: string) => void

/** Usage of each quota, found by looking at every inode. */
export class QuotaRecount {
  readonly #found = new Map<Ino, Usage>()
  #quotas = 0

  add(state: State, record: InodeRecord): void {
    const by = usageOf(record)
    for (const { quota } of state.quotas.chain(record.quota)) {
      this.#found.set(quota, plus(this.#found.get(quota) ?? NOTHING, by))
    }
  }
  met(): void {
    this.#quotas += 1
  }
  compare(state: State, expect: Expect): void {
    expect(state.quotas.all().count === this.#quotas, `quotas: ${this.#quotas} found, not ${state.quotas.all().count}`)
    for (let after: Ino | 0 = 0; ; ) {
      const page: Ino[] = state.quotas.page(after, 1_000)
      for (const quota of page) {
        const counted = this.#found.get(quota) ?? NOTHING
        const { usage } = state.quotas.get(quota)!
        for (const what of ['inodes', 'length', 'used'] as const)
          expect(
            usage[what] === counted[what],
            `quota of directory ${quota}: ${what} ${counted[what]} found, not ${usage[what]}`,
          )
        expect(minus(usage, counted).classes === undefined, `quota of directory ${quota}: bytes of another class`)
      }
      const last = page.at(-1)
      if (last === undefined) return
      after = last
    }
  }
}

/** Whether the walk under way is what tells these two apart. */
function walksBetween(state: State, a: Ino | 0, b: Ino | 0): boolean {
  const { root, from, to } = state.quotas.all()
  return root !== 0 && ((a === from && b === to) || (a === to && b === from))
}

export function checkQuotaOfInode(state: State, ino: Ino, record: InodeRecord, expect: Expect): void {
  const { quota, attr, parent } = record
  const who = `inode ${ino}`
  const own = state.quotas.get(ino)
  expect(quota === 0 || attr.nlink > 0, `${who}: counts in a quota without a name`)
  expect(quota === 0 || state.quotas.get(quota) !== undefined, `${who}: counts in quota ${quota}, which does not exist`)
  if (attr.type !== 'dir') return
  const hasOwn =
    own !== undefined &&
    (own.phase === 'active' || own.phase === 'counting' || (own.phase === 'leaving' && state.quotas.isWaiting(ino)))
  if (hasOwn) expect(quota === ino, `${who}: does not count in its own quota`)
  else expect(quota !== ino, `${who}: counts in a quota that it has not`)
  // A snapshot that is being made and a tree that is being freed lie in no directory.
  if (parent === ino && ino !== 1) return
  const above = ino === 1 ? 0 : (state.inode(parent)?.quota ?? 0)
  const outer = hasOwn ? own.parent : quota
  expect(
    outer === above || walksBetween(state, outer, above),
    `directory ${ino}: counts in quota ${outer}, the one above it in ${above}`,
  )
}

/** A file that had names in several quotas may be left where it was counted first: worth knowing, but no error. */
export function isElsewhere(state: State, directory: Ino, child: InodeRecord): boolean {
  if (child.attr.type === 'dir' || child.attr.nlink > 1) return false
  const here = state.inode(directory)?.quota ?? 0
  return child.quota !== here && !walksBetween(state, child.quota, here)
}

export function checkQuota(state: State, ino: Ino, expect: Expect): void {
  const record = state.quotas.get(ino)
  if (record === undefined) return
  const who = `quota of directory ${ino}`
  const { phase, parent, usage } = record
  const walk = state.quotas.all()
  const isDirectory = state.inode(ino)?.attr.type === 'dir'
  expect(isDirectory || phase === 'gone' || walk.root === ino, `${who}: there is none`)
  expect(phase !== 'gone' || usage.inodes > 0, `${who}: gone, and nothing counts in it`)
  expect(parent === 0 || state.quotas.get(parent) !== undefined, `${who}: the quota ${parent} above does not exist`)
  const waits = state.quotas.isWaiting(ino)
  if (phase === 'waiting') expect(waits, `${who}: waits for nothing`)
  else if (phase === 'counting') expect(walk.root === ino && !waits, `${who}: nobody counts it`)
  else if (phase === 'leaving') expect(waits !== (walk.root === ino), `${who}: nobody takes it away`)
  else expect(!waits && walk.root !== ino, `${who}: is counted without need`)
}

export function checkQuotaWalk(state: State, waits: boolean, ino: Ino, expect: Expect): void {
  const walk = state.quotas.all()
  if (waits) expect(state.quotas.get(ino) !== undefined, `directory ${ino}: waits for a quota that it has not`)
  else expect(walk.root !== 0 && state.inode(ino)?.quota === walk.to, `directory ${ino}: has not passed, or needs not`)
}
