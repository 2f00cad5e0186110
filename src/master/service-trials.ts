/*
 * What a change would mean, before it is made: of a class that says something else, of files given another class, of labels.
 * Counted are chunks of which something would be copied, and bytes between sites. Nothing here changes anything, and each
 * call looks at a bounded number of chunks or extents; whoever asks goes on from there and may stop. An estimate: chunks
 * are taken by themselves, each to the nearest disks that have room now.
 */

import { FsError } from '../base/fault.ts'
import type { ChunkId, Ino } from '../base/ids.ts'
import { ClassError, readClass, type StorageClass } from '../topology/storage-class.ts'
import type { Handlers } from '../wire/peer.ts'
import type { Request } from '../wire/protocol.ts'
import type { ClassMoves } from '../wire/reports.ts'
import { TRIED_EXTENTS_MAX } from '../wire/shapes.ts'
import { DEFAULT_CLASS } from './core/class-table.ts'
import { type Moves, movesOf } from './core/moves.ts'
import { type ChunkRecord, labelsOf } from './core/records.ts'
import type { DiskMap } from './core/repair.ts'
import type { State } from './core/state.ts'
import { type Wish, wishFor, wishOf } from './core/wishes.ts'
import type { Parts } from './parts.ts'
import { manyInodes } from './reports.ts'

type TrialCalls = 'classMoves' | 'classTry' | 'chunkMoves' | 'labelMoves'

/** As a chunk's record and an inode keep it: of the default class nothing. */
const kept = (classId: number): number => (classId === DEFAULT_CLASS ? 0 : classId)

export function trialHandlers(parts: Parts): Handlers<TrialCalls> {
  const { state, nodes, holdings } = parts
  return {
    classMoves: ({ classId, text, after, limit }) => {
      known(state, classId)
      const meaning = meaningOf(state, text)
      const { page, next } = pageOf(state, after, limit)
      const sum = summed(state, page, nodes.map(), (record) =>
        (record.classId ?? 0) === kept(classId) ? wishOf(meaning, record.phase ?? 'keep') : undefined,
      )
      return { reply: { after: next, ...sum } }
    },

    classTry: async ({ classId, onlyFrom, path, ino, page, offset }) => {
      known(state, classId)
      await holdings.settleAll()
      const from = onlyFrom === undefined ? undefined : kept(onlyFrom)
      const changes = (now: number): boolean => now !== kept(classId) && (from === undefined || from === now)
      const asked = manyInodes(state, { path, ino, page })
      return { reply: { ...tried(state, asked.inos, asked.paged, offset, changes), cookie: asked.cookie } }
    },

    chunkMoves: ({ classId, chunks }) => {
      known(state, classId)
      const meaning = state.classes.meaning(classId)
      const sum = summed(state, chunks, nodes.map(), (record) => wishOf(meaning, record.phase ?? 'keep'))
      return { reply: { after: null, ...sum } }
    },

    labelMoves: ({ node, disk, labels, after, limit }) => {
      if ((node === undefined) === (disk === undefined)) throw new FsError('EINVAL', 'name a chunkserver or a disk')
      const record = node === undefined ? state.disk(disk!) : state.node(node)
      if (record === undefined) throw new FsError('ENOENT', node === undefined ? `disk ${disk}` : `chunkserver ${node}`)
      const wanted = labelsOf({ ...record, labelsSet: labels })
      const before = nodes.map()
      const changed: DiskMap = new Map(
        [...before].map(([id, one]) => {
          if (node === undefined ? id !== disk : one.node !== node) return [id, one]
          const ofNode = node === undefined ? labelsOf(state.node(one.node)!) : wanted
          const own = node === undefined ? wanted : labelsOf(state.disk(id)!)
          return [id, { ...one, labels: new Set([...ofNode, ...own]) }]
        }),
      )
      const { page, next } = pageOf(state, after, limit)
      const wish = (one: ChunkRecord): Wish => wishFor(one, state.classes.meaning(one.classId ?? 0))
      return { reply: { after: next, ...summed(state, page, changed, wish, before), labels: [...wanted] } }
    },
  }
}

