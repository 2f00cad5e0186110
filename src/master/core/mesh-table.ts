/*
 * The mesh as the state keeps it. All of it is held decoded once somebody has asked (it is a few hundred records), and every
 * change is written at once; the store is the truth again after forget(). It knows no rules; those are in mesh.ts.
 *
 * The version of the registry is a counter of the state: it grows with every change that others are told of.
 */

import { TOMBSTONE_S } from '../../topology/mesh-addresses.ts'
import type { Kv } from './kv.ts'
import {
  type BuriedRecord,
  buriedRecord,
  type DeniedRecord,
  deniedRecord,
  type MemberRecord,
  type MeshRecord,
  memberRecord,
  meshRecord,
  type TokenRecord,
  tokenRecord,
} from './mesh-records.ts'
import { decodeRecord, encodeRecord } from './records.ts'
import { after, key, type TableName, tables } from './tables.ts'

/** A node that has joined and was not heard over the mesh for so long is forgotten; its address is free again. */
export const UNCONFIRMED_SEC = 600
/** A token that is over is kept for a day, so that whoever comes with it is told what is wrong with it. */
export const TOKEN_KEPT_SEC: number = 24 * 3600

interface Loaded {
  readonly mesh: MeshRecord | undefined
  readonly members: Map<string, MemberRecord>
  readonly tokens: Map<string, TokenRecord>
  readonly buried: Map<string, BuriedRecord>
  readonly denied: Map<string, DeniedRecord>
}

interface RecordSchema<T> {
  readonly encode: (value: T) => unknown
  readonly decode: (raw: unknown, path: string) => T
}

export class MeshTable {
  readonly #kv: Kv
  #loaded: Loaded | undefined
  /** When the first thing is over; undefined: not looked for since the last change. */
  #dueSec: number | undefined

  constructor(kv: Kv) {
    this.#kv = kv
  }

  forget(): void {
    this.#loaded = undefined
    this.#dueSec = undefined
  }

  get founded(): MeshRecord | undefined {
    return this.#all().mesh
  }
  found(mesh: MeshRecord): void {
    const all = this.#all()
    this.#kv.put(key.meta('mesh'), encodeRecord(meshRecord, mesh))
    this.#loaded = { ...all, mesh }
  }

  get members(): ReadonlyMap<string, MemberRecord> {
    return this.#all().members
  }
  setMember(node: string, record: MemberRecord | undefined): void {
    this.#put(this.#all().members, key.member(node), node, memberRecord, record)
  }
  get tokens(): ReadonlyMap<string, TokenRecord> {
    return this.#all().tokens
  }
  setToken(tokenId: string, record: TokenRecord | undefined): void {
    this.#put(this.#all().tokens, key.meshToken(tokenId), tokenId, tokenRecord, record)
  }
  get buried(): ReadonlyMap<string, BuriedRecord> {
    return this.#all().buried
  }
  setBuried(node: string, record: BuriedRecord | undefined): void {
    this.#put(this.#all().buried, key.buried(node), node, buriedRecord, record)
  }
  get denied(): ReadonlyMap<string, DeniedRecord> {
    return this.#all().denied
  }
  setDenied(serial: string, record: DeniedRecord | undefined): void {
    this.#put(this.#all().denied, key.denied(serial), serial, deniedRecord, record)
  }

  /** The node that uses a WireGuard key, or is about to. */
  ownerOf(wanted: string): string | undefined {
    for (const [node, { keys }] of this.members) if (keys.includes(wanted)) return node
    return undefined
  }
  /** Certificates that may have to be denied, and those that are: together they have to fit. */
  certificates(): number {
    let count = this.denied.size
    for (const member of this.members.values()) count += member.certificates.length
    return count
  }

  /** The second in which the first thing is over: an unconfirmed member, a token, a rest, a denied certificate. */
  dueSec(): number {
    if (this.#dueSec === undefined) {
      const { members, tokens, buried, denied } = this.#all()
      let due = Number.POSITIVE_INFINITY
      for (const member of members.values()) due = Math.min(due, lapsesSec(member))
      for (const token of tokens.values()) due = Math.min(due, token.expiresSec + TOKEN_KEPT_SEC)
      for (const { removedSec } of buried.values()) due = Math.min(due, removedSec + TOMBSTONE_S)
      for (const { expiresSec } of denied.values()) due = Math.min(due, expiresSec)
      this.#dueSec = due
    }
    return this.#dueSec
  }

  #put<T>(held: Map<string, T>, at: string, id: string, schema: RecordSchema<T>, record: T | undefined): void {
    this.#dueSec = undefined
    if (record === undefined) {
      held.delete(id)
      this.#kv.delete(at)
    } else {
      held.set(id, record)
      this.#kv.put(at, encodeRecord(schema as Parameters<typeof encodeRecord<T>>[0], record))
    }
  }

  #all(): Loaded {
    if (this.#loaded === undefined) {
      const value = this.#kv.get(key.meta('mesh'))
      this.#loaded = {
        mesh: value === undefined ? undefined : decodeRecord(meshRecord, value, 'mesh'),
        members: this.#read('member', memberRecord),
        tokens: this.#read('meshToken', tokenRecord),
        buried: this.#read('buried', buriedRecord),
        denied: this.#read('denied', deniedRecord),
      }
    }
    return this.#loaded
  }
  #read<T>(table: TableName, schema: RecordSchema<T>): Map<string, T> {
    const { prefix } = tables[table]
    const found = new Map<string, T>()
    this.#kv.scan({ from: prefix, to: after(prefix) }, (at, value) => {
      const id = at.slice(prefix.length)
      found.set(id, decodeRecord(schema as Parameters<typeof decodeRecord<T>>[0], value, `${table} ${id}`))
      return true
    })
    return found
  }
}

/** When a member is forgotten that nobody has heard over the mesh. */
export const lapsesSec = ({ confirmedSec, joinedSec }: MemberRecord): number =>
  confirmedSec === undefined ? joinedSec + UNCONFIRMED_SEC : Number.POSITIVE_INFINITY
