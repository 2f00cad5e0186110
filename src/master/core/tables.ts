/*
 * THE table of tables: which keys exist in the master's store, and how a key is put together and taken apart.
 *
 * A key is a byte string: the table's prefix char, then the parts of the row. Numbers are written as one length byte and
 * that many big-endian bytes, so that byte order is number order and a small number costs two bytes, not seven: with a
 * million files half of the memory is keys. Text and names only ever stand last (or are closed by NUL).
 */

import type { ChunkId, DiskId, Ino, NodeId, SessionId } from '../../base/ids.ts'
import type { Kv } from './kv.ts'

interface Table {
  readonly prefix: string
  readonly key: string
  readonly value: string
  readonly says: string
}

export const tables = {
  meta: {
    prefix: 'm',
    key: 'word',
    value: 'by word',
    says: 'Settings, counters, salt, patterns of storage classes, the mesh, measured places, limits between sites: one record each.',
  },
  inode: { prefix: 'i', key: 'ino', value: 'inode', says: 'Every inode, named or not.' },
  dentry: {
    prefix: 'd',
    key: 'parent, 48-bit hash of the name (6 bytes)',
    value: 'bucket',
    says: 'Names of directories, in the order of their readdir cookies.',
  },
  extent: { prefix: 'e', key: 'ino, file offset', value: 'extent', says: 'Where the bytes of files are.' },
  reverse: {
    prefix: 'r',
    key: 'chunk, ino, file offset',
    value: 'empty',
    says: 'Which extents live in a chunk; collection and compaction ask it.',
  },
  chunk: { prefix: 'c', key: 'chunk', value: 'chunk', says: 'Every chunk with the disks that count as copies.' },
  diskChunk: { prefix: 'C', key: 'disk, chunk', value: 'empty', says: 'Which chunks a disk counts for.' },
  openChunk: { prefix: 'o', key: 'session, chunk', value: 'empty', says: 'Chunks that a session writes.' },
  dead: { prefix: 'D', key: 'second of death, chunk', value: 'empty', says: 'Sealed chunks without a live byte.' },
  attention: { prefix: 'a', key: 'chunk', value: 'empty', says: 'Chunks that repair has to look at.' },
  sparse: { prefix: 'h', key: 'chunk', value: 'empty', says: 'Sealed chunks less than half live: compaction.' },
  session: { prefix: 's', key: 'session', value: 'session', says: 'Mounts.' },
  client: { prefix: 'S', key: 'client', value: 'session number', says: 'A mount finds its session again.' },
  over: { prefix: 'w', key: 'session', value: 'empty', says: 'Ended sessions that left more than one command clears.' },
  reply: { prefix: 'y', key: 'session, seq', value: 'errno or reply', says: 'Answers that may be asked for again.' },
  sustained: { prefix: 'u', key: 'ino, session', value: 'empty', says: 'Unlinked inodes and who holds them open.' },
  holds: { prefix: 'U', key: 'session, ino', value: 'empty', says: 'The same from the side of the session.' },
  locks: { prefix: 'l', key: 'ino', value: 'locks', says: 'All locks of an inode.' },
  locker: { prefix: 'L', key: 'session, ino', value: 'empty', says: 'Where a session has locks.' },
  node: { prefix: 'n', key: 'node', value: 'node', says: 'Chunkservers.' },
  disk: { prefix: 'k', key: 'disk', value: 'disk', says: 'Disks of chunkservers.' },
  xattr: { prefix: 'x', key: 'ino, name', value: 'the bytes', says: 'Extended attributes.' },
  trash: { prefix: 't', key: 'second of expiry, ino', value: 'trash', says: 'Deleted files that are kept.' },
  doomed: { prefix: 'z', key: 'ino', value: 'empty', says: 'Inodes whose extents are still being freed, in steps.' },
  class: {
    prefix: 'P',
    key: 'number',
    value: 'class',
    says: 'Storage classes; without a record, number 1 is the default.',
  },
  reclass: {
    prefix: 'p',
    key: 'ino',
    value: 'offset',
    says: 'Files given another class whose chunks from this offset on have not been told.',
  },
  job: {
    prefix: 'J',
    key: 'job',
    value: 'job',
    says: 'Snapshots being made, trees being deleted, and the last that were.',
  },
  image: {
    prefix: 'ji',
    key: 'job, key of another table',
    value: 'what stood there',
    says: 'What changed since a running snapshot began, as it was then.',
  },
  copied: { prefix: 'jl', key: 'job, ino', value: 'ino', says: 'Files of several names that a snapshot has copied.' },
  unfinished: {
    prefix: 'jq',
    key: 'job, ino of the copy',
    value: 'unfinished',
    says: 'Copies of a running snapshot that are not complete.',
  },
  detached: { prefix: 'jt', key: 'job, ino', value: 'empty', says: 'Trees that are out of sight and being freed.' },
  quota: { prefix: 'q', key: 'directory', value: 'quota', says: 'Directories with a quota, and what counts in it.' },
  quotaWalk: {
    prefix: 'Q',
    key: '0, directory; or 1, directory',
    value: 'empty; or cookie',
    says: 'Quotas that wait to be counted or taken away; directories of the one at work that are still to be looked at.',
  },
  usage: {
    prefix: 'V',
    key: 'class',
    value: 'usage',
    says: 'What the chunks of a storage class hold, 0: those of nobody; counted up to counters.usageTo.',
  },
  member: { prefix: 'Mn', key: 'node id in hex', value: 'member', says: 'Nodes of the mesh.' },
  meshToken: { prefix: 'Mt', key: 'token id in hex', value: 'token', says: 'With what nodes can join the mesh.' },
  buried: { prefix: 'Mb', key: 'node id in hex', value: 'buried', says: 'Removed nodes whose addresses rest.' },
  denied: { prefix: 'Md', key: 'serial number in hex', value: 'denied', says: 'Certificates that count no longer.' },
  changelog: { prefix: 'g', key: 'index', value: 'changelog entry', says: 'The last commands.' },
} as const satisfies Record<string, Table>

