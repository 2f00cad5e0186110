/*
 * A node's side of joining. It believes a hub when the authority in the hub's chain has the key that the token pins and has
 * signed the hub's certificate, and that certificate is of a master: nothing is sent before. Then it sends its request with
 * the proof that it holds the token's secret, over a second connection that is verified as any other.
 *
 * Each failure has a sentence that says which step it was and what to do: whoever reads it sits at a machine that knows
 * nobody yet.
 */

import { createHash, createHmac, X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import {
  type ConnectionOptions,
  connect,
  type DetailedPeerCertificate,
  type PeerCertificate,
  type TLSSocket,
} from 'node:tls'
import { FsError } from '../base/fault.ts'
import { identityFrom } from '../base/identity.ts'
import type { Clock } from '../base/world.ts'
import { bytesToProve, EXPORTED_BYTES, EXPORTER_LABEL } from '../wire/mesh-proof.ts'
import { formatHostPort, type HostPort } from './core/endpoint.ts'
import {
  JOIN_PATH,
  JOINED_BYTES_MAX,
  type Joined,
  type JoinRefusal,
  type JoinRequest,
  joined,
  joinRefusal,
  joinRequest,
} from './core/join.ts'
import type { JoinToken } from './core/token.ts'
import { tokenKey } from './keys.ts'

/** Twice the round trips of a handshake over the worst link, and a hub that is busy. */
const HUB_MS = 10_000

/** A refusal by a hub, as opposed to a hub that could not be asked. */
export class JoinRefused extends FsError {
  readonly why: JoinRefusal['why']
  readonly sentence: string
  constructor({ why, sentence }: JoinRefusal) {
    super('EPERM', sentence)
    this.why = why
    this.sentence = sentence
  }
}

/**
 * Asks one hub after the other until one answers. `requestHash`: SHA-256, hex, of the public key to be certified. Throws JoinRefused when a hub says no, FsError with a line for each hub
 * when none could be asked.
 */
export async function join(
  token: JoinToken,
  wish: Omit<JoinRequest, 'tokenId' | 'proof'>,
  requestHash: string,
  clock: Clock,
): Promise<Joined> {
  const failures: string[] = []
  for (const hub of token.hubs) {
    try {
      return await joinAt(hub, token, wish, requestHash, clock)
    } catch (error) {
      if (!(error instanceof FsError) || error instanceof JoinRefused) throw error
      failures.push(error.message)
    }
  }
  throw new FsError('EHOSTUNREACH', `no hub could be asked:\n${failures.map((failure) => `  ${failure}`).join('\n')}`)
}

async function joinAt(
  hub: HostPort,
  token: JoinToken,
  wish: Omit<JoinRequest, 'tokenId' | 'proof'>,
  requestHash: string,
  clock: Clock,
): Promise<Joined> {
  const authority = await pinnedAuthority(hub, clock, token.pin)
  const socket = await dial(hub, clock, {
    ca: authority,
    rejectUnauthorized: true,
    // A hub is known by its role, not by the name or address at which it was reached.
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      const identity = identityFrom(certificate.subjectaltname ?? '')
      return identity?.roles.includes('master') === true ? undefined : new Error('its certificate is not of a master')
    },
  })
  const exported = socket.exportKeyingMaterial(EXPORTED_BYTES, EXPORTER_LABEL, Buffer.alloc(0))
  const proof = createHmac('sha256', Buffer.from(tokenKey(token.secret), 'hex'))
    .update(bytesToProve({ exporter: exported, key: wish.key, request: requestHash, node: wish.node }))
    .digest('hex')
  const answer = await post(socket, hub, JSON.stringify(joinRequest.encode({ ...wish, tokenId: token.tokenId, proof })))
  if (answer.status !== 200) throw new JoinRefused(readAs(joinRefusal, answer.body, hub))
  return readAs(joined, answer.body, hub)
}

