import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import {
  makeAnswer,
  PROBE_BYTES_MIN,
  type ProbeOptions,
  type ProbeRound,
  readProbe,
  roundTripMs,
  writeProbe,
} from '../../src/mesh/core/probe-packet.ts'
import { Probe } from '../../src/mesh/probe.ts'
import { silentLog } from '../support/manual-clock.ts'
import { realClock } from '../support/real-clock.ts'
import { startFromSource } from '../support/source-thread.ts'

const port = 30_000 + (process.pid % 2_000)
const probes: Probe[] = []
const sockets: { close(): void }[] = []

async function node(last: number, change: Partial<ProbeOptions> = {}): Promise<{ probe: Probe; rounds: ProbeRound[] }> {
  const rounds: ProbeRound[] = []
  const options = { address: `127.0.9.${last}`, port, prefix: '127.0.0.0/16', boot: last, ...change }
  const probe = new Probe(realClock, silentLog, (round) => rounds.push(round), options, startFromSource)
  probes.push(probe)
  await probe.start()
  return { probe, rounds }
}
const peer = (last: number) => ({ id: `node ${last}`, address: `127.0.9.${last}`, epoch: 1, pace: 'quick' as const })
async function until<T>(list: readonly T[], count: number): Promise<readonly T[]> {
  const deadline = realClock.monotonicMs() + 15_000
  while (list.length < count) {
    if (realClock.monotonicMs() > deadline) throw new Error(`${list.length} of ${count} within 15 s`)
    await realClock.sleep(20)
  }
  return list
}
afterEach(async () => {
  await Promise.all(probes.splice(0).map((probe) => probe.close()))
  for (const socket of sockets.splice(0)) socket.close()
})

describe('the packet of a probe', () => {
  const asked = { sequence: 7, sentNs: 1_000_000_000n, boot: 9, epoch: 3 }
  test('comes back as it was, longer by nothing', () => {
    const bytes = writeProbe(asked, 1000)
    expect(bytes).toHaveLength(1000)
    expect(readProbe(bytes)).toEqual({ ...asked, answer: false, heldUs: 0 })
    makeAnswer(bytes, 250.4)
    expect(bytes).toHaveLength(1000)
    expect(readProbe(bytes)).toEqual({ ...asked, answer: true, heldUs: 250 })
  })
  test('is the same bytes for ever', () => {
    expect(writeProbe(asked, 0).toString('hex')).toBe(`4846010000000007000000003b9aca00000000090003${'00'.repeat(10)}`)
  })
  test('has a size between its header and the largest of the mesh', () => {
    expect([0, 33, 5000].map((size) => writeProbe(asked, size).length)).toEqual([PROBE_BYTES_MIN, 33, 1392])
  })
  test('of somebody else is none', () => {
    const bytes = writeProbe(asked, 32)
    expect(readProbe(bytes.subarray(0, 31))).toBeUndefined()
    expect(readProbe(Buffer.alloc(64))).toBeUndefined()
    bytes[2] = 2
    expect(readProbe(bytes)).toBeUndefined()
  })
  test('was on the way for what it was not held', () => {
    const packet = { ...asked, answer: true, heldUs: 500 }
    expect(roundTripMs(packet, asked.sentNs + 2_000_000n)).toBe(1.5)
    expect(roundTripMs(packet, asked.sentNs + 400_000n)).toBeUndefined()
  })
})

describe('probes on real sockets', () => {
  test('two nodes measure each other, and a size that came back is told', async () => {
    const [a, b] = [await node(1), await node(2)]
    a.probe.setPeers([{ ...peer(2), packetBytes: 1420 }])
    b.probe.setPeers([peer(1)])
    const [first] = await until(a.rounds, 2)
    await until(b.rounds, 2)
    expect(first).toEqual({
      id: 'node 2',
      epoch: 1,
      sent: 1,
      rttsMs: [expect.any(Number)],
      full: { packetBytes: 1420, answered: true },
    })
    expect(first!.rttsMs[0]).toBeGreaterThan(0)
    expect(first!.rttsMs[0]).toBeLessThan(100)
    expect(b.rounds[0]).not.toHaveProperty('full')
  })

  test('nobody there is a round of which nothing came back', async () => {
    const a = await node(1)
    a.probe.setPeers([{ ...peer(77), packetBytes: 1280 }])
    expect((await until(a.rounds, 1))[0]).toEqual({
      id: 'node 77',
      epoch: 1,
      sent: 1,
      rttsMs: [],
      full: { packetBytes: 1280, answered: false },
    })
  })

  test('asks at the pace that is wanted, and no longer than it is told to', async () => {
    const [a] = [await node(1), await node(2)]
    a.probe.setPeers([{ ...peer(2), pace: 'busy' }])
    const startMs = realClock.monotonicMs()
    await until(a.rounds, 20)
    const tookMs = realClock.monotonicMs() - startMs
    expect(tookMs).toBeGreaterThan(1_500)
    expect(tookMs).toBeLessThan(6_000)
    a.probe.setPeers([])
    await realClock.sleep(100)
    const count = a.rounds.length
    await realClock.sleep(600)
    expect(a.rounds.length).toBe(count)
  })

  test('answers nobody outside of the mesh, nothing that is no question, and takes no answer that it did not ask for', async () => {
    const a = await node(1, { prefix: '127.0.9.0/24' })
    const open = async (address: string, own: number) => {
      const socket = createSocket('udp4')
      socket.bind(own, address)
      await once(socket, 'listening')
      sockets.push(socket)
      const heard: Buffer[] = []
      socket.on('message', (bytes) => heard.push(bytes))
      return { heard, say: (bytes: Buffer) => socket.send(bytes, port, '127.0.9.1') }
    }
    const question = writeProbe({ sequence: 1, sentNs: 1n, boot: 1, epoch: 1 }, 64)
    const [stranger, other, member] = [
      await open('127.0.8.8', port),
      await open('127.0.9.8', 0),
      await open('127.0.9.9', port),
    ]
    stranger.say(question)
    other.say(question)
    member.say(Buffer.from('x'.repeat(64)))
    const answer = Buffer.from(question)
    makeAnswer(answer, 0)
    member.say(answer)
    member.say(question)
    await until(member.heard, 1)
    await realClock.sleep(50)
    expect([stranger.heard, other.heard].flat()).toEqual([])
    expect(member.heard).toHaveLength(1)
    expect(readProbe(member.heard[0]!)).toMatchObject({ answer: true, sequence: 1 })
    expect(a.rounds).toEqual([])
  })

  test('a thread that cannot have its address is started again until it can', async () => {
    const taken = createSocket('udp4')
    taken.bind(port, '127.0.9.1')
    await once(taken, 'listening')
    const started = node(1)
    await realClock.sleep(1_000)
    taken.close()
    await started
    const b = await node(2)
    b.probe.setPeers([peer(1)])
    expect((await until(b.rounds, 1))[0]!.rttsMs).toHaveLength(1)
  })
})
