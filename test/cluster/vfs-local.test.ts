/* The contract of Vfs over real processes: a master on LMDB, three chunkservers on real directories, TCP between. */

import { vfsConformance } from '../conformance/vfs.ts'
import { LocalCluster } from '../support/local-cluster.ts'

vfsConformance(
  'a cluster of processes',
  async () => {
    const cluster = await LocalCluster.start({ master: { trashRetentionMs: 0, deadGraceMs: 0 } })
    const [vfs, second] = [await cluster.client(), await cluster.client()]
    const restart = async (): Promise<void> => {
      await cluster.kill('master')
      await cluster.startMaster()
    }
    return { vfs, second, restart, stop: () => cluster.stop() }
  },
  { second: true },
)