function known(state: State, classId: number): void {
  if (state.classes.record(classId) === undefined) throw new FsError('ENOENT', `storage class ${classId}`)
}

function meaningOf(state: State, text: Request<'classMoves'>['text']): StorageClass {
  try {
    return readClass(text, state.settings().copies)
  } catch (error) {
    if (error instanceof ClassError) throw new FsError('EINVAL', error.message, { cause: error })
    throw error
  }
}

function pageOf(state: State, after: number, limit: number): { page: readonly ChunkId[]; next: number | null } {
  const page = state.chunkIndex.all(after as ChunkId | 0, Math.max(1, limit))
  return { page, next: page.length < limit ? null : (page.at(-1) ?? null) }
}

/** `wishes`: undefined of chunks that do not count. What would be copied on the disks of `anyway` too is not counted. */
function summed(
  state: State,
  chunks: readonly ChunkId[],
  disks: DiskMap,
  wishes: (record: ChunkRecord) => Wish | undefined,
  anyway?: DiskMap,
): Omit<ClassMoves, 'after'> {
  const links = new Map<string, { from: string; to: string; bytes: number }>()
  const sum = { chunks: 0, moving: 0, nowhere: 0 }
  for (const chunk of chunks) {
    const record = state.chunk(chunk)
    // Parts come with the whole that they are of. What is still being written counts as far as it is committed.
    if (record === undefined || record.whole !== undefined || record.live === 0) continue
    const wish = wishes(record)
    if (wish === undefined) continue
    sum.chunks++
    const ec = record.ec && { ...record.ec, parts: record.ec.parts.flatMap((part) => state.chunk(part) ?? []) }
    const found = movesOf({ ...record, ec }, wish, disks)
    if (found.moves.length === 0 && found.nowhere === 0) continue
    if (anyway !== undefined && alike(found, movesOf({ ...record, ec }, wish, anyway))) continue
    if (found.moves.length > 0) sum.moving++
    sum.nowhere += found.nowhere
    for (const move of found.moves) {
      const [from, to] = [move.from.site ?? '', move.to.site ?? '']
      const link = links.get(`${from}/${to}`) ?? { from, to, bytes: 0 }
      links.set(`${from}/${to}`, { ...link, bytes: link.bytes + move.bytes })
    }
  }
  return { ...sum, links: [...links.values()] }
}

const alike = (a: Moves, b: Moves): boolean =>
  a.nowhere === b.nowhere &&
  a.moves.length === b.moves.length &&
  a.moves.every(({ to, bytes }, i) => to === b.moves[i]!.to && bytes === b.moves[i]!.bytes)

/** Which of these would change, and the chunks of those; of files with more extents than are looked at, where to go on. */
function tried(
  state: State,
  inos: readonly Ino[],
  paged: boolean,
  offset: number,
  changes: (classId: number) => boolean,
) {
  let changed = 0
  let left = 0
  let budget = TRIED_EXTENTS_MAX
  const directories: Ino[] = []
  const chunks = new Set<ChunkId>()
  const rest: { ino: Ino; offset: number }[] = []
  for (const ino of inos) {
    const record = state.inode(ino)
    if (record === undefined || record.doomed) continue
    const { type, classId = 0 } = record.attr
    if (type === 'dir' && paged) directories.push(ino)
    if (type !== 'dir' && type !== 'file') continue
    if (!changes(classId)) {
      left++
      continue
    }
    changed++
    if (type === 'dir') continue
    if (budget === 0) {
      rest.push({ ino, offset })
      continue
    }
    const { extents, complete } = state.extents.from(ino, offset, budget)
    budget -= extents.length
    for (const { chunk } of extents) chunks.add(chunk)
    const last = extents.at(-1)
    if (!complete && last !== undefined) rest.push({ ino, offset: last.offset + last.length })
  }
  return { changed, left, directories, chunks: [...chunks], rest }
}
