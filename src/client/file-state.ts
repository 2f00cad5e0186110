/*
 * What this client knows of one file while it is used: where its bytes are, what has been written and not committed, and
 * what was changed and held back. Data only; file-writer.ts and file-reader.ts move it.
 *
 * Bytes are found in this order: `run` (written a moment ago, still growing), `overlay` (segments not yet committed),
 * `base` (what the master has told, where `known` says that it has told), else a hole.
 */

import type { Attr, AttrChange } from '../base/attr.ts'
import type { FsError } from '../base/fault.ts'
import type { ChunkId, Ino } from '../base/ids.ts'
import { ExtentMap } from './core/extent-map.ts'
import type { OpenChunk, Segment } from './segment.ts'

/** Bytes that continue each other, not yet handed to a chunk. */
export interface Run {
  readonly offset: number
  readonly parts: Buffer[]
  length: number
}

export interface PendingSegment {
  readonly segment: Segment
  readonly offset: number
}

export class FileState {
  readonly ino: Ino
  /** open() and create() not yet released. */
  opens = 0
  /** This client's own view; more recent than the master's while the file is dirty. */
  attr: Attr
  /** The version of the attributes that `base` belongs to; −1 when something changed elsewhere. */
  version = -1
  readonly base = new ExtentMap<ChunkId>()
  readonly known = new ExtentMap<true>()
  readonly overlay = new ExtentMap<Segment>()
  run: Run | undefined
  /** In the order written; a prefix of it is what the next commit takes. */
  pending: PendingSegment[] = []
  pendingBytes = 0
  /** Attribute changes held back until the next commit. */
  change: AttrChange | undefined
  /** Made here and not closed yet: attribute changes may wait for the close. */
  young = false
  /** The master has said that a quota is nearly used up: no close is answered before its commit. */
  careful = false
  /** A close was answered before its commit, which has not begun yet. */
  answered = false
  /** Closed and waiting for a common commit; settles with it. */
  lag: Promise<void> | undefined
  /** The first write error nobody has been told of. */
  error: FsError | undefined
  stream: OpenChunk | undefined
  streaming: Promise<void> = Promise.resolve()
  committing: Promise<void> = Promise.resolve()
  /** Chunks with bytes of this file that fsync has still to make durable, up to this length. */
  readonly unsynced = new Map<OpenChunk, number>()
  dirtySinceMs = 0
  /** How often what the master had told has become worthless. */
  forgotten = 0

  constructor(attr: Attr) {
    this.ino = attr.ino
    this.attr = attr
  }

  /** A commit is on its way: what it carries is not yet what the master would answer. */
  sending = false

  /** `attr` here is ahead of what the master would say. */
  get ahead(): boolean {
    return this.sending || this.dirty
  }

  get dirty(): boolean {
    return this.run !== undefined || this.pending.length > 0 || this.change !== undefined
  }

  /** Something about the bytes changed elsewhere, or may have: what the master told before is worth nothing. */
  forgetBase(): void {
    this.forgotten++
    this.base.clear()
    this.known.clear()
    this.version = -1
  }
}
