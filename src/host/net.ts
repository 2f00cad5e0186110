/*
 * Streams to other processes: TCP, and between processes of one machine a Unix socket beside it, which carries bulk bytes
 * at two to three times the rate (docs/adr/0007-unix-sockets.md). Whoever listens on an address
 * of this machine also listens on an abstract socket named after address and port; whoever connects to such an address
 * tries that name first. Abstract names live and die with the process and are local to the network namespace, exactly
 * like loopback ports. Nobody proves who he is here: this is the net of one machine, and of a LAN that is trusted whole.
 */

import {
  type AddressInfo,
  createServer,
  type ListenOptions,
  connect as netConnect,
  type OnReadOpts,
  type Server,
  Socket,
  type SocketConstructorOpts,
} from 'node:net'
import { networkInterfaces } from 'node:os'
import { FsError } from '../base/fault.ts'
import type { Identity } from '../base/identity.ts'
import type { Net, Transport } from '../base/world.ts'
import { SocketTransport } from './socket-transport.ts'

/** One read from a socket, and the memory that each connection holds for it. */
const READ_BYTES = 256 * 1024

export const netCodes: Record<string, 'ECONNREFUSED' | 'EHOSTUNREACH' | 'ETIMEDOUT' | 'EINVAL'> = {
  ECONNREFUSED: 'ECONNREFUSED',
  // A Unix socket whose file is not there, or of a process that is gone.
  ENOENT: 'ECONNREFUSED',
  EHOSTUNREACH: 'EHOSTUNREACH',
  ENETUNREACH: 'EHOSTUNREACH',
  ENOTFOUND: 'EHOSTUNREACH',
  EAI_AGAIN: 'EHOSTUNREACH',
  ETIMEDOUT: 'ETIMEDOUT',
}

export const hostNet: Net = {
  async connect(host, port, options) {
    if (isThisMachine(host)) {
      const near = await dial({ path: localName(host, port) }, `${host}:${port}`, options).catch((error: unknown) => {
        // Nobody listens there under that name: an older or a foreign server, or none. TCP gives the real answer.
        if (error instanceof FsError && error.code === 'ECONNREFUSED') return undefined
        throw error
      })
      if (near !== undefined) return near
    }
    return dial({ host, port }, `${host}:${port}`, options)
  },

  async listen(host, port, onTransport) {
    const tcp = await open({ host, port }, `${host}:${port}`, (socket) => {
      onTransport(accepted(socket, `${socket.remoteAddress}:${socket.remotePort}`))
    })
    const { port: bound } = tcp.address() as AddressInfo
    const servers = [tcp]
    if (isThisMachine(host)) {
      const name = `${host}:${bound}`
      servers.push(
        await open({ path: localName(host, bound) }, `${name} (local)`, (socket) =>
          onTransport(accepted(socket, `${host}:0`)),
        ),
      )
    }
    return {
      port: bound,
      close: async () => {
        await Promise.all(servers.map((server) => new Promise<void>((done) => server.close(() => done()))))
      },
    }
  },
}

const localName = (host: string, port: number): string => `\0holdfast-${host}-${port}`

export function isThisMachine(host: string): boolean {
  if (host === 'localhost' || host === '::1' || host.startsWith('127.')) return true
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === host))
}

/**
 * An accepted socket that reads into one buffer of ours. Node offers that for dialled sockets only; an accepted one reads
 * 64 KiB at a time into memory made for each read, sixteen times for an append of 1 MiB. So
 * the connection's handle is given to a socket made with the option. Where Node does not have the handle in that place,
 * the accepted socket is used as it is.
 */
export function accepted(socket: Socket, peer: string, identity?: Identity): Transport {
  const holder = socket as unknown as { _handle?: object | null }
  const handle = holder._handle
  if (handle === undefined || handle === null) {
    const transport = new SocketTransport(socket, peer, identity)
    socket.on('data', transport.deliver)
    socket.resume()
    return transport
  }
  holder._handle = null
  socket.destroy()
  let transport: SocketTransport | undefined
  const own = new Socket({ handle, onread: readInto(() => transport) } as SocketConstructorOpts)
  transport = new SocketTransport(own, peer, identity)
  own.resume()
  return transport
}

function readInto(transport: () => SocketTransport | undefined): OnReadOpts {
  const own = Buffer.allocUnsafeSlow(READ_BYTES)
  let current: Buffer | undefined
  const next = (): Buffer | undefined => {
    const wanted = transport()?.room() ?? own
    if (wanted === current) return undefined
    current = wanted
    return wanted
  }
  return {
    // Asked again after each read. Setting another buffer is several calls into libuv; no answer leaves the present one.
    buffer: next as () => Buffer,
    callback: (length, buffer) => {
      transport()?.deliver(Buffer.from(buffer.buffer, buffer.byteOffset, length))
      return true
    },
  }
}

export function open(where: ListenOptions, name: string, onSocket: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true }, onSocket)
    server.once('error', (error: NodeJS.ErrnoException) => {
      const busy = error.code === 'EADDRINUSE'
      reject(new FsError(busy ? 'EBUSY' : 'EINVAL', `cannot listen on ${name}: ${error.message}`, { cause: error }))
    })
    server.listen(where, () => resolve(server))
  })
}

export function dial(
  where: { host: string; port: number } | { path: string },
  name: string,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
  identity?: Identity,
): Promise<Transport> {
  return new Promise<Transport>((resolve, reject) => {
    let transport: SocketTransport | undefined
    const socket = netConnect({
      ...where,
      onread: readInto(() => transport),
    })
    const timer = setTimeout(() => fail(new FsError('ETIMEDOUT', name)), timeoutMs)
    const fail = (error: unknown): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => fail(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    const onError = (error: NodeJS.ErrnoException): void => {
      fail(new FsError(netCodes[error.code ?? ''] ?? 'ECONNREFUSED', name, { cause: error }))
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      transport = new SocketTransport(socket, name, identity)
      resolve(transport)
    })
  })
}
