/*
 * The command line as a peer of master and chunkservers: connects with the role 'admin' and calls. It keeps no state and
 * repeats nothing: a person or a script decides whether to ask again.
 */

import type { Errno } from '../base/errno.ts'
import { FsError } from '../base/fault.ts'
import type { SessionId } from '../base/ids.ts'
import type { Log } from '../base/world.ts'
import { hostClock } from '../host/clock.ts'
import { netOf } from '../host/world.ts'
import type { Role } from '../wire/call-row.ts'
import { connectLink } from '../wire/connect.ts'
import type { CallOptions, Peer } from '../wire/peer.ts'
import { type CallName, PROTOCOL_VERSION, type Reply, type Request } from '../wire/protocol.ts'
import type { Stamp } from '../wire/shapes.ts'
import { type ClusterAddress, findCluster } from './find.ts'

/** Session 0 is nobody's: nothing is remembered, because a person who repeats a command means it. */
export const ADMIN_STAMP: Stamp = { session: 0 as SessionId, seq: 0, acked: 0 }

/** How long a master may take to accept; longer and a person wants to know. */
const CONNECT_MS = 5_000
const REFUSALS: ReadonlySet<Errno> = new Set<Errno>(['EPERM', 'EACCES', 'EPROTO'])

export class Admin {
  readonly address: ClusterAddress
  readonly #peer: Peer

  private constructor(address: ClusterAddress, peer: Peer) {
    this.address = address
    this.#peer = peer
  }

  static async find(wanted: { dir: string | undefined; path?: string | undefined }): Promise<Admin> {
    return Admin.connect(await findCluster(wanted))
  }

  static async connect(address: ClusterAddress): Promise<Admin> {
    try {
      return new Admin(address, await connectPeer(address, address))
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      const master = `the master at ${address.host}:${address.port} (from ${address.found})`
      // It is there, and has said why it does not talk to us.
      if (REFUSALS.has(error.code))
        throw new FsError(error.code, `${master} refuses: ${error.message}`, { cause: error })
      const why = `${master} cannot be reached`
      throw new FsError(error.code, `${why}; is it running?`, { cause: error })
    }
  }

  /** The id of the cluster that answered. */
  get cluster(): string {
    return this.#peer.hello.cluster
  }

  async call<C extends CallName>(name: C, request: Request<C>, options?: CallOptions): Promise<Reply<C>> {
    return (await this.#peer.call(name, request, options)).reply
  }

  close(): void {
    this.#peer.close()
  }
}

/** A connection of the command line to any role. */
export async function connectPeer(
  { host, port }: { readonly host: string; readonly port: number },
  { cluster, ...identity }: Pick<ClusterAddress, 'cluster' | 'identityDir' | 'runDir'>,
  signal?: AbortSignal,
  role: Role = 'admin',
): Promise<Peer> {
  return connectLink(await netOf(identity, quiet), host, port, {
    hello: { version: PROTOCOL_VERSION, cluster, role, name: 'holdfast' },
    handlers: {},
    clock: hostClock,
    log: quiet,
    connectTimeoutMs: CONNECT_MS,
    ...(signal === undefined ? {} : { signal }),
  })
}

/** A link's complaints are also in the error that the call throws. */
export const quiet: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet }
