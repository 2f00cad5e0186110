/*
 * Traffic for measuring a bed, run in a node's namespace. Every program prints one JSON line: the servers {"port"} when they
 * listen, the others their result.
 *
 *   echo                                   answers every datagram; runs until its standard input ends
 *   mirror                                 as echo, but answers with where the datagram seems to come from: "address port"
 *   look PORT ADDRESS:PORT...              asks mirrors, all from one socket bound to PORT: {seen: (string | null)[]}
 *   ask HOST PORT COUNT EVERY_MS BYTES     sends datagrams to an echo: {rttMs: (number | null)[]}, null where no answer came
 *   drain                                  reads TCP connections to their end and answers each with the number of bytes
 *   pour HOST PORT MS                      sends over one TCP connection as fast as it goes: {bytes, ms}
 *   count MS                               counts datagrams from the first on: {packets, bytes, ms, order: numbers as they came}
 *   send HOST PORT COUNT BYTES MBIT        numbered datagrams at a rate: {sent}
 */

import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const [mode = '', host = '', ...rest] = process.argv.slice(2)
const numbers = rest.map(Number)
const say = (words: object): void => void process.stdout.write(`${JSON.stringify(words)}\n`)
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6
/** Later answers count as lost. */
const LAST_ANSWER_MS = 1500

async function bound(address = '::'): Promise<Socket> {
  const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 })
  socket.bind(0, address)
  await once(socket, 'listening')
  return socket
}

async function untilInputEnds(): Promise<never> {
  for await (const _ of process.stdin);
  process.exit(0)
}

async function echo(): Promise<void> {
  const socket = await bound()
  socket.on('message', (data, from) => socket.send(data, from.port, from.address))
  // What cannot be sent back is a lost packet, as on any network.
  socket.on('error', () => {})
  say({ port: socket.address().port })
  await untilInputEnds()
}

async function mirror(): Promise<void> {
  const socket = await bound()
  socket.on('message', (_, { address, port }) =>
    socket.send(`${address.replace('::ffff:', '')} ${port}`, port, address),
  )
  socket.on('error', () => {})
  say({ port: socket.address().port })
  await untilInputEnds()
}

async function look(mirrors: readonly string[]): Promise<void> {
  const socket = createSocket('udp4')
  socket.bind(Number(host))
  await once(socket, 'listening')
  const seen: (string | null)[] = []
  for (const at of mirrors) {
    const [address, port] = at.split(':')
    socket.send('?', Number(port), address)
    const answer = await Promise.race([once(socket, 'message'), sleep(LAST_ANSWER_MS)])
    seen.push(answer === undefined ? null : String((answer as Buffer[])[0]))
  }
  say({ seen })
  process.exit(0)
}

async function ask(port: number, count: number, everyMs: number, bytes: number): Promise<void> {
  const socket = await bound(host.includes(':') ? '::' : '0.0.0.0')
  const sentAtMs: number[] = []
  const rttMs: (number | null)[] = Array.from({ length: count }, () => null)
  let open = count
  let finish = (): void => {}
  const all = new Promise<void>((done) => (finish = done))
  socket.on('message', (data) => {
    const i = data.readUInt32BE(0)
    if (rttMs[i] !== null) return
    rttMs[i] = nowMs() - sentAtMs[i]!
    if (--open === 0) finish()
  })
  const startMs = nowMs()
  for (let i = 0; i < count; i++) {
    const waitMs = startMs + i * everyMs - nowMs()
    if (waitMs > 0.5) await sleep(waitMs)
    const data = Buffer.alloc(bytes)
    data.writeUInt32BE(i)
    sentAtMs[i] = nowMs()
    // An error of one datagram (no route, too long) is an answer that never comes.
    socket.send(data, port, host, () => {})
  }
  await Promise.race([all, sleep(LAST_ANSWER_MS)])
  say({ rttMs })
  process.exit(0)
}

async function drain(): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0
    socket.on('data', (data) => (bytes += data.length))
    socket.on('end', () => socket.end(String(bytes)))
    // The one who pours sees it too and fails.
    socket.on('error', () => {})
  })
  server.listen(0, '::')
  await once(server, 'listening')
  const address = server.address()
  say({ port: typeof address === 'object' ? address!.port : 0 })
  await untilInputEnds()
}

async function pour(port: number, ms: number): Promise<void> {
  const socket = connect({ port, host, allowHalfOpen: true })
  await once(socket, 'connect')
  const startMs = nowMs()
  const block = Buffer.alloc(64 * 1024)
  while (nowMs() - startMs < ms) if (!socket.write(block)) await Promise.race([once(socket, 'drain'), sleep(50)])
  socket.end()
  let answer = ''
  for await (const data of socket) answer += String(data)
  say({ bytes: Number(answer), ms: nowMs() - startMs })
  process.exit(0)
}

async function count(ms: number): Promise<void> {
  const socket = await bound()
  const order: number[] = []
  let bytes = 0
  let firstMs = 0
  let lastMs = 0
  socket.on('message', (data) => {
    if (order.length === 0) firstMs = nowMs()
    lastMs = nowMs()
    bytes += data.length
    order.push(data.readUInt32BE(0))
  })
  say({ port: socket.address().port })
  await once(socket, 'message')
  await sleep(ms)
  say({ packets: order.length, bytes, ms: lastMs - firstMs, order })
  process.exit(0)
}

async function send(port: number, packets: number, bytes: number, mbit: number): Promise<void> {
  const socket = await bound(host.includes(':') ? '::' : '0.0.0.0')
  const startMs = nowMs()
  for (let i = 0; i < packets; i++) {
    const waitMs = startMs + (i * bytes * 8) / (mbit * 1000) - nowMs()
    if (waitMs > 1) await sleep(waitMs)
    const data = Buffer.alloc(bytes)
    data.writeUInt32BE(i)
    await new Promise((done) => socket.send(data, port, host, done))
  }
  say({ sent: packets })
  process.exit(0)
}

if (mode === 'echo') await echo()
else if (mode === 'mirror') await mirror()
else if (mode === 'look') await look(rest)
else if (mode === 'ask') await ask(numbers[0]!, numbers[1]!, numbers[2]!, numbers[3]!)
else if (mode === 'drain') await drain()
else if (mode === 'pour') await pour(numbers[0]!, numbers[1]!)
else if (mode === 'count') await count(Number(host))
else if (mode === 'send') await send(numbers[0]!, numbers[1]!, numbers[2]!, numbers[3]!)
else throw new Error(`no program "${mode}"`)
