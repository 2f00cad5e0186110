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

/** On 20 ms each way and 1 % loss: 300 Mbit/s where cubic makes 3. Node cannot choose it for a socket, the route can. */
export const CONGESTION = 'bbr'

/** `mtus`: what was proved, by node id; a peer of which nothing is known gets what passes everywhere. */
export function routesFor(
  map: PeerMap,
  own: string,
  mtus: ReadonlyMap<string, number>,
  interfaceMtu: number,
  congestion: string = CONGESTION,
): Route[] {
  const narrow = map.peers.flatMap((peer) => {
    const mtu = mtus.get(peer.id) ?? MTU_MIN
    return peer.id === own || mtu >= interfaceMtu ? [] : [{ to: `${peer.ip}/32`, mtu, congestion }]
  })
  return [{ to: map.prefix, congestion }, ...narrow]
}
