/*
 * What is reported of the mesh, of places, and of the lines between sites, as data: the command line renders it, scripts read it as JSON.
 */

/** What decides how fast background copies go between two sites. */
export type LinkLimitedBy = 'limit' | 'hours' | 'setting' | 'line' | 'mounts' | 'start' | 'nothing'

export interface LinkReport {
  a: string
  b: string
  /** Of background copies: those that ended in the last 30 s, and those under way that have a pace. */
  bytesPerSecond: number
  running: number
  /** Of orders that the limit lets wait, as far as they are planned. */
  waiting: number
  waitingBytes: number
  /** null: as fast as it goes; 0: nothing. */
  limitBytesPerSecond: number | null
  limitedBy: LinkLimitedBy
  /** What the operator said for this pair; null: nothing for always. */
  alwaysBytesPerSecond: number | null
  /** Minutes of the day. */
  windows: { from: number; to: number; bytesPerSecond: number }[]
  /** The last first; in seconds since 1970. */
  errors: { atSec: number; what: string }[]
  /** What is measured of it while something is copied; null: nothing is. */
  line: LineReport | null
}

export interface LineReport {
  /** The round trip without a queue, and what the queue adds now; null: no echo has come back. */
  baseMs: number
  queueMs: number | null
  /** Acknowledged, the mean of 5 s: of background copies, and of mounts as far as chunkservers see them. */
  backgroundBytesPerSecond: number
  foregroundBytesPerSecond: number
  /** What it was seen to carry; null: it was never seen full. */
  carriesBytesPerSecond: number | null
}

export interface LinksReport {
  nowSec: number
  /** Minute of the day by the master's clock, and its time zone. */
  minute: number
  zone: string
  links: LinkReport[]
  /** Pairs beyond what a report shows. */
  more: number
}

/** What a mesh agent knows, for `holdfast mesh status`. Times are Unix seconds. */
export interface MeshReport {
  node: string
  name: string
  meshId: string
  ip: string
  prefix: string
  roles: string[]
  interface: string
  backend: 'kernel' | 'userspace' | 'none'
  listenPort: number
  mtu: number
  mapVersion: number
  mapIssuedAt: number
  mapValidUntil: number
  /** Where the map came from last: a hub's name, another node's, or its own disk. */
  mapFrom: string
  certificateUntil: number
  /** Unix seconds there. */
  now?: number | undefined
  /** What keeps something from being as it should, in sentences. */
  complaints: string[]
  peers: MeshPeerReport[]
}
export interface MeshPeerReport {
  node: string
  name: string
  ip: string
  roles: string[]
  site?: string | undefined
  rack?: string | undefined
  /** How packets go there now. */
  path: 'direct' | 'relayed' | 'punching' | 'none'
  via?: string | undefined
  endpoint?: string | undefined
  health: string
  handshakeAgeS?: number | undefined
  /** Of the last ten minutes; undefined: not measured. */
  rttMs?: number | undefined
  loss?: number | undefined
  mtu: number
  rxBytes: number
  txBytes: number
  advice?: string | undefined
}

/** How it is known where something stands: it says so itself, by its address, a person has said it of the node, by measuring. */
export type KnownBy = 'declared' | 'address' | 'node' | 'measured' | ''
export interface TopologyNode {
  /** '' for a chunkserver that is no node of the mesh. */
  node: string
  name: string
  ip: string
  roles: string[]
  /** '' where nothing is known. */
  site: string
  rack: string
  siteBy: KnownBy
  rackBy: KnownBy
  /** Rounds of probes with the others; it is not placed before it has had some. */
  rounds: number
}
/** Where a mount reads and writes first. */
export interface TopologyMount {
  session: number
  /** HOST:PATH */
  mountpoint: string
  /** '' when it is on no node of the mesh. */
  node: string
  site: string
  rack: string
}
export interface TopologyChange {
  node: string
  name: string
  /** '' when it is new. */
  site: string
  rack: string
  toSite: string
  toRack: string
}
export interface TopologyReport {
  /** Of the map that holds. */
  number: number
  auto: boolean
  siteMs: number
  rackMs: number
  everyMs: number
  nodes: TopologyNode[]
  mounts: TopologyMount[]
  /** What an evaluation would change if nothing were waited for; version 0: there was none yet. */
  proposal: { version: number; changes: TopologyChange[]; waiting: { change: string; rounds: number }[] }
  /** Milliseconds there and back, null where not known, in the order of the nodes of the mesh, which come first; empty unless asked for. */
  matrix: (number | null)[][]
}
