/*
 * A WireGuard interface in userspace, as the bed makes them for itself: `wireguard-go -f` in a node's namespace, told its
 * keys and peers over its own socket. So keys stand in no file and no argument.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { NETNS_DIR, WIREGUARD_DIR } from './leftovers.ts'

export interface KeyPair {
  readonly privateKey: Buffer
  readonly publicKey: Buffer
}

export function newKeyPair(): KeyPair {
  const pair = generateKeyPairSync('x25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
    publicKeyEncoding: { type: 'spki', format: 'der' },
  })
  // The last 32 bytes of both encodings are the bare keys.
  return { privateKey: pair.privateKey.subarray(-32), publicKey: pair.publicKey.subarray(-32) }
}

export interface WireguardPeer {
  readonly publicKey: Buffer
  /** "address:port"; undefined: it calls us. */
  readonly endpoint: string | undefined
  readonly allowedIps: readonly string[]
  readonly keepaliveSeconds: number
}

const READY_MS = 20_000

/** The interface is there and can be given addresses when this returns. */
export async function startWireguard(
  namespace: string,
  name: string,
  port: number,
  privateKey: Buffer,
): Promise<ChildProcess> {
  const child = spawn('nsenter', [`--net=${NETNS_DIR}/${namespace}`, '--', 'wireguard-go', '-f', name], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Without these it would put itself into the background by starting itself again.
    env: { ...process.env, WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' },
  })
  let words = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-4000)))
  let ended: string | undefined
  child.once('error', (error) => (ended = error.message))
  child.once('close', (code, signal) => (ended = `ended (${code ?? signal})`))
  const until = performance.now() + READY_MS
  for (;;) {
    if (ended !== undefined) throw new Error(`wireguard-go in ${namespace}: ${ended}\n${words}`)
    try {
      await configure(name, [`private_key=${privateKey.toString('hex')}`, `listen_port=${port}`])
      return child
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if ((code !== 'ENOENT' && code !== 'ECONNREFUSED') || performance.now() > until) throw error
    }
    await sleep(20)
  }
}

export async function addPeers(name: string, peers: readonly WireguardPeer[]): Promise<void> {
  await configure(
    name,
    peers.flatMap(({ publicKey, endpoint, allowedIps, keepaliveSeconds }) => [
      `public_key=${publicKey.toString('hex')}`,
      ...(endpoint === undefined ? [] : [`endpoint=${endpoint}`]),
      `persistent_keepalive_interval=${keepaliveSeconds}`,
      'replace_allowed_ips=true',
      ...allowedIps.map((address) => `allowed_ip=${address}`),
    ]),
  )
}

async function configure(name: string, lines: readonly string[]): Promise<void> {
  const socket = connect(`${WIREGUARD_DIR}/${name}.sock`)
  try {
    await once(socket, 'connect')
    socket.write(`set=1\n${lines.join('\n')}\n\n`)
    let answer = ''
    for await (const data of socket.setEncoding('utf8')) if ((answer += data).endsWith('\n\n')) break
    if (!answer.startsWith('errno=0\n')) throw new Error(`${name} refuses its configuration: ${answer.trim()}`)
  } finally {
    socket.destroy()
  }
}
