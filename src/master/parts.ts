/*
 * What the master's handlers share, and the two ways in which a call is answered: a read straight from the state, at
 * once; a change through the loop.
 */

import type { Attr } from '../base/attr.ts'
import { FsError, isRefusal, type Result } from '../base/fault.ts'
import type { ChunkId, Ino } from '../base/ids.ts'
import type { Clock, Log } from '../base/world.ts'
import type { Answer } from '../wire/peer.ts'
import type { CallName, Reply } from '../wire/protocol.ts'
import type { ChunkPlaces, EcParts, Extent, Place, Stamp } from '../wire/shapes.ts'
import type { Command } from './core/commands.ts'
import type { InodeRecord } from './core/records.ts'
import type { State } from './core/state.ts'
import type { Holdings } from './holdings.ts'
import type { Loop } from './loop.ts'
import type { MeasuredPlaces } from './measured-places.ts'
import type { Nodes } from './nodes.ts'
import type { Orders } from './orders.ts'
import type { QuotaRoom } from './quota-room.ts'
import type { Sessions } from './sessions.ts'

export interface Parts {
  readonly state: State
  readonly loop: Loop
  readonly sessions: Sessions
  readonly holdings: Holdings
  readonly quotaRoom: QuotaRoom
  readonly nodes: Nodes
  readonly measured: MeasuredPlaces
  readonly clock: Clock
  readonly log: Log
}

/** What the work that goes on behind the calls shares: repair, sealing, deleting, mending, compaction, forgetting disks. */
export interface WorkParts {
  readonly state: State
  readonly loop: Loop
  readonly nodes: Nodes
  readonly orders: Orders
  readonly clock: Clock
  readonly log: Log
}

export interface Change<C extends CallName> {
  readonly sync?: boolean
  readonly applied?: (reply: Reply<C>) => void
  /** What the answer tells the session about: it may keep that, and hears when it changes. */
  readonly tells?: readonly Ino[]
  /** The directory that was changed: the answer says whether the session holds it from now on. */
  readonly holds?: Ino
}

/** A change asked for by a session (or, with session 0, by an admin): prepared in its turn, answered when committed. */
export function change<C extends CallName>(
  { loop, sessions, holdings }: Parts,
  stamp: Stamp,
  prepare: () => Command | Result<Command>,
  { sync, applied, tells, holds }: Change<C> = {},
): Promise<Answer<C>> {
  if (stamp.session !== 0) sessions.heard(stamp.session)
  return new Promise((resolve, reject) => {
    loop.submit({
      stamp,
      sync: sync === true,
      prepare: () => {
        const command = prepare()
        return 'kind' in command ? { ok: command } : command
      },
      applied: (reply) => {
        const asking = tells === undefined ? undefined : sessions.find(stamp.session)
        if (asking !== undefined) for (const ino of tells!) asking.told(ino)
        applied?.(reply as Reply<C>)
      },
      done: (result) => {
        if (isRefusal(result)) reject(new FsError(result.errno, result.detail))
        else if (holds === undefined) resolve({ reply: result.ok as Reply<C> })
        else {
          const held = holdings.grant(sessions.find(stamp.session), holds)
          resolve({ reply: { ...(result.ok as Reply<C>), held } })
        }
      },
    })
  })
}

/** An inode that a mount may work on; ESTALE when it is gone. */
export function inodeOf(state: State, ino: Ino): InodeRecord {
  const record = state.inode(ino)
  if (record === undefined || !state.visible(record)) throw new FsError('ESTALE', `inode ${ino}`)
  return record
}

export const attrOf = (state: State, ino: Ino): Attr => inodeOf(state, ino).attr

export function directoryOf(state: State, ino: Ino): InodeRecord {
  const record = inodeOf(state, ino)
  if (record.attr.type !== 'dir') throw new FsError('ENOTDIR', `inode ${ino}`)
  return record
}

/** The chunks of some extents, each once, with the copies that can be read now first. */
export function chunksOf({ state, nodes }: Parts, extents: readonly Extent[]): ChunkPlaces[] {
  if (extents.length === 1) {
    const one = placesOf(state, nodes, extents[0]!.chunk)
    return one === undefined ? [] : [one]
  }
  const chunks: ChunkPlaces[] = []
  for (const chunk of new Set(extents.map((extent) => extent.chunk))) {
    const places = placesOf(state, nodes, chunk)
    if (places !== undefined) chunks.push(places)
  }
  return chunks
}

export function placesOf(state: State, nodes: Nodes, chunk: ChunkId): ChunkPlaces | undefined {
  const found = state.chunkPlaces(chunk)
  if (found === undefined) return undefined
  const { ec } = found
  if (ec !== undefined)
    return { ...found, places: liveFirst(nodes, found.places), ec: { ...ec, parts: ec.parts.map(there) } }
  if (found.places.every((place) => nodes.isLive(place.disk))) return found
  return { ...found, places: liveFirst(nodes, found.places) }

  /** Any other part will do instead of one that cannot be reached. */
  function there(part: EcParts['parts'][number]): EcParts['parts'][number] {
    return { ...part, places: part.places.filter((place) => nodes.isLive(place.disk)) }
  }
}

const liveFirst = (nodes: Nodes, places: readonly Place[]): Place[] => [
  ...places.filter((place) => nodes.isLive(place.disk)),
  ...places.filter((place) => !nodes.isLive(place.disk)),
]

/** The host of a peer, as chunkservers are named by it: "127.0.0.1:40123" → "127.0.0.1". */
export const hostOf = (address: string): string => address.slice(0, Math.max(0, address.lastIndexOf(':')))

export const NOTHING = { reply: {} }
