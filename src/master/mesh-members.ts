/*
 * Chunkservers and mounts as nodes of the mesh: who is which, and where a node stands as far as the mesh knows. What they
 * declare themselves, and what their addresses say, comes before that and is not known here.
 */

import type { Region } from '../topology/address-map.ts'
import type { NodeRecord } from './core/records.ts'
import type { State } from './core/state.ts'

export class MeshMembers {
  readonly #state: State
  #byIp: { readonly version: number; readonly nodes: ReadonlyMap<string, string> } | undefined

  constructor(state: State) {
    this.#state = state
  }

  /** The node that a chunkserver runs on: it has proved that, or is reached at its address. */
  of({ member, host }: NodeRecord): string | undefined {
    return member ?? this.at(host)
  }

  /** The node that has an address of the mesh. */
  at(ip: string): string | undefined {
    const version = this.#state.meshVersion()
    if (this.#byIp?.version !== version) {
      const nodes = new Map([...this.#state.mesh.members].map(([node, member]) => [member.ip, node]))
      this.#byIp = { version, nodes }
    }
    return this.#byIp.nodes.get(ip)
  }

  /** As a person has said of the node, or as it was measured. */
  regionOf(node: string): Region {
    const { site, rack } = this.#state.mesh.members.get(node) ?? {}
    const measured = this.#state.measured.places.get(node)
    if (measured === undefined)
      return { ...(site === undefined ? {} : { site }), ...(rack === undefined ? {} : { rack }) }
    // Said to be elsewhere, it is in none of the racks that it was found in.
    const isThere = site === undefined || site === measured.site
    const found = rack ?? (isThere ? measured.rack : undefined)
    return { site: site ?? measured.site, ...(found === undefined ? {} : { rack: found }) }
  }
}
