/*
 * The check of a running cluster: the master walks its metadata in bounded pages, the chunkservers say what their disks
 * hold. Both change while we look, so findings count only when a second look finds them again. Nothing is changed.
 */

import { FsError } from '../../base/fault.ts'
import { type ChunkId, type DiskId, diskId } from '../../base/ids.ts'
import { hostClock } from '../../host/clock.ts'
import type { Peer } from '../../wire/peer.ts'
import type { DiskReport, Finding, NodeReport } from '../../wire/reports.ts'
import { type Admin, connectPeer } from '../admin.ts'
import {
  type CheckReport,
  type Comparison,
  checkReport,
  compareChunks,
  type DiskView,
  type ExpectedChunk,
  type HeldCopy,
  persisting,
} from './compare.ts'

/** Records of one step of the walk; the master answers others between steps. */
const WALK_PAGE = 20_000
/** Chunks one disk is asked for at once; with `deep` each may be 64 MiB to read. */
const VERIFY_PAGE = 4096
const VERIFY_PAGE_DEEP = 16
/** 16 chunks of 64 MiB from a disk that manages 10 MB/s. */
const VERIFY_TIMEOUT_MS = 120_000
/** Longer than a commit, a seal or a step of repair takes. */
const SECOND_LOOK_MS = 2_000

export async function checkOnline(
  admin: Admin,
  options: { deep: boolean },
  onProgress: (sentence: string) => void,
): Promise<CheckReport> {
  let round = await look(admin, options.deep, onProgress)
  if (round.findings.length > 0) {
    onProgress(`${round.findings.length} findings; looking again, because a running cluster changes`)
    await hostClock.sleep(SECOND_LOOK_MS)
    const again = await look(admin, options.deep, onProgress)
    round = { ...again, findings: persisting(round.findings, again.findings) }
  }
  return checkReport('online', options.deep, round.records, round.comparison, round.findings)
}

interface Round {
  readonly records: number
  readonly comparison: Comparison
  readonly findings: Finding[]
}

async function look(admin: Admin, deep: boolean, onProgress: (sentence: string) => void): Promise<Round> {
  const findings: Finding[] = []
  const expected: ExpectedChunk[] = []
  let records = 0
  let cursor = ''
  do {
    const page = await admin.call('checkPage', { cursor, limit: WALK_PAGE }, { timeoutMs: VERIFY_TIMEOUT_MS })
    records += page.records
    findings.push(...page.findings)
    expected.push(...page.chunks)
    cursor = page.cursor
    onProgress(`metadata: ${records} records`)
  } while (cursor !== '')
  const { nodes } = await admin.call('status', {})
  const disks = await admin.call('diskList', {})
  const views = new Map<number, DiskView>()
  for (const node of nodes) {
    const own = disks.filter((disk) => disk.node === node.node)
    for (const [number, view] of await askNode(admin, node, own, expected, deep, onProgress)) views.set(number, view)
  }
  const comparison = compareChunks(expected, views)
  return { records, comparison, findings: [...findings, ...comparison.findings] }
}

const nameOf = (disk: DiskReport): string => `disk ${disk.disk} (${disk.nodeName}:${disk.path})`

async function askNode(
  admin: Admin,
  node: NodeReport,
  disks: readonly DiskReport[],
  expected: readonly ExpectedChunk[],
  deep: boolean,
  onProgress: (sentence: string) => void,
): Promise<Map<number, DiskView>> {
  const views = new Map<number, DiskView>()
  for (const disk of disks) views.set(disk.disk, { name: nameOf(disk), asked: false, held: new Map() })
  let peer: Peer
  try {
    peer = await connectPeer(node, { ...admin.address, cluster: admin.cluster })
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    onProgress(`${node.name} cannot be asked: ${error.message}`)
    return views
  }
  try {
    for (const disk of disks) {
      const chunks = expected.filter((chunk) => chunk.disks.includes(disk.disk)).map((chunk) => chunk.chunk as ChunkId)
      onProgress(`${nameOf(disk)}: ${chunks.length} chunks`)
      const held = await askDisk(peer, diskId(disk.disk), chunks, deep)
      if (held !== undefined) views.set(disk.disk, { name: nameOf(disk), asked: true, held })
    }
  } finally {
    peer.close()
  }
  return views
}

/** Undefined: the disk is not there now. */
async function askDisk(
  peer: Peer,
  disk: DiskId,
  chunks: readonly ChunkId[],
  deep: boolean,
): Promise<Map<number, HeldCopy> | undefined> {
  const held = new Map<number, HeldCopy>()
  const page = deep ? VERIFY_PAGE_DEEP : VERIFY_PAGE
  try {
    for (let i = 0; i < chunks.length; i += page) {
      const { reply } = await peer.call(
        'orderVerify',
        { disk, chunks: chunks.slice(i, i + page), deep },
        { timeoutMs: VERIFY_TIMEOUT_MS },
      )
      for (const { chunk, state, length } of reply.chunks) held.set(chunk, { state, length })
    }
  } catch (error) {
    if (error instanceof FsError && error.code === 'ENODEV') return undefined
    throw error
  }
  return held
}
