/* What a mount answers by itself while its master is far away. */

import { expect, it } from 'vitest'
import { ROOT_INO } from '../../src/base/ids.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import { MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const caller = callerOf({ uid: 0, gid: 0 })
/** Each way. */
const WAY_MS = 80
const LOOKS = 100

it('is the same as near by: what is known stays known while somebody looks at it', async () => {
  const cluster = await MemoryCluster.start()
  try {
    const client = await cluster.client()
    const { ino } = await client.make(ROOT_INO, 'd', { type: 'dir', mode: 0o755 }, caller)
    await client.syncfs(caller)
    cluster.branch(0).delay(WAY_MS)
    const look = async (): Promise<number> => {
      const beganMs = realClock.monotonicMs()
      await client.getattr(ino, caller)
      return realClock.monotonicMs() - beganMs
    }
    // Whoever has paused asks once; from then on heartbeats are under way all the time.
    for (let i = 0; i < 20; i++) {
      await look()
      await realClock.sleep(20)
    }
    let asked = 0
    for (let i = 0; i < LOOKS; i++) {
      if ((await look()) >= 2 * WAY_MS) asked++
      await realClock.sleep(20)
    }
    // A machine that stands still for a moment is asked for once; before, it was every second or third heartbeat.
    expect(asked).toBeLessThanOrEqual(1)
  } finally {
    await cluster.stop()
  }
})
