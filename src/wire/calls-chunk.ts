/* Rows of the call table: between a master and its chunkservers, and what a chunkserver answers to whoever moves bytes. */

import { BULK_BYTES_MAX, EC_DATA_MAX, EC_PARITY_MAX, EC_PARTS_MAX } from '../base/limits.ts'
import { bool, list, nothing, optional, struct, text, uint } from '../base/schema.ts'
import { callsBy } from './call-row.ts'
import {
  chunk,
  chunkOffset,
  chunkPlaces,
  declaredPlace,
  disk,
  diskState,
  inventoryEntry,
  labels,
  node,
  place,
  WAYS_MAX,
  waySeen,
} from './shapes.ts'

/** Which part of an erasure-coded chunk. */
const ecIndex = uint(EC_PARTS_MAX - 1)

const call = callsBy('master')

export const chunkCalls = {
  // ---- what a master answers to a chunkserver
  nodeRegister: call(
    90,
    'A chunkserver is here: its address and disks. Answers the numbers of node and disks and how far their inventory is known.',
    struct({
      uuid: text(64),
      name: text(255),
      host: text(255),
      port: uint(65535),
      version: text(64),
      disks: list(diskState, 256),
      /** Where its configuration says that it stands, and what it calls it. */
      place: optional(declaredPlace),
      labels: optional(labels),
    }),
    struct({ node, disks: list(struct({ uuid: text(64), disk, knownSeq: uint() }), 256), heartbeatMs: uint() }),
    { by: ['chunkserver'], failures: ['EINVAL', 'EEXIST', 'EPERM'] },
  ),
  nodeHeartbeat: call(91, 'State and space of the disks.', struct({ node, disks: list(diskState, 256) }), nothing, {
    by: ['chunkserver'],
    failures: ['ESTALE'],
  }),
  inventory: call(
    92,
    'What changed on a disk since `knownSeq`. `full`: the pages from fromSeq 0 to the one with `last` are all it holds.',
    struct({ node, disk, full: bool, first: bool, last: bool, seq: uint(), entries: list(inventoryEntry, 65536) }),
    /** Chunks on that disk that nobody needs: delete them. */
    struct({ unwanted: list(chunk, 65536) }),
    { by: ['chunkserver'], failures: ['ESTALE'] },
  ),
  damaged: call(
    93,
    'Blocks that failed their CRC, or a whole copy that is unreadable (no blocks). The master orders the repair.',
    struct({ node, disk, chunk, blocks: list(uint(1023), 1024), detail: text() }),
    nothing,
    { by: ['chunkserver'], failures: ['ESTALE'] },
  ),
  waysSeen: call(
    94,
    'What a chunkserver has seen of its ways to others since it said so last, four times a second while it copies. Answers whether any of it is of use now.',
    struct({ node, ways: list(waySeen, WAYS_MAX) }),
    struct({ wanted: bool }),
    { by: ['chunkserver'], failures: ['ESTALE'], idempotent: false },
  ),

  // ---- what a chunkserver answers to the master (orders)
  orderCopy: call(
    100,
    'Make a copy of a sealed chunk on one of your disks from another server. Resumes what an earlier try left. `urgent`: before others.',
    struct({
      disk,
      chunk,
      length: chunkOffset,
      sources: list(place, 64),
      bytesPerSecond: uint(),
      urgent: optional(bool),
    }),
    struct({ bytes: uint() }),
    { failures: ['EIO', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'EROFS', 'ENODEV'] },
  ),
  orderDelete: call(
    101,
    'Delete these chunks from a disk. Missing ones are no error.',
    struct({ disk, chunks: list(chunk, 4096) }),
    nothing,
    {
      failures: ['ENODEV', 'EIO'],
    },
  ),
  orderSeal: call(
    102,
    'Seal a chunk at the committed length: cut the scrap beyond, compute the digest, make it durable.',
    struct({ disk, chunk, length: chunkOffset }),
    struct({ digest: text(64) }),
    { failures: ['ENOENT', 'EIO', 'ERANGE', 'EBADMSG', 'ENODEV'] },
  ),
  orderRepair: call(
    103,
    'Rewrite damaged blocks of a copy from the given sources, verified.',
    struct({
      disk,
      chunk,
      blocks: list(uint(1023), 1024),
      sources: list(place, 64),
      /** The chunk is part `index` of this one: what no source has is decoded from the other parts. */
      whole: optional(chunkPlaces),
      index: optional(ecIndex),
      urgent: optional(bool),
      bytesPerSecond: optional(uint()),
    }),
    struct({ repaired: uint() }),
    { failures: ['ENOENT', 'EIO', 'EBADMSG', 'ETIMEDOUT', 'ENOSPC', 'ENODEV', 'EROFS'] },
  ),
  orderCompact: call(
    104,
    'Append these ranges of one or more chunks, in order, to a new chunk on the given targets and make it durable.',
    struct({
      ranges: list(struct({ source: chunkPlaces, offset: chunkOffset, length: chunkOffset }), 65536),
      chunk,
      targets: list(place, 64),
      bytesPerSecond: optional(uint()),
    }),
    struct({ length: chunkOffset }),
    { failures: ['EIO', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'ENODEV', 'EROFS'] },
  ),
  orderVerify: call(
    105,
    'Which of these chunks does the disk hold, and how long are they? With `deep` every block is read and checked.',
    struct({ disk, chunks: list(chunk, 4096), deep: bool }),
    struct({ chunks: list(inventoryEntry, 4096) }),
    { by: ['master', 'chunkserver', 'admin'], failures: ['ENODEV'] },
  ),
  orderDiskAdd: call(
    106,
    'Take a further directory into use (a line as in the disk list).',
    struct({ spec: text() }),
    struct({ uuid: text(64) }),
    {
      failures: ['EINVAL', 'EIO', 'EEXIST', 'EACCES'],
    },
  ),
  orderDiskRemove: call(107, 'Stop using a disk. Its files stay.', struct({ disk }), nothing, { failures: ['ENODEV'] }),
  orderEncode: call(
    108,
    'Append the data and parity parts of a sealed chunk to new chunks, one target each, durable. Goes on with what is there.',
    struct({
      source: chunkPlaces,
      data: uint(EC_DATA_MAX),
      parity: uint(EC_PARITY_MAX),
      parts: list(struct({ chunk, target: place }), EC_PARTS_MAX),
      bytesPerSecond: uint(),
    }),
    /** Of every part, in order: the lengths at which to seal them. */
    struct({ lengths: list(chunkOffset, EC_PARTS_MAX) }),
    {
      failures: [
        'EIO',
        'EINVAL',
        'ERANGE',
        'ENOSPC',
        'EBADMSG',
        'ETIMEDOUT',
        'ENOENT',
        'ENODEV',
        'EROFS',
        'EPERM',
        'EAGAIN',
      ],
    },
  ),
  orderRebuild: call(
    109,
    'Make part `index` of an erasure-coded chunk anew on one of your disks, from any of the others. Resumes like orderCopy.',
    struct({
      disk,
      chunk,
      index: ecIndex,
      length: chunkOffset,
      whole: chunkPlaces,
      bytesPerSecond: uint(),
      urgent: optional(bool),
    }),
    struct({ bytes: uint() }),
    { failures: ['EIO', 'EINVAL', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'EROFS', 'ENODEV', 'EAGAIN'] },
  ),
  orderJoin: call(
    110,
    'Make a copy of a whole erasure-coded chunk on one of your disks, from its parts. Resumes like orderCopy.',
    struct({ disk, chunk, whole: chunkPlaces, bytesPerSecond: uint() }),
    struct({ bytes: uint() }),
    { failures: ['EIO', 'EINVAL', 'ENOSPC', 'EBADMSG', 'ETIMEDOUT', 'ENOENT', 'EROFS', 'ENODEV', 'EAGAIN'] },
  ),
  orderPace: call(
    111,
    'Another pace for what you copy, cut or make anew of a chunk at this moment; `found`: there is such an order, and it has begun.',
    struct({ chunk, bytesPerSecond: uint() }),
    struct({ found: bool }),
  ),

  // ---- data calls of a chunkserver, answered to mounts and other chunkservers
  append: call(
    120,
    'Appends the bulk bytes at `offset`. Bytes already there are skipped, a gap is ERANGE. `sync`: answer when durable.',
    struct({ disk, chunk, offset: chunkOffset, create: bool, sync: bool }),
    struct({ length: chunkOffset }),
    {
      by: ['mount', 'chunkserver'],
      failures: ['ENOENT', 'ERANGE', 'ENOSPC', 'EIO', 'EROFS', 'ENODEV', 'EFBIG', 'EPERM'],
      bulk: 'request',
    },
  ),
  read: call(
    121,
    'Bytes of a chunk, each block checked against its CRC; fewer than asked only at the end of the copy.',
    struct({ disk, chunk, offset: chunkOffset, length: uint(BULK_BYTES_MAX) }),
    nothing,
    { by: ['mount', 'chunkserver'], failures: ['ENOENT', 'EIO', 'EBADMSG', 'ENODEV'], bulk: 'reply' },
  ),
  syncChunk: call(
    122,
    'Answers when the first `length` bytes are durable; ERANGE when there are fewer.',
    struct({ disk, chunk, length: chunkOffset }),
    struct({ length: chunkOffset }),
    { by: ['mount', 'chunkserver'], failures: ['ENOENT', 'ERANGE', 'EIO', 'ENODEV', 'ENOSPC'] },
  ),
  fetch: call(
    123,
    'Whole blocks as stored with their CRCs, for copying and repair; the last block may be short.',
    struct({ disk, chunk, block: uint(1023), count: uint(64) }),
    struct({ length: chunkOffset, sealed: bool, crcs: list(uint(0xffff_ffff), 64) }),
    { by: ['chunkserver'], failures: ['ENOENT', 'EIO', 'EBADMSG', 'ENODEV'], bulk: 'reply' },
  ),
}