export type TableName = keyof typeof tables

const char = String.fromCharCode

/** An integer 0 … 2^53−1 as length byte and big-endian bytes. */
export function num(n: number): string {
  if (n < 0x100) return n === 0 ? '\0' : char(1, n)
  if (n < 0x1_0000) return char(2, n >>> 8, n & 255)
  if (n < 0x100_0000) return char(3, n >>> 16, (n >>> 8) & 255, n & 255)
  if (n < 0x1_0000_0000) return char(4, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)
  const high = Math.floor(n / 0x1_0000_0000)
  const low = char((n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)
  if (high < 0x100) return char(5, high) + low
  if (high < 0x1_0000) return char(6, high >>> 8, high & 255) + low
  return char(7, high >>> 16, (high >>> 8) & 255, high & 255) + low
}

/** The number written at `at`. */
export function numAt(key: string, at: number): number {
  const length = key.charCodeAt(at)
  let n = 0
  for (let i = 1; i <= length; i++) n = n * 256 + key.charCodeAt(at + i)
  return n
}

/** Where the number written at `at` ends. */
export const afterNum = (key: string, at: number): number => at + 1 + key.charCodeAt(at)

/** A 48-bit number in six bytes, for hashes, which are never small. */
export function num48(n: number): string {
  const high = Math.floor(n / 0x1_0000_0000)
  return char(high >>> 8, high & 255, (n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)
}

export function num48At(key: string, at: number): number {
  let n = 0
  for (let i = 0; i < 6; i++) n = n * 256 + key.charCodeAt(at + i)
  return n
}

/** The first key that does not begin with `prefix`. No prefix in use ends with 0xff. */
export function after(prefix: string): string {
  const last = prefix.length - 1
  const code = prefix.charCodeAt(last)
  return code < 255 ? prefix.slice(0, last) + char(code + 1) : after(prefix.slice(0, last))
}

/** The numbers that keys go on with after `prefix`, those after `afterNumber` (encoded; '' = from the start). */
export function numbersIn(kv: Kv, prefix: string, afterNumber: string, limit: number): number[] {
  const found: number[] = []
  if (limit <= 0) return found
  const from = afterNumber === '' ? prefix : `${prefix}${afterNumber}\0`
  kv.scan({ from, to: after(prefix) }, (at) => {
    found.push(numAt(at, prefix.length))
    return found.length < limit
  })
  return found
}

export const key = {
  meta: (word: string): string => `m${word}`,
  inode: (ino: Ino): string => `i${num(ino)}`,
  dentriesOf: (parent: Ino): string => `d${num(parent)}`,
  dentry: (parent: Ino, hash: number): string => `d${num(parent)}${num48(hash)}`,
  extentsOf: (ino: Ino): string => `e${num(ino)}`,
  extent: (ino: Ino, offset: number): string => `e${num(ino)}${num(offset)}`,
  reverseOf: (chunk: ChunkId): string => `r${num(chunk)}`,
  reverse: (chunk: ChunkId, ino: Ino, offset: number): string => `r${num(chunk)}${num(ino)}${num(offset)}`,
  chunk: (chunk: ChunkId): string => `c${num(chunk)}`,
  usage: (classId: number): string => `V${num(classId)}`,
  chunksOfDisk: (disk: DiskId): string => `C${num(disk)}`,
  diskChunk: (disk: DiskId, chunk: ChunkId): string => `C${num(disk)}${num(chunk)}`,
  openChunksOf: (session: SessionId): string => `o${num(session)}`,
  openChunk: (session: SessionId, chunk: ChunkId): string => `o${num(session)}${num(chunk)}`,
  dead: (sinceSec: number, chunk: ChunkId): string => `D${num(sinceSec)}${num(chunk)}`,
  attention: (chunk: ChunkId): string => `a${num(chunk)}`,
  sparse: (chunk: ChunkId): string => `h${num(chunk)}`,
  session: (session: SessionId): string => `s${num(session)}`,
  client: (client: string): string => `S${client}`,
  over: (session: SessionId): string => `w${num(session)}`,
  repliesOf: (session: SessionId): string => `y${num(session)}`,
  reply: (session: SessionId, seq: number): string => `y${num(session)}${num(seq)}`,
  sustainedOf: (ino: Ino): string => `u${num(ino)}`,
  sustained: (ino: Ino, session: SessionId): string => `u${num(ino)}${num(session)}`,
  holdsOf: (session: SessionId): string => `U${num(session)}`,
  holds: (session: SessionId, ino: Ino): string => `U${num(session)}${num(ino)}`,
  locks: (ino: Ino): string => `l${num(ino)}`,
  lockerOf: (session: SessionId): string => `L${num(session)}`,
  locker: (session: SessionId, ino: Ino): string => `L${num(session)}${num(ino)}`,
  node: (node: NodeId): string => `n${num(node)}`,
  disk: (disk: DiskId): string => `k${num(disk)}`,
  xattrsOf: (ino: Ino): string => `x${num(ino)}`,
  xattr: (ino: Ino, name: string): string => `x${num(ino)}${name}`,
  trash: (expirySec: number, ino: Ino): string => `t${num(expirySec)}${num(ino)}`,
  doomed: (ino: Ino): string => `z${num(ino)}`,
  class: (classId: number): string => `P${num(classId)}`,
  reclass: (ino: Ino): string => `p${num(ino)}`,
  job: (job: number): string => `J${num(job)}`,
  imagesOf: (job: number): string => `ji${num(job)}`,
  image: (job: number, at: string): string => `ji${num(job)}${at}`,
  copiedOf: (job: number): string => `jl${num(job)}`,
  copied: (job: number, ino: Ino): string => `jl${num(job)}${num(ino)}`,
  unfinishedOf: (job: number): string => `jq${num(job)}`,
  unfinished: (job: number, copy: Ino): string => `jq${num(job)}${num(copy)}`,
  detachedOf: (job: number): string => `jt${num(job)}`,
  detached: (job: number, ino: Ino): string => `jt${num(job)}${num(ino)}`,
  quota: (directory: Ino): string => `q${num(directory)}`,
  quotasWaiting: `Q${num(0)}`,
  quotaWaiting: (directory: Ino): string => `Q${num(0)}${num(directory)}`,
  quotaPendings: `Q${num(1)}`,
  quotaPending: (directory: Ino): string => `Q${num(1)}${num(directory)}`,
  member: (node: string): string => `Mn${node}`,
  meshToken: (tokenId: string): string => `Mt${tokenId}`,
  buried: (node: string): string => `Mb${node}`,
  denied: (serial: string): string => `Md${serial}`,
  changelog: (index: number): string => `g${num(index)}`,
} as const
