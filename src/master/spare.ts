/*
 * When bytes on a disk may be given up: only while another copy of the chunk is good as far as anybody knows and can be
 * read now. Copies that are away are waited for as long as the grace says, but they are never a reason to delete: they may
 * not come back. Every deletion and every drop asks here last, because the state does not know what is connected.
 */

import type { ChunkId, DiskId } from '../base/ids.ts'
import { confirmed, isDispensable } from './core/chunks.ts'
import type { State } from './core/state.ts'
import type { Nodes } from './nodes.ts'

export class Spare {
  readonly #state: State
  readonly #nodes: Nodes
  readonly #isDamaged: (chunk: ChunkId, disk: DiskId) => boolean

  /** `isDamaged`: a copy is known not to be good, although it counts. */
  constructor(state: State, nodes: Nodes, isDamaged: (chunk: ChunkId, disk: DiskId) => boolean) {
    this.#state = state
    this.#nodes = nodes
    this.#isDamaged = isDamaged
  }

  /** Another copy than this disk's is good and can be read now, or every part of what the chunk is made of. */
  hasOther(chunk: ChunkId, disk: DiskId): boolean {
    const record = this.#state.chunk(chunk)
    if (record === undefined || record.state === 'sealing') return false
    if (record.ec?.parts.every((part) => this.#hasAny(part)) === true) return true
    return confirmed(record).some(
      (other) => other !== disk && this.#nodes.isLive(other) && !this.#isDamaged(chunk, other),
    )
  }

  /** Somebody has a good copy of it that can be read now. */
  #hasAny(part: ChunkId): boolean {
    const record = this.#state.chunk(part)
    if (record?.state !== 'sealed') return false
    return confirmed(record).some((disk) => this.#nodes.isLive(disk) && !this.#isDamaged(part, disk))
  }

  /** What the disk has of the chunk may be deleted: it does not count, and nobody could need it (not even for what all others lost). */
  mayDelete(chunk: ChunkId, disk: DiskId): boolean {
    const record = this.#state.chunk(chunk)
    if (record === undefined) return true
    if (record.disks.includes(disk) || record.lost !== undefined) return false
    return isDispensable(this.#state, record) || this.hasOther(chunk, disk)
  }
}
