/*
 * The hub's side of joining: the one port of a mesh that answers strangers, besides WireGuard's own. It speaks HTTPS with the
 * hub's certificate and its authority, takes one kind of request, and knows nothing: whether a token counts the master
 * says, who signs is the authority, both given to it.
 *
 * What a stranger can cost is bounded before anything is read: connections at a time, bytes, time, and tries a minute from
 * one address. Refusals are told apart only to who has proved that he holds a token's secret, or names one that is there.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { errno } from '../base/errno.ts'
import { FsError } from '../base/fault.ts'
import type { Clock, Listener, Log } from '../base/world.ts'
import { EXPORTED_BYTES, EXPORTER_LABEL } from '../wire/mesh-proof.ts'
import { joinRefusals } from '../wire/mesh-shapes.ts'
import {
  JOIN_BYTES_MAX,
  JOIN_PATH,
  type Joined,
  type JoinRefusal,
  type JoinRequest,
  joined,
  joinRefusal,
  joinRequest,
} from './core/join.ts'

/** Strangers at a time: a fleet of 50 joining at once, and no more memory than that. */
const CONNECTIONS_MAX = 64
/** Handshake, request and answer. */
const REQUEST_MS = 10_000
/** From one address: a person who mistypes, and a fleet behind one NAT that joins one after the other. */
const TRIES = 20
const TRIES_WINDOW_MS = 60_000
/** Addresses remembered; beyond it the oldest are forgotten, which costs some address a new beginning. */
const ADDRESSES_MAX = 4_096

/** HTTP's word for each; for whoever looks with other tools. */
const STATUS: Readonly<Record<JoinRefusal['why'], number>> = {
  ...(Object.fromEntries(Object.entries(joinRefusals).map(([why, code]) => [why, errno[code].http])) as Record<
    keyof typeof joinRefusals,
    number
  >),
  'bad-request': 400,
  busy: 429,
  'not-ready': 503,
}

/** Answers who asks; `exported` is what the proof covers of the session. */
export type Admit = (
  request: JoinRequest,
  exported: Buffer,
  from: string,
) => Promise<{ readonly ok: Joined } | { readonly refused: JoinRefusal }>

export interface HubIdentity {
  /** The hub's own, and after it the authority's: a node finds there what its token pins. PEM. */
  readonly chain: string
  readonly key: string
}

export async function serveJoins(
  identity: HubIdentity,
  admit: Admit,
  clock: Clock,
  log: Log,
  { host, port }: { host: string; port: number },
): Promise<Listener> {
  const tries = new Tries(clock)
  const server = createServer(
    {
      ...{ cert: identity.chain, key: identity.key, minVersion: 'TLSv1.3', handshakeTimeout: REQUEST_MS },
      ...{ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, maxHeaderSize: 4_096, keepAlive: false },
    },
    (request, response) => {
      void answer(request, response).catch((error: unknown) => {
        // What is not an answer of ours is a defect; it must not look like a refusal.
        queueMicrotask(() => {
          throw error
        })
      })
    },
  )
  server.maxConnections = CONNECTIONS_MAX
  server.on('tlsClientError', () => undefined)

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const from = request.socket.remoteAddress ?? ''
    const say = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
      response.end(JSON.stringify(body))
    }
    const refuse = (refused: JoinRefusal): void => {
      log.warn({ from, why: refused.why, sentence: refused.sentence }, 'refused a join')
      say(STATUS[refused.why], joinRefusal.encode(refused))
    }
    if (request.method !== 'POST' || request.url !== JOIN_PATH) {
      response.writeHead(404, { connection: 'close' })
      response.end()
      return
    }
    if (!tries.allow(from)) return refuse({ why: 'busy', sentence: 'too many tries from your address: wait a minute' })
    // Before the body is awaited: the session must be the one that the request came in.
    const exported = (request.socket as TLSSocket).exportKeyingMaterial(EXPORTED_BYTES, EXPORTER_LABEL, Buffer.alloc(0))
    const asked = await readRequest(request)
    if (typeof asked === 'string') return refuse({ why: 'bad-request', sentence: asked })
    const admitted = await admit(asked, exported, from)
    if ('refused' in admitted) return refuse(admitted.refused)
    log.info({ from, node: asked.node, name: admitted.ok.name, ip: admitted.ok.ip }, 'a node joins')
    say(200, joined.encode(admitted.ok))
  }

  await listening(server, host, port)
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise<void>((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

/** The request, or what is wrong with it. */
async function readRequest(request: IncomingMessage): Promise<JoinRequest | string> {
  const parts: Buffer[] = []
  let bytes = 0
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      bytes += part.length
      if (bytes > JOIN_BYTES_MAX) return `the request has more than ${JOIN_BYTES_MAX} bytes`
      parts.push(part)
    }
    return joinRequest.decode(JSON.parse(Buffer.concat(parts).toString('utf8')), 'request')
  } catch (error) {
    if (error instanceof SyntaxError) return 'the request is not JSON'
    if (error instanceof FsError) return error.message
    // The other side broke off: nobody is there to read this.
    if ((error as NodeJS.ErrnoException).code !== undefined) return 'the request did not end'
    throw error
  }
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' ? 'EBUSY' : 'EINVAL'
      reject(new FsError(code, `cannot take joins on ${host}:${port}: ${error.message}`, { cause: error }))
    })
    server.listen({ host, port }, resolve)
  })
}

/** How often each address has tried in the last minute. */
class Tries {
  readonly #clock: Clock
  readonly #since = new Map<string, { fromMs: number; count: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  allow(address: string): boolean {
    const nowMs = this.#clock.monotonicMs()
    let tried = this.#since.get(address)
    if (tried === undefined || nowMs - tried.fromMs > TRIES_WINDOW_MS) {
      tried = { fromMs: nowMs, count: 0 }
      this.#since.delete(address)
      this.#since.set(address, tried)
      if (this.#since.size > ADDRESSES_MAX) this.#since.delete(this.#since.keys().next().value!)
    }
    tried.count += 1
    return tried.count <= TRIES
  }
}
