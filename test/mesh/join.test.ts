/*
 * Joining over real TLS on loopback: the node's side against the hub's, a stranger with other tools against the hub, and hubs
 * that are none against the node.
 */

import { createHash, createHmac, createPublicKey, randomBytes } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import {
  type CertifiedKey,
  hashOfRequest,
  makeAuthority,
  makeRequest,
  pinOf,
  signRequest,
} from '../../src/host/certificates.ts'
import { hostClock } from '../../src/host/clock.ts'
import {
  JOIN_BYTES_MAX,
  JOIN_REFUSALS,
  type Joined,
  type JoinRequest,
  joinRefusal,
  joinRequest,
} from '../../src/mesh/core/join.ts'
import type { JoinToken } from '../../src/mesh/core/token.ts'
import { JoinRefused, join } from '../../src/mesh/join-client.ts'
import { type Admit, serveJoins } from '../../src/mesh/join-server.ts'
import { newKeys, tokenKey } from '../../src/mesh/keys.ts'
import { bytesToProve, EXPORTED_BYTES, EXPORTER_LABEL } from '../../src/wire/mesh-proof.ts'
import { quietLog } from '../support/quiet-log.ts'

const HOST = '127.0.0.1'
const NODE = 'a'.repeat(32)
const SECRET = randomBytes(32)
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Fleet {
  readonly authority: CertifiedKey
  readonly chain: string
  readonly key: string
}
/** A hub's chain and key; `roles` of a hub that is one: master. */
async function fleet(roles = ['master', 'mesh'], signer?: CertifiedKey): Promise<Fleet> {
  const authority = signer ?? (await makeAuthority('c1'))
  const { request, key } = await makeRequest('b'.repeat(32))
  const certificate = await signRequest(authority, request, { cluster: 'c1', node: 'b'.repeat(32), roles }, [
    '10.77.0.1',
  ])
  return { authority, chain: `${certificate}${authority.certificate}`, key }
}

let own: Fleet
let request: string
let wish: Omit<JoinRequest, 'tokenId' | 'proof'>
beforeAll(async () => {
  own = await fleet()
  request = (await makeRequest(NODE)).request
  wish = {
    ...{ node: NODE, name: 'nas', key: newKeys().publicKey, request, program: 'test' },
    ...{ label: undefined, site: undefined, rack: undefined, candidates: ['192.0.2.7:51820'], statics: [] },
  }
})

const token = (port: number, change: Partial<JoinToken> = {}): JoinToken => ({
  ...{ meshId: '0'.repeat(16), hubs: [{ host: HOST, port }], pin: pinOf(own.authority.certificate) },
  ...{ tokenId: '1'.repeat(16), expiresAt: 4_000_000_000, roles: ['chunkserver'], secret: SECRET },
  ...change,
})

const answer = (): Joined => ({
  ...{
    cluster: 'c1',
    meshId: '0'.repeat(16),
    name: 'nas',
    ip: '10.77.0.2',
    prefix: '10.77.0.0/16',
    roles: ['chunkserver'],
  },
  ...{ label: undefined, site: undefined, rack: undefined, certificate: 'C', authority: 'A', mapKey: 'K' },
  ...{ map: { text: '{}', signature: 's' }, masterHost: '10.77.0.1', masterPort: 9420, agentPort: 9444, now: 1 },
})

/** What the master does with a proof. */
const proofOf = ({ key, request, node }: Pick<JoinRequest, 'key' | 'request' | 'node'>, exporter: Uint8Array): string =>
  createHmac('sha256', Buffer.from(tokenKey(SECRET), 'hex'))
    .update(bytesToProve({ exporter, key, request: hashOfRequest(request), node }))
    .digest('hex')

