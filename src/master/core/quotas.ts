/*
 * Quotas of directories: what may grow how far, and how everything in a directory comes to count.
 *
 * Every inode names the quota that it counts in: that of the nearest directory above it, or itself, that has one. What is
 * made in a directory inherits it. So a limit is looked up at the cost of the nesting, and nothing may come into a quota
 * or leave it that would need a walk: a directory with something in it does not move across the edge of a quota (EXDEV,
 * and mv copies), unless it has a quota of its own, whose usage is known; nor does a file with several names.
 *
 * A quota that is set on a directory with something in it is counted by a walk in bounded steps (`quotaWalked`), and so is
 * one taken away: each inode passes from one quota to the other, and its usage with it. While others change things:
 * a directory passes before the names in it are looked at, so what is made there later has passed from birth; what has not
 * passed and comes into a directory that has, by any name, passes in that moment (and a directory is put on the list). So
 * every inode is counted exactly once. One walk at a time; the others wait for their turn, and no limit of a quota holds
 * before its walk is over.
 *
 * What has no name any more (in the trash, or open) counts nowhere.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import { type Ino, ROOT_INO } from '../../base/ids.ts'
import type { StorageClass } from '../../topology/storage-class.ts'
import type { CommandOf } from './commands.ts'
import { minus, NOTHING, stored, type Usage, usageOf } from './quota-table.ts'
import type { InodeRecord, QuotaLimit, QuotaRecord } from './records.ts'
import type { State } from './state.ts'
import { wishedCopies, wishOf } from './wishes.ts'
import type { Work } from './work.ts'

type Refusal = ReturnType<typeof refuse>

/** Each is looked at by `status` and `quota list`: some 2 µs. */
export const QUOTAS_MAX = 16_384
/** Quotas above one that is set; every change in it is charged to all of them. */
const NESTING_MAX = 16
export const GRACE_DEFAULT_MS: number = 7 * 86_400_000

export const KINDS = ['inodes', 'length', 'raw'] as const
export type QuotaKind = (typeof KINDS)[number]

/**
 * Bytes on the disks for a byte of a file of this class: what the class keeps while the file is in use. Not what is there
 * at this moment, which repair and archiving change without anybody's doing.
 */
export function shareOfDisks(state: State, classId: number): number {
  const meaning = state.classes.meaning(classId)
  let share = shares.get(meaning)
  if (share === undefined) {
    const wish = wishOf(meaning, 'keep')
    share = wish.code === undefined ? wishedCopies(wish) : (wish.code.data + wish.code.parity) / wish.code.data
    shares.set(meaning, share)
  }
  return share
}
const shares = new WeakMap<StorageClass, number>()

/** What usage takes on the disks. */
function rawBytes(state: State, { used, classes }: Usage): number {
  let plain = used
  let raw = 0
  for (const of of classes ?? []) {
    plain -= of.used
    raw += of.used * shareOfDisks(state, of.classId)
  }
  return Math.ceil(raw + plain * shareOfDisks(state, 0))
}

/** Usage in the terms of the limits. */
export const spent = (state: State, usage: Usage): Record<QuotaKind, number> => ({
  inodes: usage.inodes,
  length: usage.length,
  raw: rawBytes(state, usage),
})

/** Where growth ends: at the hard limit, or at the soft one when that has been exceeded for the whole grace. */
export function endOfLimit(limit: QuotaLimit, graceMs: number, nowSec: number): number | undefined {
  const over = limit.overSec !== undefined && limit.soft !== undefined && nowSec >= limit.overSec + graceMs / 1000
  return over ? Math.min(limit.soft!, limit.hard ?? limit.soft!) : limit.hard
}

export const isCounted = ({ phase, leaves }: QuotaRecord): boolean => phase === 'active' && leaves !== true

// ---- limits

/** Why something cannot grow in a quota; undefined: it can. `instead`: where it counted until now. */
export function refuseGrowth(
  { state, now }: Work,
  quota: Ino | 0,
  growth: Usage,
  instead: Ino | 0 = 0,
): Refusal | undefined {
  if (quota === 0) return undefined
  const before = new Set(state.quotas.chain(instead).map((above) => above.quota))
  const more = spent(state, growth)
  for (const { quota: directory, record } of state.quotas.chain(quota)) {
    if (!isCounted(record) || before.has(directory)) continue
    const has = spent(state, record.usage)
    for (const kind of KINDS) {
      const end = endOfLimit(record[kind], record.graceMs, now.sec)
      if (end !== undefined && more[kind] > 0 && has[kind] + more[kind] > end)
        return refuse('EDQUOT', `${kind} of the quota of directory ${directory}: ${has[kind]} of ${end} are used`)
    }
  }
  return undefined
}

