/* A disk of a chunkserver in a real directory, without the chunkserver. */

import { unwrap } from '../../src/base/fault.ts'
import { parseDiskSpec } from '../../src/chunk/core/disk-spec.ts'
import { Disk } from '../../src/chunk/disk.ts'
import { RealDiskIo } from '../../src/chunk/disk-io.ts'
import { hostClock, hostRandom } from '../../src/host/clock.ts'
import { silentLog } from './manual-clock.ts'

export async function attachedDisk(root: string): Promise<Disk> {
  const world = { clock: hostClock, random: hostRandom, log: silentLog }
  const nobody = { changed: () => undefined, damaged: () => undefined }
  const disk = new Disk(new RealDiskIo(root), unwrap(parseDiskSpec(`${root} =`)), '', '', world, nobody)
  await disk.attach()
  return disk
}
