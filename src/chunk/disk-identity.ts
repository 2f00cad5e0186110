/*
 * Who a disk is and where its files lie: disk.json and the names below the root. disk.json is written under another name,
 * synced and renamed, and comes last when a disk is made: a directory with it is complete.
 */

import { FsError } from '../base/fault.ts'
import { type ChunkId, chunkId, chunkName } from '../base/ids.ts'
import type { DiskIo } from './disk-io.ts'

const FORMAT = 1
export const IDENTITY = 'disk.json'
export const CHUNK_FILE: RegExp = /^([0-9a-f]{16})\.chunk$/
export const COPY_FILE: RegExp = /^([0-9a-f]{16})\.copy$/

export interface Identity {
  readonly format: number
  readonly uuid: string
  /** Empty: no cluster has taken it yet. */
  readonly cluster: string
  readonly createdMs: number
}

/** By the low byte of the id: ids are given in order, so the 256 directories fill evenly. */
export const dirOf = (chunk: ChunkId): string => `chunks/${(chunk % 256).toString(16).padStart(2, '0')}`
export const pathOf = (chunk: ChunkId, copy = false): string =>
  `${dirOf(chunk)}/${chunkName(chunk)}.${copy ? 'copy' : 'chunk'}`

/** Makes an empty (or missing) directory a disk. */
export async function initialise(io: DiskIo, uuid: string, cluster: string, createdMs: number): Promise<Identity> {
  await io.makeDir('.')
  const there = (await io.list('.')).filter((name) => name !== 'lost+found')
  // A first start that was cut off has made nothing but these.
  const foreign = there.find((name) => name !== 'chunks' && name !== `${IDENTITY}.new`)
  if (foreign !== undefined)
    throw new FsError('EINVAL', `${io.root} is neither empty nor a Holdfast disk (it holds "${foreign}")`)
  for (let i = 0; i < 256; i++) await io.makeDir(dirOf(chunkId(i)))
  await io.syncDir('chunks')
  const identity = { format: FORMAT, uuid, cluster, createdMs }
  await writeIdentity(io, identity)
  return identity
}

export async function readIdentity(io: DiskIo): Promise<Identity> {
  const file = await io.open(IDENTITY, 'read')
  try {
    const bytes = Buffer.alloc(Math.min(await file.size(), 4096))
    const there = await file.read(bytes, 0)
    let raw: Partial<Identity> | null
    try {
      raw = JSON.parse(bytes.toString('utf8', 0, there)) as Partial<Identity> | null
    } catch (error) {
      throw new FsError('EINVAL', `${io.root}/${IDENTITY} is not JSON`, { cause: error })
    }
    if (typeof raw?.format !== 'number' || typeof raw.uuid !== 'string' || !/^[0-9a-f-]{8,64}$/.test(raw.uuid))
      throw new FsError('EINVAL', `${io.root}/${IDENTITY} does not say which disk this is`)
    if (raw.format > FORMAT)
      throw new FsError('EINVAL', `${io.root} has format ${raw.format}, this program knows ${FORMAT}`)
    return { format: raw.format, uuid: raw.uuid, cluster: raw.cluster ?? '', createdMs: raw.createdMs ?? 0 }
  } finally {
    await file.close()
  }
}

export async function writeIdentity(io: DiskIo, identity: Identity): Promise<void> {
  const file = await io.open(`${IDENTITY}.new`, 'ensure')
  try {
    await file.truncate(0)
    await file.write([Buffer.from(`${JSON.stringify(identity, null, 2)}\n`)], 0)
    await file.datasync()
  } finally {
    await file.close()
  }
  await io.rename(`${IDENTITY}.new`, IDENTITY)
  await io.syncDir('.')
}