/** Why what came in already is too much: a snapshot is counted while it is made. */
export function refuseExcess({ state, now }: Work, quota: Ino | 0): Refusal | undefined {
  for (const { quota: directory, record } of state.quotas.chain(quota)) {
    if (!isCounted(record)) continue
    const has = spent(state, record.usage)
    for (const kind of KINDS) {
      const end = endOfLimit(record[kind], record.graceMs, now.sec)
      if (end !== undefined && has[kind] > end)
        return refuse('EDQUOT', `${kind} of the quota of directory ${directory}`)
    }
  }
  return undefined
}

export const ONE_INODE: Usage = { inodes: 1, length: 0, used: 0 }

/** Whether a raw limit holds there, so that it is worth looking up how many bytes a write adds. */
export const countsRaw = (state: State, quota: Ino | 0): boolean =>
  state.quotas.chain(quota).some(({ record }) => record.raw.soft !== undefined || record.raw.hard !== undefined)

/** After every command: since when soft limits have been exceeded. Answers the quotas that changed. */
export function settleQuotas({ state, now }: Work): Ino[] {
  const touched = state.quotas.takeTouched()
  for (const directory of touched) {
    const record = state.quotas.get(directory)
    if (record === undefined) continue
    const has = spent(state, record.usage)
    const next = { ...record }
    let changed = false
    for (const kind of KINDS) {
      const limit = record[kind]
      const isOver = isCounted(record) && limit.soft !== undefined && has[kind] > limit.soft
      if (isOver === (limit.overSec !== undefined)) continue
      next[kind] = { ...limit, overSec: isOver ? Math.max(0, now.sec) : undefined }
      changed = true
    }
    if (changed) state.quotas.set(directory, next)
  }
  if (touched.length > 0) state.quotas.takeTouched()
  return touched
}

// ---- across the edges of quotas

/** How something comes from where it counts to a directory that counts elsewhere. */
export type Passage =
  /** It counts there already, or the walk will see to it. */
  | { readonly kind: 'stays' }
  /** It is taken along by the walk under way: nothing grows. */
  | { readonly kind: 'joins'; readonly to: Ino | 0 }
  /** It really crosses an edge. */
  | { readonly kind: 'crosses'; readonly from: Ino | 0; readonly to: Ino | 0 }

const STAYS: Passage = { kind: 'stays' }

const hasOwn = ({ attr, quota }: InodeRecord): boolean => attr.type === 'dir' && quota === attr.ino

/** The quota of what something lies in. */
const outerQuota = (state: State, record: InodeRecord): Ino | 0 =>
  hasOwn(record) ? (state.quotas.get(record.attr.ino)?.parent ?? 0) : record.quota

/** `out`: the directory in which it has had a name until now. */
export function passage({ state }: Work, moved: InodeRecord, directory: InodeRecord, out?: InodeRecord): Passage {
  if (!state.quotas.any) return STAYS
  const from = outerQuota(state, moved)
  const to = directory.quota
  if (from === to) return STAYS
  const walk = state.quotas.all()
  if (walk.root !== 0) {
    if (from === walk.from && to === walk.to) return { kind: 'joins', to }
    const comes = from === walk.to && to === walk.from
    // The directory has not passed yet. Of a quota that is taken away, all that still names it will.
    if (comes && (from !== walk.root || isBelow(state, directory.attr.ino, walk.root))) return STAYS
  }
  // A file with several names counts where it was found first; whichever of them changes, it goes on doing so.
  if (out?.quota === to && moved.attr.type !== 'dir' && moved.attr.nlink > 1) return STAYS
  return { kind: 'crosses', from, to }
}

function isBelow(state: State, directory: Ino, top: Ino): boolean {
  for (let at = directory; at !== ROOT_INO; ) {
    if (at === top) return true
    const record = state.inode(at)
    if (record === undefined || record.parent === at) return false
    at = record.parent
  }
  return top === ROOT_INO
}

