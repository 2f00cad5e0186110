/*
 * The routes over the mesh's interface. One for the whole network, with a congestion control that does not take every lost
 * packet for a full line; and one for each peer to which only smaller packets are proved to get through.
 */

import { MTU_MIN } from './mtu.ts'
import type { PeerMap } from './peer-map.ts'

export interface Route {
  /** `10.77.0.5/32` */
  readonly to: string
  readonly mtu?: number
  /** TCP's congestion control on this route, for who connects and for who is connected to. */
  readonly congestion?: string
}

/**
 * `mtus`: what was proved, by node id; a peer of which nothing is known gets what passes everywhere. `congestion`: Node cannot
 * choose it for a socket, the route can; on 20 ms each way and 1 % loss bbr makes 300 Mbit/s where cubic makes 3.
 */
export function routesFor(
  map: PeerMap,
  own: string,
  mtus: ReadonlyMap<string, number>,
  interfaceMtu: number,
  congestion: string | undefined,
): Route[] {
  const control = congestion === undefined ? {} : { congestion }
  const narrow = map.peers.flatMap((peer) => {
    const mtu = mtus.get(peer.id) ?? MTU_MIN
    return peer.id === own || mtu >= interfaceMtu ? [] : [{ to: `${peer.ip}/32`, mtu, ...control }]
  })
  return [{ to: map.prefix, ...control }, ...narrow]
}
