/*
 * The disks of one chunkserver, by the number the master gave them. Which chunk goes to which disk is the master's decision;
 * a call names the disk, and a disk that is not here is ENODEV.
 */

import { FsError } from '../base/fault.ts'
import type { DiskId } from '../base/ids.ts'
import type { Disk } from './disk.ts'

export class ChunkStore {
  readonly #disks: Disk[] = []
  readonly #byId = new Map<DiskId, Disk>()
  readonly #ids = new Map<Disk, DiskId>()

  get disks(): readonly Disk[] {
    return this.#disks
  }

  add(disk: Disk): void {
    this.#disks.push(disk)
  }

  remove(disk: Disk): void {
    const at = this.#disks.indexOf(disk)
    if (at >= 0) this.#disks.splice(at, 1)
    const id = this.#ids.get(disk)
    if (id !== undefined) this.#byId.delete(id)
    this.#ids.delete(disk)
  }

  number(disk: Disk, id: DiskId): void {
    const before = this.#ids.get(disk)
    if (before !== undefined) this.#byId.delete(before)
    this.#ids.set(disk, id)
    this.#byId.set(id, disk)
  }

  /** undefined: the master has not seen it yet. */
  idOf(disk: Disk): DiskId | undefined {
    return this.#ids.get(disk)
  }

  find(id: DiskId): Disk | undefined {
    return this.#byId.get(id)
  }

  get(id: DiskId): Disk {
    const disk = this.#byId.get(id)
    if (disk === undefined) throw new FsError('ENODEV', `disk ${id} is not on this chunkserver`)
    return disk
  }
}
