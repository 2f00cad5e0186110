/* The contract of Vfs over a whole cluster in one process: one master, three chunkservers, two clients. */

import { vfsConformance } from '../conformance/vfs.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'

vfsConformance(
  'a cluster in memory',
  async () => {
    const cluster = await MemoryCluster.start()
    const [vfs, second] = [await cluster.client(), await cluster.client()]
    return { vfs, second, restart: () => cluster.restartMaster(), stop: () => cluster.stop() }
  },
  { second: true },
)
