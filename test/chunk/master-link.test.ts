/* The chunkserver's side of its connection to the master, with disks in memory and a master that only takes notes. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { chunkId, diskId, nodeId } from '../../src/base/ids.ts'
import { MasterLink } from '../../src/chunk/master-link.ts'
import { hostClock } from '../../src/host/clock.ts'
import type { Handlers } from '../../src/wire/peer.ts'
import type { Request } from '../../src/wire/protocol.ts'
import type { DiskState } from '../../src/wire/shapes.ts'
import { ChunkNode } from '../support/chunk-node.ts'
import { DirectPeer } from '../support/direct-peer.ts'
import { countingRandom, ManualClock, silentLog } from '../support/manual-clock.ts'

const A = chunkId(1)
const B = chunkId(2)

let nodes: ChunkNode[]
let heartbeats: DiskState[][]
let pages: Request<'inventory'>[]
let stop: AbortController
let running: Promise<void>

beforeEach(async () => {
  const clock = new ManualClock()
  const first = await new ChunkNode(1, new Map(), clock).start()
  const second = await new ChunkNode(2, new Map(), clock).start()
  nodes = [first, second]
  first.store.add(second.disk)
  heartbeats = []
  pages = []
  stop = new AbortController()
  running = Promise.resolve()
})
afterEach(async () => {
  stop.abort()
  for (const node of nodes) node.io.giveUp('the test is over')
  await running
})

function start(): void {
  const master: Handlers<'nodeRegister' | 'nodeHeartbeat' | 'inventory' | 'damaged'> = {
    nodeRegister: ({ disks }) => ({
      reply: {
        node: nodeId(1),
        disks: disks.map(({ uuid }, i) => ({ uuid, disk: diskId(i + 1), knownSeq: 0 })),
        heartbeatMs: 20,
      },
    }),
    nodeHeartbeat: ({ disks }) => {
      heartbeats.push(disks)
      return { reply: {} }
    },
    inventory: (page) => {
      pages.push(page)
      return { reply: { unwanted: [] } }
    },
    damaged: () => ({ reply: {} }),
  }
  const identity = { uuid: 'u', name: 'n', host: 'h', port: 1, version: '0' }
  const connect = async () => {
    const peer = new DirectPeer(master)
    return Object.assign(peer, { hello: { ...peer.hello, cluster: 'c1' } })
  }
  running = new MasterLink(nodes[0]!.store, connect, identity, hostClock, countingRandom(), silentLog).run(stop.signal)
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return
    await hostClock.sleep(20)
  }
  throw new Error(`waited in vain for: ${what}`)
}

describe('a disk that does not answer', () => {
  test('holds up neither the heartbeat nor what is said of the other disks, and is caught up with when it answers', async () => {
    for (const node of nodes) await node.disk.chunks.append(A, 0, [Buffer.alloc(10)], true)
    const [slow] = nodes
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const { inventory } = slow!.disk.holdings
    const flush = inventory!.flush.bind(inventory)
    inventory!.flush = async () => {
      await answered
      await flush()
    }
    start()
    await until('the inventory of the other disk', () => pages.some((page) => page.disk === diskId(2)))
    await nodes[1]!.disk.chunks.append(B, 0, [Buffer.alloc(10)], true)
    await until('what changed there', () =>
      pages.some((page) => page.disk === diskId(2) && page.entries.some((entry) => entry.chunk === B)),
    )
    const before = heartbeats.length
    await until('heartbeats', () => heartbeats.length > before + 5)
    expect(pages.some((page) => page.disk === diskId(1))).toBe(false)
    answer()
    await until('the inventory of the slow disk', () => pages.some((page) => page.disk === diskId(1)))
  })

  test('that fails to learn its cluster keeps nobody from registering, and learns it later', async () => {
    const [broken] = nodes
    let failing = true
    const rename = broken!.io.rename.bind(broken!.io)
    broken!.io.rename = async (from, to) => {
      if (failing && to === 'disk.json') throw Object.assign(new Error('ENOMEM'), { code: 'ENOMEM' })
      await rename(from, to)
    }
    start()
    await until('a heartbeat', () => heartbeats.length > 0)
    expect(nodes[1]!.io.bytesOf('disk.json').toString()).toContain('"cluster": "c1"')
    expect(broken!.io.bytesOf('disk.json').toString()).toContain('"cluster": ""')
    failing = false
    stop.abort()
    await running
    stop = new AbortController()
    start()
    await until('the cluster on the disk', () => !broken!.io.bytesOf('disk.json').toString().includes('"cluster": ""'))
  })
})
