/*
 * Background work under the throttle over a real line, run in a node's namespace.
 *
 *   sink                                 reads TCP connections, tells each how many bytes have come, echoes datagrams: {tcp, udp}
 *   push HOST TCP UDP SECONDS STREAMS    sends as fast as the throttle lets it: one line {second, mbit, queueMs, rateMbit} each second
 */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { RttFilter } from '../../src/topology/rtt-filter.ts'
import { bucketBytes, newThrottle, STEP_MS, step } from '../../src/topology/throttle.ts'

const [mode, host = '', ...rest] = process.argv.slice(2)
const say = (words: object): void => void process.stdout.write(`${JSON.stringify(words)}\n`)
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6
const BLOCK = Buffer.alloc(32 * 1024)
const PROBE_MS = 125
const LOST_AFTER_MS = 1000

async function sink(): Promise<void> {
  const server = createServer((socket) => {
    let total = 0
    socket.on('data', (data) => {
      total += data.length
      const count = Buffer.alloc(8)
      count.writeDoubleBE(total)
      socket.write(count)
    })
    // The sender has gone.
    socket.on('error', () => {})
  })
  server.listen(0, '::')
  await once(server, 'listening')
  const echo = createSocket('udp6')
  echo.on('message', (data, from) => echo.send(data, from.port, from.address))
  // What cannot be sent back is a lost probe.
  echo.on('error', () => {})
  echo.bind(0)
  await once(echo, 'listening')
  say({ tcp: (server.address() as { port: number }).port, udp: echo.address().port })
  for await (const _ of process.stdin);
  process.exit(0)
}

async function push(tcp: number, udp: number, seconds: number, streams: number): Promise<void> {
  const sockets: Socket[] = []
  const acked: number[] = []
  for (let i = 0; i < streams; i++) {
    const socket = connect(tcp, host)
    await once(socket, 'connect')
    let half = Buffer.alloc(0)
    socket.on('data', (data) => {
      const all = Buffer.concat([half, data])
      const whole = all.length - (all.length % 8)
      if (whole > 0) acked[i] = all.readDoubleBE(whole - 8)
      half = all.subarray(whole)
    })
    acked[i] = 0
    sockets.push(socket)
  }
  const probe = createSocket('udp4')
  probe.bind(0)
  await once(probe, 'listening')
  const filter = new RttFilter()
  const open = new Map<number, number>()
  let rtts: number[] = []
  probe.on('message', (data) => {
    const sent = open.get(data.readUInt32BE(0))
    if (sent === undefined) return
    open.delete(data.readUInt32BE(0))
    rtts.push(nowMs() - sent)
  })
  const startMs = nowMs()
  let state = newThrottle(startMs)
  let tokens = 0
  let lastMs = startMs
  let ackedBefore = 0
  let number = 0
  let [nextProbe, nextStep, nextLine] = [startMs, startMs + STEP_MS, startMs + 1000]
  let [lineBytes, lineRtts]: [number, number[]] = [0, []]
  while (nowMs() - startMs < seconds * 1000) {
    await sleep(5)
    const now = nowMs()
    tokens = Math.min(bucketBytes(state.bytesPerS), tokens + (state.bytesPerS * (now - lastMs)) / 1000)
    lastMs = now
    for (const socket of sockets) {
      // Not into a buffer of our own: a stream that is behind leaves its turn to the others.
      while (tokens >= BLOCK.length && socket.writableLength === 0 && socket.write(BLOCK)) tokens -= BLOCK.length
    }
    if (now >= nextProbe) {
      nextProbe += PROBE_MS
      const data = Buffer.alloc(48)
      data.writeUInt32BE(++number)
      open.set(number, nowMs())
      probe.send(data, udp, host, () => {})
    }
    if (now >= nextStep) {
      nextStep += STEP_MS
      const total = acked.reduce((sum, bytes) => sum + bytes, 0)
      const late = [...open].filter(([, sent]) => now - sent > LOST_AFTER_MS)
      for (const [probeNumber] of late) open.delete(probeNumber)
      for (const rtt of rtts) filter.round(now, 0, [rtt])
      state = step(state, {
        nowMs: now,
        epoch: 0,
        baseMs: filter.baseMs(now),
        rttsMs: rtts,
        lostProbes: late.length,
        backgroundBytes: total - ackedBefore,
        foregroundBytes: 0,
        urgency: 'behind',
        limitBytesPerS: undefined,
      })
      lineBytes += total - ackedBefore
      lineRtts.push(...rtts)
      ackedBefore = total
      rtts = []
    }
    if (now >= nextLine) {
      nextLine += 1000
      const base = filter.baseMs(now) ?? 0
      const sorted = lineRtts.map((rtt) => rtt - base).sort((a, b) => a - b)
      say({
        second: Math.round((now - startMs) / 1000),
        mbit: (lineBytes * 8) / 1e6,
        queueMs: sorted[sorted.length >> 1] ?? null,
        rateMbit: (state.bytesPerS * 8) / 1e6,
      })
      lineBytes = 0
      lineRtts = []
    }
  }
  process.exit(0)
}

if (mode === 'sink') await sink()
else if (mode === 'push') await push(Number(rest[0]), Number(rest[1]), Number(rest[2]), Number(rest[3]))
else throw new Error(`no program "${mode}"`)
