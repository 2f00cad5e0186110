/*
 * Streams between nodes that do not trust the network: TLS 1.3, both sides with a certificate of the cluster's own
 * authority. Who holds none, or one that was taken back, never reaches the wire protocol; who holds one is known by node
 * and roles (`Transport.identity`), and only at an address that the certificate names.
 *
 * Processes of one machine meet on a Unix socket in a directory that only their user may enter: the kernel has proved
 * there what TLS would prove, at two to three times the rate.
 *
 * Certificates are renewed and taken back while connections live: the files are read again when they have changed, and a
 * connection whose other side was taken back is closed.
 */

import { constants, createPublicKey, X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { type AddressInfo, isIP, type Socket } from 'node:net'
import { join } from 'node:path'
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls'
import { FsError } from '../base/fault.ts'
import { type Identity, identityFrom } from '../base/identity.ts'
import type { Clock, Listener, Log, Net, Transport } from '../base/world.ts'
import { accepted, dial, isThisMachine, netCodes, open } from './net.ts'
import { SocketTransport } from './socket-transport.ts'

/** What stands in the directory of a node's identity; the mesh agent writes it. */
export const IDENTITY_FILES = {
  authority: 'ca.crt',
  certificate: 'node.crt',
  key: 'node.key',
  denied: 'denied',
} as const
/** Renewed certificates last for weeks, a removal should hold soon: one stat of four files in this time is nothing. */
const LOOK_EVERY_MS = 10_000
/** A handshake is two round trips and some milliseconds; over the worst link that is used, a second. */
const HANDSHAKE_MS = 10_000
const NO_TICKETS = constants.SSL_OP_NO_TICKET
/** Before anybody has proved who he is: what a port that is reached by all may cost. Each costs some 50 kB. */
const CONNECTIONS_MAX = 4_096

interface Proof {
  readonly context: SecureContextOptions
  readonly identity: Identity
  /** Serial numbers that were taken back, upper-case hex as Node shows them. */
  readonly denied: ReadonlySet<string>
  /** Of the files, to see a change. */
  readonly stamp: string
}

/** `runDir`: made if it is not there, for this user only. Throws FsError EINVAL for an identity that cannot be used. */
export class TlsNet implements Net {
  readonly #dir: string
  readonly #runDir: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #live = new Map<SocketTransport, string>()
  readonly #onChange = new Set<() => void>()
  #proof: Proof
  #stopLooking: () => void = () => undefined

  constructor(identityDir: string, runDir: string, clock: Clock, log: Log) {
    this.#dir = identityDir
    this.#runDir = runDir
    this.#clock = clock
    this.#log = log
    this.#proof = readProof(identityDir)
    mkdirSync(runDir, { recursive: true, mode: 0o700 })
    if ((statSync(runDir).mode & 0o077) !== 0)
      throw new FsError('EINVAL', `${runDir} can be entered by others: it must be for its owner only (mode 0700)`)
    this.#lookLater()
  }

  get identity(): Identity {
    return this.#proof.identity
  }

  async connect(host: string, port: number, options: { timeoutMs: number; signal?: AbortSignal }): Promise<Transport> {
    const name = `${host}:${port}`
    if (isThisMachine(host)) {
      const near = await dial({ path: this.#path(host, port) }, name, options, this.identity).catch(
        (error: unknown) => {
          if (error instanceof FsError && error.code === 'ECONNREFUSED') return undefined
          throw error
        },
      )
      if (near !== undefined) return near
    }
    return this.#dial(host, port, name, options)
  }

  async listen(host: string, port: number, onTransport: (transport: Transport) => void): Promise<Listener> {
    const server = createTlsServer({
      ...this.#proof.context,
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_MS,
    })
    server.maxConnections = CONNECTIONS_MAX
    server.on('secureConnection', (socket) => {
      const transport = this.#prove(socket, socket.remoteAddress ?? '', `${socket.remoteAddress}:${socket.remotePort}`)
      if (transport instanceof FsError) {
        this.#log.warn({ peer: socket.remoteAddress, why: transport.message }, 'refused a connection')
        socket.destroy()
      } else onTransport(transport)
    })
    server.on('tlsClientError', (error, socket) => {
      this.#log.warn(
        { peer: socket.remoteAddress, why: error.message },
        'refused a connection without a certificate of this cluster',
      )
    })
    const renew = (): void => server.setSecureContext(this.#proof.context)
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        const code = error.code === 'EADDRINUSE' ? 'EBUSY' : 'EINVAL'
        reject(new FsError(code, `cannot listen on ${host}:${port}: ${error.message}`, { cause: error }))
      })
      server.listen({ host, port }, resolve)
    })
    this.#onChange.add(renew)
    const { port: bound } = server.address() as AddressInfo
    const path = this.#path(host, bound)
    // Who has the port has the name: what lies there is of a process that is gone.
    rmSync(path, { force: true })
    const near = isThisMachine(host)
      ? await open({ path }, `${host}:${bound} (local)`, (socket) =>
          onTransport(accepted(socket, `${host}:0`, this.identity)),
        )
      : undefined
    return {
      port: bound,
      close: async () => {
        this.#onChange.delete(renew)
        await Promise.all([server, near].map((one) => one && new Promise<void>((done) => one.close(() => done()))))
      },
    }
  }

  /** Ends the looking at files; connections stay. */
  close(): void {
    this.#stopLooking()
  }

  #path(host: string, port: number): string {
    return join(this.#runDir, `${host.replaceAll(':', '_')}-${port}.sock`)
  }

  #dial(
    host: string,
    port: number,
    name: string,
    { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Transport> {
    return new Promise((resolve, reject) => {
      const socket = tlsConnect({
        ...this.#proof.context,
        ...{ host, port, rejectUnauthorized: true },
        // The certificate is compared with the address below; a name has none to compare.
        checkServerIdentity: () => undefined,
      })
      const stop = this.#clock.timer(timeoutMs, () => fail(new FsError('ETIMEDOUT', name)))
      const settled = (): void => {
        stop()
        signal?.removeEventListener('abort', onAbort)
        socket.off('error', onError)
      }
      const fail = (error: unknown): void => {
        settled()
        // What the socket still says of its end is of no more interest, but must not go unheard.
        socket.on('error', () => undefined)
        socket.destroy()
        reject(error)
      }
      const onAbort = (): void => fail(signal?.reason)
      const onError = (error: NodeJS.ErrnoException): void => {
        const code = netCodes[error.code ?? '']
        const why = code === undefined ? `${name}: ${error.message}` : name
        fail(new FsError(code ?? 'EPERM', why, { cause: error }))
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      socket.on('error', onError)
      socket.once('secureConnect', () => {
        const transport = this.#prove(socket, isIP(host) === 0 ? (socket.remoteAddress ?? '') : host, name)
        if (transport instanceof FsError) return fail(transport)
        settled()
        resolve(transport)
      })
    })
  }

  /** The chain was checked by TLS; here: whose certificate it is, for which address, and whether it still counts. */
  #prove(socket: TLSSocket, address: string, name: string): SocketTransport | FsError {
    const certificate = socket.getPeerX509Certificate()
    const identity = identityFrom(certificate?.subjectAltName ?? '')
    const refuse = (why: string): FsError => new FsError('EPERM', `${name}: ${why}`)
    if (certificate === undefined || identity === undefined) return refuse('its certificate names no node')
    if (identity.cluster !== this.identity.cluster) return refuse(`it is of another cluster, ${identity.cluster}`)
    if (this.#proof.denied.has(certificate.serialNumber)) return refuse(`node ${identity.node} was removed`)
    if (certificate.checkIP(address.replace(/^::ffff:/, '')) === undefined)
      return refuse(`the certificate of node ${identity.node} is not for ${address}`)
    const transport = new SocketTransport(socket as Socket, name, identity)
    socket.on('data', transport.deliver)
    this.#live.set(transport, certificate.serialNumber)
    transport.onClose(() => this.#live.delete(transport))
    return transport
  }

  #lookLater(): void {
    this.#stopLooking = this.#clock.timer(LOOK_EVERY_MS, () => {
      this.look()
      this.#lookLater()
    })
  }

  /** Reads the files again if they have changed. What cannot be used leaves what is in use. */
  look(): void {
    try {
      if (stampOf(this.#dir) === this.#proof.stamp) return
      this.#proof = readProof(this.#dir)
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      this.#log.error(
        { error: error.message },
        'the identity of this node cannot be used; going on with the one before',
      )
      return
    }
    for (const renew of this.#onChange) renew()
    for (const [transport, serial] of this.#live) if (this.#proof.denied.has(serial)) transport.close()
    this.#log.info({ denied: this.#proof.denied.size }, 'the identity of this node was read again')
  }
}

const pathsOf = (dir: string): string[] => Object.values(IDENTITY_FILES).map((file) => join(dir, file))

/** Changes when a file does. The list of those taken back need not be there. */
function stampOf(dir: string): string {
  return pathsOf(dir)
    .map((file) => statSync(file, { throwIfNoEntry: false }))
    .map((stat) => (stat === undefined ? '-' : `${stat.ino} ${stat.mtimeMs} ${stat.size}`))
    .join()
}

function readProof(dir: string): Proof {
  const stamp = stampOf(dir)
  const text = (file: string): string => {
    try {
      return readFileSync(join(dir, file), 'utf8')
    } catch (error) {
      throw new FsError('EINVAL', `the identity of this node: ${(error as Error).message}`, { cause: error })
    }
  }
  const bad = (file: string, why: string): FsError => new FsError('EINVAL', `${join(dir, file)}: ${why}`)
  const { authority, certificate, key, denied } = IDENTITY_FILES
  const [ca, cert, secret] = [text(authority), text(certificate), text(key)]
  if ((statSync(join(dir, key)).mode & 0o077) !== 0) throw bad(key, 'others may read it; it must have mode 0600')
  let own: X509Certificate
  try {
    own = new X509Certificate(cert)
    if (!own.verify(new X509Certificate(ca).publicKey)) throw new Error(`it is not signed by ${authority}`)
    if (!own.publicKey.equals(createPublicKey(secret))) throw new Error(`${key} does not belong to it`)
  } catch (error) {
    throw new FsError('EINVAL', `${join(dir, certificate)}: ${(error as Error).message}`, { cause: error })
  }
  const identity = identityFrom(own.subjectAltName ?? '')
  if (identity === undefined) throw bad(certificate, 'it names no node of a cluster')
  const list = statSync(join(dir, denied), { throwIfNoEntry: false }) === undefined ? '' : text(denied)
  return {
    // No tickets: a resumed session would skip the certificate, and whether it was taken back.
    context: { ca, cert, key: secret, minVersion: 'TLSv1.3', secureOptions: NO_TICKETS },
    identity,
    denied: new Set(list.split('\n').filter((line) => line !== '')),
    stamp,
  }
}
