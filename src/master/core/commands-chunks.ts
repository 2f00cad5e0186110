/* Rows of the table of commands: chunks, their copies and parts, chunkservers and disks. */

import { EC_DATA_MAX, EC_PARITY_MAX, EC_PARTS_MAX } from '../../base/limits.ts'
import { bool, type Infer, list, oneOf, optional, struct, text, uint } from '../../base/schema.ts'
import {
  chunk,
  chunkOffset,
  declaredPlace,
  disk,
  fileOffset,
  ino,
  inventoryEntry,
  labels,
  node,
} from '../../wire/shapes.ts'
import { command } from './command-row.ts'

/** A commit costs as much as ten wishes, and 128 are carried out in a millisecond; more would gain nothing. */
export const WISHES_MAX = 128

const chunkWished = struct({
  chunk,
  classId: optional(uint()),
  phase: optional(oneOf('archive', 'trash')),
  copies: uint(64),
  code: optional(struct({ data: uint(EC_DATA_MAX), parity: uint(EC_PARITY_MAX) })),
})
export type ChunkWished = Infer<typeof chunkWished>

export const chunkCommands = {
  // ---- chunks and disks
  nodeJoined: command(
    40,
    undefined,
    'A chunkserver and its disks are known (again), maybe at a new address.',
    struct({
      node,
      uuid: text(64),
      name: text(255),
      host: text(255),
      port: uint(65535),
      version: text(64),
      disks: list(struct({ disk, uuid: text(64), path: text(), labels: optional(labels) }), 256),
      /** What its configuration says; labels that an admin has set go on holding. */
      place: optional(declaredPlace),
      labels: optional(labels),
      /** The node of the mesh that it has proved to be. */
      member: optional(text(64)),
    }),
  ),
  /** A disk's inventory up to `seq`. `full` with first/last: what it holds is exactly the pages between. */
  inventory: command(
    41,
    'inventory',
    'What a disk holds now.',
    struct({
      disk,
      full: bool,
      first: bool,
      last: bool,
      seq: uint(),
      entries: list(inventoryEntry, 65536),
      /** Of a full list: the entries are all chunks after the one and up to the other. */
      after: optional(uint()),
      upTo: optional(uint()),
    }),
  ),
  copyAdded: command(42, undefined, 'A sealed chunk has a further verified copy.', struct({ chunk, disk })),
  /** The shell has chosen: over goal, or damaged. Refused when it would be the last copy. The file on the disk is deleted afterwards. */
  copyDropped: command(
    43,
    undefined,
    'A copy is given up.',
    struct({ chunk, disk, reason: oneOf('over', 'damaged', 'drained', 'lost') }),
  ),
  chunkSealed: command(
    44,
    undefined,
    'Every present copy has confirmed its seal.',
    struct({ chunk, disks: list(disk, 64) }),
  ),
  /** Dead for longer than the grace: the record goes; copies are deleted by order. */
  chunksForgotten: command(45, undefined, 'Dead chunks are forgotten.', struct({ chunks: list(chunk, 4096) })),
  compactBegun: command(
    46,
    undefined,
    'A new chunk that a compaction fills; its session is none.',
    struct({
      chunk,
      disks: list(disk, 64),
      copies: uint(64),
      classId: optional(uint()),
      /** That of the youngest of what it is filled from: it becomes no younger by being rewritten. */
      createdSec: optional(uint()),
    }),
  ),
  /** Each move is conditional: where the extent is no longer what it was, nothing happens. Then the chunk is sealed at `length`. */
  relocate: command(
    47,
    undefined,
    'Extents move to a rewritten chunk where they are still what they were.',
    struct({
      chunk,
      length: chunkOffset,
      moves: list(
        struct({
          ino,
          offset: fileOffset,
          length: chunkOffset,
          oldChunk: chunk,
          oldOffset: chunkOffset,
          newOffset: chunkOffset,
        }),
        65536,
      ),
    }),
  ),
  /**
   * Every copy that can be heard of ends before what was committed: the chunk ends where the longest does. Later, with a
   * longer one that came back: there.
   */
  chunkShortened: command(
    50,
    undefined,
    'A chunk ends where its longest copy does; what was committed beyond is lost.',
    struct({
      chunk,
      length: chunkOffset,
      /** Sealed at that length. */
      disks: list(disk, 64),
      /** Hold nothing of it. */
      gone: list(disk, 64),
      /** How much the files miss, counted before in steps; without it, it is counted now. */
      lost: optional(uint()),
    }),
  ),
  /** One part each on a disk of its own; their session is none. */
  encodeBegun: command(
    95,
    undefined,
    'New chunks for the parts that a sealed chunk is being cut into.',
    struct({ whole: chunk, parts: list(struct({ chunk, disk }), EC_PARTS_MAX) }),
  ),
  /** From now on it is made of them; its copies go when all parts are sealed and looked at. */
  encoded: command(
    96,
    undefined,
    'A chunk has been cut into parts, which end at these lengths.',
    struct({
      whole: chunk,
      data: uint(EC_DATA_MAX),
      parity: uint(EC_PARITY_MAX),
      parts: list(struct({ chunk, length: chunkOffset }), EC_PARTS_MAX),
    }),
  ),
  partsEnded: command(
    97,
    undefined,
    'Parts that nothing is made of are given up.',
    struct({ parts: list(chunk, EC_PARTS_MAX) }),
  ),
  /** By its class and its files as the shell has found them; a chunk too short for its code stays whole. */
  chunkWish: command(99, undefined, 'What a sealed chunk is to be from now on; of before `chunkWishes`.', chunkWished),
  chunkWishes: command(
    100,
    undefined,
    'What sealed chunks are to be from now on.',
    struct({ wishes: list(chunkWished, WISHES_MAX) }),
  ),
  uncoded: command(98, undefined, 'A chunk has copies again; its parts are given up.', struct({ whole: chunk })),
  diskDrain: command(
    48,
    'diskDrain',
    'A disk is (not) to be emptied.',
    struct({
      disk,
      drain: bool,
      /** Nobody asked for it: it had too many errors. */
      why: optional(oneOf('errors')),
    }),
  ),
  /** At once when it holds few chunks; else nothing comes to it any more, and `diskLeft` goes on. */
  diskRemove: command(49, 'diskRemove', 'A disk is forgotten.', struct({ disk, force: bool })),
  /** While the record says `leaving`. Without force it stays when it turns out to hold the only copy of something. */
  diskLeft: command(
    51,
    undefined,
    'The next chunks are taken off a disk that is to be forgotten.',
    struct({ disk, limit: uint(65536) }),
  ),
  nodeLabel: command(
    110,
    'nodeLabel',
    'Labels of a chunkserver; without any: those of its configuration again.',
    struct({ node, labels: optional(labels) }),
  ),
  diskLabel: command(
    111,
    'diskLabel',
    'Labels of a disk; without any: those of its configuration again.',
    struct({ disk, labels: optional(labels) }),
  ),
  nodeGrace: command(
    112,
    'nodeGrace',
    "How long a chunkserver is waited for; without it: as long as the cluster's setting says.",
    struct({ node, graceMs: optional(uint()) }),
  ),
  /** Over by itself when the second has come. */
  nodeMaintenance: command(
    113,
    'nodeMaintenance',
    'A chunkserver is in maintenance until then; without it: no longer.',
    struct({ node, untilSec: optional(uint()) }),
  ),
  nodeRemove: command(114, 'nodeRemove', 'A chunkserver without disks is forgotten.', struct({ node })),
}
