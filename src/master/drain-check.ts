/*
 * Whether disks could be emptied at all, and leave everything on them as safe as it is wanted: asked before a drain begins,
 * because one that cannot end leaves chunks waiting for a place that does not exist. Chunks that want the same are judged
 * once, by the matching that repair goes by: does the class find fewer right places without these disks than with them? A
 * disk that cannot be used now takes nothing away. What is known now is what counts, and `force` begins it anyway.
 */

import type { ChunkId, DiskId } from '../base/ids.ts'
import { type AssignWish, assign, type Candidate } from '../topology/assign.ts'
import type { ChunkRecord } from './core/records.ts'
import { type CodeWish, type Wish, wishFor, wishOf } from './core/wishes.ts'
import type { Parts } from './parts.ts'

/** Chunks looked at between two turns of the event loop. */
const SLICE = 1_000

type Needs = Pick<Parts, 'state' | 'nodes' | 'clock'>

interface Group {
  readonly className: string
  readonly wish: AssignWish
  readonly things: 'copies' | 'parts'
  chunks: number
}

/** In a sentence; undefined: nothing speaks against it. */
export async function drainProblem(parts: Needs, disks: readonly DiskId[]): Promise<string | undefined> {
  const { nodes } = parts
  const leaving = new Set(disks)
  const usable = [...nodes.map().values()].filter((d) => d.usable)
  const all = usable.map((d): Candidate => ({ ...d, state: 'ready' }))
  const others = all.filter((d) => !leaving.has(d.disk))
  for (const { className, wish, things, chunks } of await groupsOf(parts, disks)) {
    const wanted = wish.slots.length
    const left = rightPlaces(wish, others)
    if (left >= rightPlaces(wish, all)) continue
    const who = chunks === 0 ? 'new files' : chunks === 1 ? 'one chunk on it' : `${chunks} chunks on it`
    return `class "${className}": ${who} would want ${wanted} ${things} and find right places for only ${left}; add disks or use --force`
  }
  const room = usable.reduce((sum, d) => sum + (leaving.has(d.disk) ? 0 : d.availableBytes), 0)
  const used = disks.reduce((sum, disk) => sum + (nodes.disk(disk)?.report?.usedBytes ?? 0), 0)
  return used > room ? 'the other disks have not enough room; add some or use --force' : undefined
}

const rightPlaces = (wish: AssignWish, disks: readonly Candidate[]): number =>
  assign(wish, [], disks).slots.filter(({ planned }) => planned?.fit === 'right').length

/** What the chunks on these disks want, each wish once, and what new files do. */
async function groupsOf({ state, clock }: Needs, disks: readonly DiskId[]): Promise<Iterable<Group>> {
  const groups = new Map<string, Group>()
  const count = (record: ChunkRecord, isPart: boolean): void => {
    const { classId = 0, phase = 'keep', copies, code } = record
    const key = [classId, phase, copies, code?.data, code?.parity, isPart].join()
    let group = groups.get(key)
    if (group === undefined) {
      const cls = state.classes.meaning(classId)
      const wish = wishFor(record, cls)
      group = groupFor(cls.name, wish, isPart ? wish.code : undefined)
      groups.set(key, group)
    }
    group.chunks++
  }
  for (const disk of disks)
    for (let after: ChunkId | 0 = 0; ; ) {
      const page: ChunkId[] = state.chunkIndex.ofDisk(disk, after, SLICE)
      for (const chunk of page) {
        const record = state.chunk(chunk)
        const whole = record?.whole === undefined ? record : state.chunk(record.whole)
        if (whole !== undefined && (whole.state !== 'sealed' || whole.live > 0)) count(whole, whole !== record)
      }
      const last = page.at(-1)
      if (last === undefined || page.length < SLICE) break
      after = last
      await clock.sleep(0)
    }
  const fresh = state.classes.meaning(0)
  groups.set('new', groupFor(fresh.name, wishOf(fresh, 'keep'), undefined))
  return groups.values()
}

const groupFor = (className: string, wish: Wish, code: CodeWish | undefined): Group => ({
  className,
  wish: code ?? wish,
  things: code === undefined ? 'copies' : 'parts',
  chunks: 0,
})
