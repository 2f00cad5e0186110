/*
 * Making links: dialling out and taking in. A link is handed out only when both sides have said hello to each other.
 */

import type { Listener, Net } from '../base/world.ts'
import { Link, type LinkOptions } from './link.ts'
import type { Peer } from './peer.ts'

/** Throws FsError ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, or EPROTO when the other side is of another cluster or version. */
export async function connectLink(
  net: Net,
  host: string,
  port: number,
  options: LinkOptions & { connectTimeoutMs?: number; signal?: AbortSignal },
): Promise<Peer> {
  const transport = await net.connect(host, port, {
    timeoutMs: options.connectTimeoutMs ?? 5_000,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const link = new Link(transport, false, options, () => undefined)
  await link.greet()
  return link
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