/** Why it cannot cross; undefined: it can. `freed`: what the crossing frees there, of what it replaces. */
export function refusePassage(work: Work, moved: InodeRecord, way: Passage, freed: Usage): Refusal | undefined {
  if (way.kind !== 'crosses') return undefined
  const { state } = work
  const { attr, entries } = moved
  const own = hasOwn(moved) ? state.quotas.get(attr.ino) : undefined
  if (own === undefined && (attr.type === 'dir' ? entries > 0 : attr.nlink > 1))
    return refuse('EXDEV', 'it counts in another quota there')
  if (own !== undefined && state.quotas.all().root === attr.ino)
    return refuse('EXDEV', 'its quota is being counted or taken away')
  return refuseGrowth(work, way.to, minus(own?.usage ?? usageOf(moved), freed), way.from)
}

/** It is there now, or about to be. */
export function pass({ state }: Work, ino: Ino, way: Passage): void {
  if (way.kind === 'stays') return
  const record = state.inode(ino)
  if (record === undefined) return
  passTo(state, record, way.to)
  if (way.kind === 'joins') waitForWalk(state, record)
  else state.quotas.setPending(ino, undefined)
}

function passTo(state: State, record: InodeRecord, to: Ino | 0): void {
  if (hasOwn(record)) state.quotas.setParent(record.attr.ino, to)
  else state.setInode(record.attr.ino, { ...record, quota: to })
}

/** The names in a directory that has just passed are still to be looked at. */
function waitForWalk(state: State, { attr, quota, entries }: InodeRecord): void {
  if (attr.type === 'dir' && quota !== attr.ino && entries > 0) state.quotas.setPending(attr.ino, 0)
}

/** A directory is gone, with its quota if it had one. */
export function quotaOfRemoved({ state }: Work, ino: Ino): void {
  const { quotas } = state
  if (!quotas.any) return
  quotas.setPending(ino, undefined)
  // The walk goes on: what was in the directory may be elsewhere by now.
  if (quotas.get(ino) === undefined || quotas.all().root === ino) return
  quotas.setWaiting(ino, false)
  leave(state, ino)
}

function leave(state: State, ino: Ino): void {
  const record = state.quotas.get(ino)
  if (record === undefined) return
  const without: QuotaRecord = { ...record, phase: 'gone', leaves: undefined, inodes: NO, length: NO, raw: NO }
  state.quotas.set(ino, record.usage.inodes === 0 ? undefined : without)
}
const NO: QuotaLimit = { soft: undefined, hard: undefined, overSec: undefined }

// ---- set and taken away

type Limits = Pick<CommandOf<'quotaSet'>, QuotaKind>

function limited(before: QuotaRecord | undefined, wanted: Limits): Result<Record<QuotaKind, QuotaLimit>> {
  const limits: Record<QuotaKind, QuotaLimit> = { inodes: NO, length: NO, raw: NO }
  for (const kind of KINDS) {
    const old = before?.[kind] ?? NO
    const of = (wish: number | undefined, had: number | undefined) => (wish === undefined ? had : wish || undefined)
    const soft = of(wanted[kind].soft, old.soft)
    const hard = of(wanted[kind].hard, old.hard)
    if (soft !== undefined && hard !== undefined && soft > hard)
      return refuse('EINVAL', `the soft limit of ${kind} is above the hard one`)
    limits[kind] = { soft, hard, overSec: soft === old.soft ? old.overSec : undefined }
  }
  return { ok: limits }
}

export function quotaSet(work: Work, command: CommandOf<'quotaSet'>): Result<unknown> {
  const { state } = work
  const { quotas } = state
  const { ino } = command
  const directory = work.directory(ino)
  if ('errno' in directory) return directory
  const before = quotas.get(ino)
  const known = before?.phase === 'gone' ? undefined : before
  const limits = limited(known, command)
  if ('errno' in limits) return limits
  if (KINDS.every((kind) => limits.ok[kind].soft === undefined && limits.ok[kind].hard === undefined))
    return refuse('EINVAL', 'a quota limits something; delete it if it is not to')
  if (known?.phase === 'leaving' && !quotas.isWaiting(ino))
    return refuse('EBUSY', 'its old quota is being taken away; try again later')
  const graceMs = command.graceMs ?? known?.graceMs ?? GRACE_DEFAULT_MS
  if (known !== undefined) {
    // Waiting to be taken away: it stays, and is counted already.
    const stays = known.phase === 'leaving'
    if (stays) quotas.setWaiting(ino, false)
    quotas.set(ino, { ...known, ...limits.ok, graceMs, phase: stays ? 'active' : known.phase, leaves: undefined })
    return ok({})
  }
  if (quotas.all().count >= QUOTAS_MAX) return refuse('ENOSPC', `there are ${QUOTAS_MAX} quotas`)
  if (quotas.chain(directory.ok.quota).length >= NESTING_MAX)
    return refuse('EINVAL', `${NESTING_MAX} quotas within each other are enough`)
  const usage = stored(before?.usage ?? NOTHING)
  const parent = before?.parent ?? (0 as Ino)
  quotas.set(ino, { version: 1, phase: 'waiting', parent, graceMs, ...limits.ok, usage, leaves: undefined })
  quotas.setWaiting(ino, true)
  return ok({})
}

