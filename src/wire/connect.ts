/*
 * Making links: dialling out and taking in. A link is handed out only when both sides have said hello to each other.
 */

import type { Listener, Net } from '../base/world.ts'
import { Bundle } from './bundle.ts'
import { Link, type LinkOptions } from './link.ts'
import type { Peer } from './peer.ts'

export interface ConnectOptions extends LinkOptions {
  readonly connectTimeoutMs?: number
  readonly signal?: AbortSignal
}

/** Throws FsError ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, or EPROTO when the other side is of another cluster or version. */
export async function connectLink(net: Net, host: string, port: number, options: ConnectOptions): Promise<Link> {
  const transport = await net.connect(host, port, {
    timeoutMs: options.connectTimeoutMs ?? 5_000,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const link = new Link(transport, false, options, () => undefined)
  await link.greet()
  return link
}

/** As connectLink, for bulk: where it is far, over several connections. `connections`: so many; 0: as many as it takes. */
export async function connectBundle(
  net: Net,
  host: string,
  port: number,
  options: ConnectOptions & { readonly connections: number },
): Promise<Bundle> {
  const dial = (): Promise<Link> => connectLink(net, host, port, options)
  return new Bundle(await dial(), dial, options.clock, options.log, options.connections)
}

export async function serveLinks(
  net: Net,
  host: string,
  port: number,
  options: LinkOptions & { onPeer?: (peer: Peer) => void },
): Promise<Listener> {
  const links = new Set<Link>()
  const listener = await net.listen(host, port, (transport) => {
    const link = new Link(transport, true, options, (ready) => options.onPeer?.(ready))
    links.add(link)
    link.onClose(() => links.delete(link))
  })
  return {
    port: listener.port,
    close: async () => {
      // A listener has ended only when its connections have: begun first so that no new one comes, awaited last.
      const ended = listener.close()
      for (const link of links) link.close()
      await ended
    },
  }
}
