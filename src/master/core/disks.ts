/*
 * Chunkservers and their disks: who is there, what a disk holds, draining, forgetting; and the cluster's settings.
 */

import { isRefusal, ok, type Result, refuse } from '../../base/fault.ts'
import type { ChunkId, DiskId } from '../../base/ids.ts'
import { labelNames } from '../../topology/label-names.ts'
import type { InventoryEntry } from '../../wire/shapes.ts'
import { addCopy, copyGone, hasOther, isDispensable, putChunk } from './chunks.ts'
import type { CommandOf } from './commands.ts'
import { changedMoving } from './moving.ts'
import type { ChunkRecord, DiskRecord, NodeRecord } from './records.ts'
import type { State } from './state.ts'
import { wishedCopies, wishOf } from './wishes.ts'
import type { Work } from './work.ts'

export function nodeJoined(work: Work, command: CommandOf<'nodeJoined'>): Result<unknown> {
  const { state } = work
  const { node } = command
  const known = state.node(node)
  const problem = ofOtherMember(state, known, command.member)
  if (problem !== undefined) return problem
  if (node === 0 || (known !== undefined && known.uuid !== command.uuid))
    return refuse('EEXIST', `node number ${node} is another`)
  for (const wanted of command.disks) {
    const disk = state.disk(wanted.disk)
    if (wanted.disk === 0 || (disk !== undefined && disk.uuid !== wanted.uuid))
      return refuse('EEXIST', `disk number ${wanted.disk} is another`)
  }
  const labels = labelNames(command.labels ?? [])
  if (isRefusal(labels)) return labels
  const ofDisks: (string[] | undefined)[] = []
  for (const { path, labels: names } of command.disks) {
    const own = labelNames(names ?? [])
    if (isRefusal(own)) return refuse(own.errno, `${path}: ${own.detail}`)
    ofDisks.push(orNone(own.ok))
  }
  const { machine, rack, site } = command.place ?? {}
  state.setNode(node, {
    version: 1,
    uuid: command.uuid,
    name: command.name,
    host: command.host,
    port: command.port,
    software: command.version,
    labels: orNone(labels.ok),
    rack: rack || undefined,
    site: site || undefined,
    machine: machine || undefined,
    graceMs: known?.graceMs,
    maintenanceUntilSec: known?.maintenanceUntilSec,
    labelsSet: known?.labelsSet,
    member: command.member ?? known?.member,
  })
  for (const [i, { disk, uuid, path }] of command.disks.entries()) {
    const record = state.disk(disk)
    state.setDisk(disk, { ...(record ?? newDisk(node, uuid)), node, path, labels: ofDisks[i] })
    state.setCounters({ nextDisk: Math.max(state.counters().nextDisk, disk + 1) })
  }
  state.setCounters({ nextNode: Math.max(state.counters().nextNode, node + 1) })
  return ok({})
}

/** A chunkserver stays with the node of the mesh that brought it; when that has left the mesh, it may come with another. */
export function ofOtherMember(
  { mesh }: State,
  known: NodeRecord | undefined,
  member: string | undefined,
): ReturnType<typeof refuse> | undefined {
  if (known?.member === undefined || member === undefined || known.member === member) return undefined
  if (mesh.founded !== undefined && !mesh.members.has(known.member)) return undefined
  return refuse('EPERM', `chunkserver ${known.uuid} is that of node ${known.member}, not of ${member}`)
}

const orNone = (labels: string[]): string[] | undefined => (labels.length === 0 ? undefined : labels)

const newDisk = (node: DiskRecord['node'], uuid: string): DiskRecord => ({
  version: 1,
  node,
  uuid,
  path: '',
  draining: false,
  knownSeq: 0,
  chunks: 0,
  walkedTo: undefined,
  chunksAtDrain: 0,
  leaving: undefined,
  labels: undefined,
  labelsSet: undefined,
  drainedFor: undefined,
})

export function nodeGrace(work: Work, { node, graceMs }: CommandOf<'nodeGrace'>): Result<unknown> {
  const record = work.state.node(node)
  if (record === undefined) return refuse('ENOENT', `chunkserver ${node}`)
  work.state.setNode(node, { ...record, graceMs })
  return ok({})
}

export function nodeMaintenance(work: Work, { node, untilSec }: CommandOf<'nodeMaintenance'>): Result<unknown> {
  const record = work.state.node(node)
  if (record === undefined) return refuse('ENOENT', `chunkserver ${node}`)
  work.state.setNode(node, { ...record, maintenanceUntilSec: untilSec })
  return ok({})
}

/** Its number is not given again. Should it come back, it is a new one. */
export function nodeRemove(work: Work, { node }: CommandOf<'nodeRemove'>): Result<unknown> {
  const { state } = work
  if (state.node(node) === undefined) return refuse('ENOENT', `chunkserver ${node}`)
  // Number by number: a scan of the table would not see a disk that came earlier in the same transaction.
  const { nextDisk } = state.counters()
  for (let disk = 1; disk < nextDisk; disk++)
    if (state.disk(disk as DiskId)?.node === node) return refuse('EBUSY', `it still has disk ${disk}`)
  state.setNode(node, undefined)
  return ok({})
}

/** None given: what the configuration says holds again. An empty list is an answer as well: no label at all. */
export function nodeLabel(work: Work, command: CommandOf<'nodeLabel'>): Result<unknown> {
  const record = work.state.node(command.node)
  if (record === undefined) return refuse('ENOENT', `chunkserver ${command.node}`)
  const labels = labelNames(command.labels ?? [])
  if (isRefusal(labels)) return labels
  work.state.setNode(command.node, { ...record, labelsSet: command.labels && labels.ok })
  return ok({})
}

export function diskLabel(work: Work, command: CommandOf<'diskLabel'>): Result<unknown> {
  const record = work.state.disk(command.disk)
  if (record === undefined) return refuse('ENOENT', `disk ${command.disk}`)
  const labels = labelNames(command.labels ?? [])
  if (isRefusal(labels)) return labels
  work.state.setDisk(command.disk, { ...record, labelsSet: command.labels && labels.ok })
  return ok({})
}

/**
 * What a disk holds. Pages of a full inventory come in order of chunk ids; what the state counts on the disk and does
 * not find between two pages' ends is gone. Open and sealing chunks are left out of that: a target that has not been
 * written to yet holds no file, and whether its copy is long enough shows when it is to confirm the seal.
 */
export function inventory(work: Work, command: CommandOf<'inventory'>): Result<unknown> {
  const { state } = work
  const { disk } = command
  const record = state.disk(disk)
  if (record === undefined) return refuse('ESTALE', `disk ${disk} is unknown`)
  const unwanted: ChunkId[] = []
  for (const entry of command.entries) if (!counts(work, disk, entry)) unwanted.push(entry.chunk)
  const changed = state.disk(disk) ?? record
  if (!command.full) {
    state.setDisk(disk, { ...changed, knownSeq: Math.max(changed.knownSeq, command.seq) })
    return ok({ unwanted })
  }
  const present = new Set(command.entries.map((entry) => entry.chunk))
  const from = command.after ?? (command.first ? 0 : (record.walkedTo ?? 0))
  const to = command.upTo ?? (command.last ? Number.MAX_SAFE_INTEGER : Math.max(from, ...present))
  for (let at = from; ; ) {
    const page = state.chunkIndex.ofDisk(disk, at as ChunkId | 0, 4096)
    for (const chunk of page) {
      const known = state.chunk(chunk)
      if (chunk > to) break
      if (!present.has(chunk) && known?.state === 'sealed') copyGone(work, chunk, known, disk)
    }
    const end = page.at(-1)
    if (end === undefined || end > to) break
    at = end
  }
  const walked = state.disk(disk) ?? record
  state.setDisk(disk, {
    ...walked,
    walkedTo: command.last ? undefined : (to as ChunkId),
    knownSeq: command.last ? command.seq : walked.knownSeq,
  })
  return ok({ unwanted })
}

/**
 * Takes one entry in; false: nobody counts what the disk has there. A copy that counts goes on counting however damaged or
 * short it is: which others can be read now is not known here, and as long as none can, this one is all there is. The
 * shell has it mended, or dropped when others are live.
 */
function counts(work: Work, disk: DiskId, entry: InventoryEntry): boolean {
  const { chunk, state: found } = entry
  const record = work.state.chunk(chunk)
  if (record === undefined) return found === 'gone'
  const counted = record.disks.includes(disk)
  if (work.state.disk(disk)?.leaving !== undefined) return counted
  if (found === 'gone') {
    copyGone(work, chunk, record, disk)
    return true
  }
  if (found === 'damaged' || record.state === 'open') return counted
  const whole = entry.length >= record.length
  if (record.state === 'sealing') return counted || (found === 'sealed' && whole)
  if (!whole) return counted
  if (record.committed !== undefined && entry.length > record.length) {
    // It may hold what the others have lost: sealing looks at it.
    putUnsealed(work, chunk, record, disk)
    return true
  }
  if (found === 'sealed') {
    if (record.live > 0 || counted) addCopy(work, chunk, record, disk)
    return counted || record.live > 0
  }
  // Written to the full length, but away when the others confirmed: it has to confirm as well before it counts for more.
  if (record.live === 0 && !counted) return false
  putUnsealed(work, chunk, record, disk)
  return true
}