/** A hub that lets in whoever proves the secret of the token in his own session. */
async function hub(admit?: Admit, of: Fleet = own) {
  const asked: JoinRequest[] = []
  const proving: Admit = async (request, exported) => {
    asked.push(request)
    if (request.proof !== proofOf(request, exported))
      return { refused: { why: 'wrong-proof', sentence: 'this is not the secret of the token' } }
    return { ok: answer() }
  }
  const listener = await serveJoins(of, admit ?? proving, hostClock, quietLog, { host: HOST, port: 0 })
  cleanups.push(() => listener.close())
  return { port: listener.port, asked }
}

/** One request of a stranger with a tool of his own, in a session of his own. */
async function post(
  port: number,
  body: string | ((exported: Buffer) => string),
  { method = 'POST', path = '/join' } = {},
): Promise<{ status: number; body: string }> {
  const socket = await new Promise<TLSSocket>((resolve, reject) => {
    const made = connect({ host: HOST, port, rejectUnauthorized: false }, () => resolve(made))
    made.once('error', reject)
  })
  const exported = socket.exportKeyingMaterial(EXPORTED_BYTES, EXPORTER_LABEL, Buffer.alloc(0))
  const text = typeof body === 'string' ? body : body(exported)
  return new Promise((resolve, reject) => {
    const asked = httpsRequest({ method, path, createConnection: () => socket }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(parts).toString() }))
    })
    asked.on('error', reject)
    asked.end(text)
  })
}

const refusalIn = (body: string) => joinRefusal.decode(JSON.parse(body), 'answer')
const failed = (work: Promise<unknown>): Promise<FsError> =>
  work.then(
    () => {
      throw new Error('it should have failed')
    },
    (error: unknown) => {
      if (!(error instanceof FsError)) throw error
      return error
    },
  )

describe('a node that joins', () => {
  test('is let in by the secret of its token, which it does not send', async () => {
    const { port, asked } = await hub()
    expect(await join(token(port), wish, hashOfRequest(request), hostClock)).toEqual(answer())
    expect(asked).toMatchObject([{ ...wish, tokenId: '1'.repeat(16) }])
    const sent = JSON.stringify(asked)
    for (const secret of [SECRET.toString('hex'), SECRET.toString('base64'), tokenKey(SECRET)])
      expect(sent).not.toContain(secret)
  })

  test('asks the next hub of its token when the first is not there', async () => {
    const { port } = await hub()
    const hubs = [
      { host: HOST, port: 1 },
      { host: HOST, port },
    ]
    expect(await join(token(port, { hubs }), wish, hashOfRequest(request), hostClock)).toEqual(answer())
  })

  test('sends nothing to who is not of the authority that the token pins', async () => {
    const { port, asked } = await hub(undefined, await fleet())
    const error = await failed(join(token(port), wish, hashOfRequest(request), hostClock))
    expect(error.message).toContain('not of the authority that the token pins')
    expect(asked).toEqual([])
  })

  test('sends nothing to who shows the pinned authority but was not signed by it', async () => {
    const other = await fleet()
    const mixed = { ...other, chain: other.chain.replace(other.authority.certificate, own.authority.certificate) }
    const { port, asked } = await hub(undefined, mixed)
    const error = await failed(join(token(port), wish, hashOfRequest(request), hostClock))
    expect(error.message).toContain('not of the authority that the token pins')
    expect(asked).toEqual([])
  })

  test('sends nothing to a node of the mesh that is no master', async () => {
    const { port, asked } = await hub(undefined, await fleet(['chunkserver', 'mesh'], own.authority))
    const error = await failed(join(token(port), wish, hashOfRequest(request), hostClock))
    expect(error.message).toContain('its certificate is not of a master')
    expect(asked).toEqual([])
  })

  test('is told each refusal by its word and sentence, and asks no other hub after one', async () => {
    for (const why of JOIN_REFUSALS) {
      const { port } = await hub(async () => ({ refused: { why, sentence: `because ${why}` } }))
      const second = await hub()
      const hubs = [port, second.port].map((one) => ({ host: HOST, port: one }))
      const error = await failed(join(token(port, { hubs }), wish, hashOfRequest(request), hostClock))
      expect(error).toBeInstanceOf(JoinRefused)
      expect(error).toMatchObject({ why, message: expect.stringContaining(`because ${why}`) })
      expect(second.asked).toEqual([])
    }
  })

  test('names what it found when nobody listens, when what answers speaks no TLS, and when the answer is none of a hub', async () => {
    const nobody = await failed(join(token(1), wish, hashOfRequest(request), hostClock))
    expect(nobody.message).toContain('nobody listens there')
    const silly = createTlsServer({ cert: own.chain, key: own.key }, (socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}')),
    )
    await new Promise<void>((resolve) => silly.listen(0, HOST, resolve))
    cleanups.push(() => new Promise((done) => silly.close(done)))
    const port = (silly.address() as { port: number }).port
    const other = await failed(join(token(port), wish, hashOfRequest(request), hostClock))
    expect(other.message).toContain('it does not answer as a hub does')
  })
})