/** The certificate of the authority, PEM, once it is clear that it is the one that the token means. */
async function pinnedAuthority(hub: HostPort, clock: Clock, pin: Uint8Array): Promise<string> {
  const socket = await dial(hub, clock, { rejectUnauthorized: false })
  try {
    const chain = chainOf(socket.getPeerCertificate(true))
    for (const certificate of chain) {
      const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
      if (!createHash('sha256').update(spki).digest().equals(pin)) continue
      if (!chain[0]!.verify(certificate.publicKey)) break
      return certificate.toString()
    }
  } finally {
    socket.destroy()
  }
  throw new FsError(
    'EPERM',
    `${formatHostPort(hub)}: who answers there is not of the authority that the token pins. Either something stands between, ` +
      'or the mesh was founded anew: ask for a new token',
  )
}

function chainOf(first: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  const seen = new Set<string>()
  // The last of a chain names itself as its issuer.
  for (
    let one: DetailedPeerCertificate | undefined = first;
    one?.raw !== undefined && !seen.has(one.fingerprint256);
  ) {
    seen.add(one.fingerprint256)
    chain.push(new X509Certificate(one.raw))
    one = one.issuerCertificate
  }
  return chain
}

function dial(hub: HostPort, clock: Clock, options: ConnectionOptions): Promise<TLSSocket> {
  const name = formatHostPort(hub)
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hub.host, port: hub.port, minVersion: 'TLSv1.3', ...options })
    const fail = (error: FsError): void => {
      stop()
      socket.destroy()
      reject(error)
    }
    const stop = clock.timer(HUB_MS, () =>
      fail(
        new FsError(
          'ETIMEDOUT',
          `${name}: no answer within ${HUB_MS / 1000} s. Is TCP ${hub.port} let through by every firewall on the way?`,
        ),
      ),
    )
    socket.on('error', (error: NodeJS.ErrnoException) => fail(unreachable(name, hub.port, error)))
    socket.once('secureConnect', () => {
      stop()
      resolve(socket)
    })
  })
}

function unreachable(name: string, port: number, error: NodeJS.ErrnoException): FsError {
  const because = (code: 'ECONNREFUSED' | 'EHOSTUNREACH' | 'EPERM', sentence: string): FsError =>
    new FsError(code, `${name}: ${sentence}`, { cause: error })
  switch (error.code) {
    case 'ECONNREFUSED':
      return because('ECONNREFUSED', `nobody listens there. Does the hub run, and is TCP ${port} sent on to it?`)
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return because('EHOSTUNREACH', 'there is no such name. Does DNS work here?')
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return because('EHOSTUNREACH', 'there is no way to it from here')
    case 'CERT_NOT_YET_VALID':
    case 'CERT_HAS_EXPIRED':
      return because('EPERM', 'its certificate does not count today. Is the clock of this machine right?')
    default:
      return because('EPERM', error.message)
  }
}

function post(socket: TLSSocket, hub: HostPort, body: string): Promise<{ status: number; body: string }> {
  const name = formatHostPort(hub)
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(new FsError('ECONNRESET', `${name}: the hub broke off: ${error.message}`, { cause: error }))
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const options = { method: 'POST', path: JOIN_PATH, headers, createConnection: () => socket, timeout: HUB_MS }
    const asked = httpsRequest(options, (response) => {
      const parts: Buffer[] = []
      let bytes = 0
      response.on('data', (part: Buffer) => {
        bytes += part.length
        if (bytes > JOINED_BYTES_MAX) response.destroy(new Error('its answer has no end'))
        else parts.push(part)
      })
      response.on('error', failed)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') }),
      )
    })
    asked.on('error', failed)
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')))
    asked.end(body)
  })
}

function readAs<T>(schema: { decode(raw: unknown, path: string): T }, body: string, hub: HostPort): T {
  try {
    return schema.decode(JSON.parse(body), 'answer')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new FsError('EPROTO', `${formatHostPort(hub)}: it does not answer as a hub does: ${why}`, { cause: error })
  }
}