/** The copy counts as one that has not confirmed the seal. */
function putUnsealed(work: Work, chunk: ChunkId, record: ChunkRecord, disk: DiskId): void {
  putChunk(work, chunk, {
    ...record,
    disks: record.disks.includes(disk) ? record.disks : [...record.disks, disk],
    unsealed: record.unsealed.includes(disk) ? record.unsealed : [...record.unsealed, disk],
  })
  work.touchChunk(chunk)
}

export function diskDrain(work: Work, command: CommandOf<'diskDrain'>): Result<unknown> {
  const record = work.state.disk(command.disk)
  if (record === undefined) return refuse('ENOENT')
  if (record.draining !== command.drain)
    work.state.setDisk(command.disk, {
      ...record,
      draining: command.drain,
      chunksAtDrain: record.chunks,
      drainedFor: command.drain ? command.why : undefined,
    })
  return ok({})
}

/** Chunks taken off a disk by one command: 6 ms, up to ten times that when their records have to be read first. */
export const REMOVED_AT_ONCE = 1_024

/** Whether the disk may forget this chunk: force, or another copy, or nobody needs it. */
const mayForget = (work: Work, disk: DiskId, chunk: ChunkId, force: boolean): boolean => {
  const known = work.state.chunk(chunk)
  return force || known === undefined || isDispensable(work.state, known) || hasOther(known, disk)
}

export function diskRemove(work: Work, command: CommandOf<'diskRemove'>): Result<unknown> {
  const { state } = work
  const { disk, force } = command
  const record = state.disk(disk)
  if (record === undefined) return refuse('ENOENT')
  const first = state.chunkIndex.ofDisk(disk, 0, REMOVED_AT_ONCE)
  if (first.some((chunk) => !mayForget(work, disk, chunk, force)))
    return refuse('EBUSY', 'it holds the only copy of something')
  state.setDisk(disk, { ...record, leaving: force })
  takeOff(work, disk, first, REMOVED_AT_ONCE)
  return ok({})
}

export function diskLeft(work: Work, command: CommandOf<'diskLeft'>): Result<unknown> {
  const { state } = work
  const { disk } = command
  const record = state.disk(disk)
  if (record?.leaving === undefined) return ok({})
  const limit = Math.max(1, command.limit)
  const page = state.chunkIndex.ofDisk(disk, 0, limit)
  // Another copy went since it was asked for.
  if (page.some((chunk) => !mayForget(work, disk, chunk, record.leaving === true)))
    state.setDisk(disk, { ...record, leaving: undefined })
  else takeOff(work, disk, page, limit)
  return ok({})
}

function takeOff(work: Work, disk: DiskId, chunks: readonly ChunkId[], limit: number): void {
  for (const chunk of chunks) {
    const known = work.state.chunk(chunk)
    if (known !== undefined) copyGone(work, chunk, known, disk)
  }
  if (chunks.length < limit) work.state.setDisk(disk, undefined)
}

// ---- settings

export function settingsSet(work: Work, command: CommandOf<'settingsSet'>): Result<unknown> {
  const { state } = work
  if (command.copies === 0) return refuse('EINVAL', 'at least one copy')
  if (command.sessionTimeoutMs === 0) return refuse('EINVAL', 'sessions need some time')
  const backup = labelNames(command.backupLabels ?? [])
  if (isRefusal(backup)) return backup
  const before = state.settings()
  const moving = changedMoving(before.moving, command.moving)
  if (isRefusal(moving)) return moving
  const settings = {
    copies: command.copies ?? before.copies,
    graceMs: command.graceMs ?? before.graceMs,
    trashRetentionMs: command.trashRetentionMs ?? before.trashRetentionMs,
    sessionTimeoutMs: command.sessionTimeoutMs ?? before.sessionTimeoutMs,
    backupLabels: command.backupLabels === undefined ? before.backupLabels : orNone(backup.ok),
    moving: moving.ok,
  }
  state.setSettings(settings)
  if (settings.copies !== before.copies) state.setCounters({ copiesToldTo: 0 })
  return ok(settings)
}

/** The next chunks learn a changed number of copies; `counters().copiesToldTo` is undefined when all know it. */
export function copiesTold(work: Work, command: CommandOf<'copiesTold'>): Result<unknown> {
  const { state } = work
  const told = state.counters().copiesToldTo
  if (told === undefined) return ok({})
  const page = state.chunkIndex.all(told as ChunkId | 0, command.limit)
  for (const chunk of page) {
    const record = state.chunk(chunk)
    if (record === undefined || record.whole !== undefined) continue
    const copies = wishedCopies(wishOf(state.classes.meaning(record.classId ?? 0), record.phase ?? 'keep'))
    if (record.copies !== copies) putChunk(work, chunk, { ...record, copies })
    // What else its class says by now is for the shell to find out.
    work.touchChunk(chunk)
  }
  state.setCounters({ copiesToldTo: page.at(-1) })
  return ok({})
}