describe('a hub that takes joins', () => {
  const bodyWith = (exported: Buffer): string =>
    JSON.stringify(joinRequest.encode({ ...wish, tokenId: '1'.repeat(16), proof: proofOf(wish, exported) }))

  test('takes a proof of the session it came in, and not the same request in another', async () => {
    const { port } = await hub()
    let overheard = ''
    const first = await post(port, (exported) => (overheard = bodyWith(exported)))
    expect(first.status).toBe(200)
    const again = await post(port, overheard)
    expect(again.status).toBe(403)
    expect(refusalIn(again.body).why).toBe('wrong-proof')
  })

  test.each([
    ['nothing', '', 'the request is not JSON'],
    ['what is not JSON', '{"tokenId":', 'the request is not JSON'],
    ['JSON that is something else', '{"a":1}', 'request'],
    ['a number', '7', 'request'],
  ])('answers %s with what is wrong, and asks nobody', async (_what, body, sentence) => {
    const { port, asked } = await hub()
    const { status, body: said } = await post(port, body)
    expect(status).toBe(400)
    expect(refusalIn(said)).toMatchObject({ why: 'bad-request', sentence: expect.stringContaining(sentence) })
    expect(asked).toEqual([])
  })

  test('reads no more than a request may have', async () => {
    const { port, asked } = await hub()
    const outcome = await post(port, 'x'.repeat(JOIN_BYTES_MAX + 1)).catch((error: NodeJS.ErrnoException) => error.code)
    // Who still sends when the answer comes may find the connection closed instead.
    if (typeof outcome === 'object') expect(refusalIn(outcome.body).sentence).toContain(`${JOIN_BYTES_MAX} bytes`)
    else expect(['EPIPE', 'ECONNRESET']).toContain(outcome)
    expect(asked).toEqual([])
  })

  test('has one door: another path or method finds nothing', async () => {
    const { port } = await hub()
    expect(await post(port, '', { path: '/' })).toMatchObject({ status: 404, body: '' })
    expect(await post(port, '', { method: 'PUT' })).toMatchObject({ status: 404, body: '' })
  })

  test('takes twenty tries a minute from one address', async () => {
    const { port, asked } = await hub()
    for (let i = 0; i < 20; i++) expect((await post(port, '7')).status).toBe(400)
    const over = await post(port, bodyWith)
    expect(over.status).toBe(429)
    expect(refusalIn(over.body)).toMatchObject({ why: 'busy', sentence: expect.stringContaining('wait a minute') })
    expect(asked).toEqual([])
  })

  test('speaks TLS 1.3 only', async () => {
    const { port } = await hub()
    const code = await new Promise((resolve) => {
      const socket = connect({
        host: HOST,
        port,
        rejectUnauthorized: false,
        maxVersion: 'TLSv1.2',
        minVersion: 'TLSv1.2',
      })
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
      socket.once('secureConnect', () => resolve('connected'))
    })
    expect(code).toMatch(/ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL/)
  })

  test('the hash of a request is that of the key in it', async () => {
    const { request, key } = await makeRequest(NODE)
    const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
    expect(hashOfRequest(request)).toBe(createHash('sha256').update(spki).digest('hex'))
  })
})