export function quotaDelete({ state }: Work, { ino }: CommandOf<'quotaDelete'>): Result<unknown> {
  const { quotas } = state
  const record = quotas.get(ino)
  switch (record?.phase) {
    case undefined:
    case 'gone':
      return refuse('ENODATA', 'no quota is set there')
    case 'waiting':
      quotas.setWaiting(ino, false)
      leave(state, ino)
      break
    case 'counting':
      quotas.set(ino, { ...record, leaves: true })
      break
    case 'active':
      quotas.set(ino, { ...record, phase: 'leaving' })
      quotas.setWaiting(ino, true)
      break
    case 'leaving':
      break
  }
  return ok({})
}

// ---- the walk

/** Names that one step looks at: some 5 ms, which others wait for. */
export const WALKED_AT_ONCE = 256

export const hasQuotaWork = (state: State): boolean =>
  state.quotas.any && (state.quotas.all().root !== 0 || state.quotas.waiting() !== 0)

export function quotaWalked({ state }: Work, { limit }: CommandOf<'quotaWalked'>): Result<unknown> {
  const { quotas } = state
  if (quotas.all().root === 0) begin(state)
  const walk = quotas.all()
  if (walk.root === 0) return ok({})
  let left = Math.max(1, limit)
  while (left > 0) {
    const next = quotas.pending()
    if (next === undefined) {
      if (takeSnapshot(state)) continue
      end(state)
      break
    }
    const { entries, end: last } = state.readdirPage(next.directory, next.cookie, left)
    for (const entry of entries) {
      const record = state.inode(entry.ino)
      if (record === undefined || outerQuota(state, record) !== walk.from) continue
      passTo(state, record, walk.to)
      waitForWalk(state, record)
    }
    quotas.setPending(next.directory, last ? undefined : entries.at(-1)!.cookie)
    quotas.setAll({ walked: quotas.all().walked + entries.length })
    left -= entries.length + 1
  }
  return ok({})
}

/** The next one that waits, if its directory is still there. */
function begin(state: State): void {
  const { quotas } = state
  const root = quotas.waiting()
  if (root === 0) return
  quotas.setWaiting(root, false)
  const directory = state.inode(root)
  const record = quotas.get(root)
  if (directory === undefined || record === undefined) return
  if (record.phase === 'waiting') {
    const from = directory.quota
    quotas.setParent(root, from)
    quotas.set(root, { ...quotas.get(root)!, phase: 'counting' })
    state.setInode(root, { ...directory, quota: root })
    quotas.setAll({ root, from: from as Ino, to: root, walked: 0 })
  } else {
    // The one above may be gone: of a tree that is being freed it may have been freed first.
    const to = quotas.get(record.parent as Ino) === undefined ? (0 as Ino) : record.parent
    state.setInode(root, { ...directory, quota: to })
    quotas.setAll({ root, from: root, to, walked: 0 })
  }
  if (directory.entries > 0) quotas.setPending(root, 0)
}

/** A copy that is being made has no name yet; it passes after the directory in which it will have one. */
function takeSnapshot(state: State): boolean {
  const { from, to } = state.quotas.all()
  const imaging = state.imaging()
  const job = imaging === undefined ? undefined : state.jobs.get(imaging.job)
  const record = job === undefined ? undefined : state.inode(job.root as Ino)
  if (job === undefined || record === undefined || record.quota !== from) return false
  if (state.inode(job.parent as Ino)?.quota !== to) return false
  passTo(state, record, to)
  waitForWalk(state, record)
  return true
}

function end(state: State): void {
  const { quotas } = state
  const { root } = quotas.all()
  quotas.setAll({ root: 0 as Ino })
  const record = quotas.get(root)
  if (record === undefined) return
  if (record.phase === 'leaving' || state.inode(root) === undefined) {
    leave(state, root)
    return
  }
  const leaves = record.leaves === true
  quotas.set(root, { ...record, phase: leaves ? 'leaving' : 'active', leaves: undefined })
  if (leaves) quotas.setWaiting(root, true)
}
