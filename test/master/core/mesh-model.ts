/*
 * A naive model of the mesh's registry: plain lists, everything found by looking at all of them. It makes random commands, of
 * few nodes, keys and tokens so that they meet, and says what has to come of each.
 */

import { expect } from 'vitest'
import type { Errno } from '../../../src/base/errno.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import type { State } from '../../../src/master/core/state.ts'
import { type JoinRefusal, joinRefusals } from '../../../src/wire/mesh-shapes.ts'
import { mesh, meshHash, meshKey, meshNode, meshToken, token } from '../../support/mesh.ts'

interface Token {
  n: number
  uses: number
  until: number
  revoked: boolean
  rejoin: number | undefined
  spent: { node: number; key: number; request: number; closed: boolean }[]
}
interface Member {
  node: number
  name: string
  keys: number[]
  ip: string
  token: number
  joined: number
  confirmed: boolean
  certificates: { serial: number; until: number }[]
  candidates: string[]
  site: string | undefined
}
interface Place {
  node: string
  site: string
  rack: string
}

/** What is expected: done, an errno, or why a join is refused. */
type Expected = Errno | JoinRefusal | undefined
export interface MeshStep {
  readonly command: Command
  readonly expected: Errno | undefined
}

const NODES = 6
const KEYS = 8
const DAY = 86_400

export class MeshModel {
  founded = false
  tokens: Token[] = []
  members: Member[] = []
  buried: { node: number; ip: string; at: number }[] = []
  denied: { serial: number; until: number }[] = []
  map = { number: 0, places: [] as Place[], own: [] as string[], auto: true, siteUs: 10_000, rackUs: 2_000 }
  #lastToken = 0
  #lastSerial = 0

  /** A command to be carried out at `now`; what comes of it is in the model afterwards. */
  step(now: number, below: (n: number) => number): MeshStep {
    const [command, expected] = this.#step(now, below)
    const code = expected !== undefined && expected in joinRefusals ? joinRefusals[expected as JoinRefusal] : expected
    return { command, expected: code as Errno | undefined }
  }

  #step(now: number, below: (n: number) => number): [Command, Expected] {
    const node = 1 + below(NODES)
    const member = this.members.find((m) => m.node === node)
    switch (below(15)) {
      case 12:
        return this.#place(below)
      case 13:
        return this.#rename(below)
      case 14: {
        if (below(2) === 0) return this.#measure(below)
        const site = below(3) === 0 ? undefined : `site${below(2)}`
        const command: Command = { kind: 'memberPlaced', node: meshNode(node), site, rack: undefined }
        if (member !== undefined) member.site = site
        return [command, member === undefined ? 'ENOENT' : undefined]
      }
      case 0: {
        const other = below(8) === 0
        if (other && this.founded) return [{ kind: 'meshFounded', ...mesh, id: 'f'.repeat(16) }, 'EEXIST']
        this.founded = true
        return [{ kind: 'meshFounded', ...mesh, port: 1 + below(3) }, undefined]
      }
      case 1:
      case 2:
        return this.#makeToken(now, below)
      case 3: {
        const old = this.tokens.find((t) => t.n === this.#someToken(below))
        if (below(3) > 0 || old === undefined) return [{ kind: 'tokenRevoked', tokenId: meshToken(99_999) }, 'ENOENT']
        old.revoked = true
        return [{ kind: 'tokenRevoked', tokenId: meshToken(old.n) }, undefined]
      }
      case 4: {
        const certificates = member?.certificates ?? []
        const known = below(3) === 0 ? certificates[below(Math.max(1, certificates.length))] : undefined
        return this.#certify(
          now,
          node,
          known ?? { serial: ++this.#lastSerial, until: now + 100 + below(90 * DAY) },
          below,
        )
      }
      case 5: {
        if (member === undefined) {
          const gone = this.buried.some((b) => b.node === node)
          return [{ kind: 'memberRemoved', node: meshNode(node) }, gone ? undefined : 'ENOENT']
        }
        if (below(2) === 0) return this.#report(node, member, below)
        this.#forget(now, member)
        this.buried.push({ node, ip: member.ip, at: now })
        for (const t of this.tokens) for (const s of t.spent) if (s.node === node) s.closed = true
        return [{ kind: 'memberRemoved', node: meshNode(node) }, undefined]
      }
      case 6:
        return this.#changeKey(node, member, below)
      case 7:
        return this.#expire(now, 1 + below(4))
      default:
        return this.#join(now, node, below)
    }
  }

  /** Most of the nodes are somewhere; now and then the map that it was made from is an older one, or it is wrong. */
  #place(below: (n: number) => number): [Command, Expected] {
    const nodes = Array.from({ length: NODES }, (_, i) => 1 + i).filter(() => below(4) > 0)
    const places = nodes.map((n) => ({ node: meshNode(n), site: `s${below(2)}`, rack: `r${below(3)}` }))
    const own = ['rack r0', 'rack r1', 'rack r9', 'site s1'].filter(() => below(2) > 0)
    const wrong = below(10)
    const kept = places.filter(({ node }) => this.members.some((m) => meshNode(m.node) === node))
    const after = wrong === 0 ? this.map.number + 1 : this.map.number
    if (wrong === 1) places.reverse()
    if (wrong === 2 && places.length > 0) places[0]!.site = ''
    const command: Command = { kind: 'placesMeasured', after, map: { places, own, lastSite: 2, lastRack: 3 } }
    if (wrong === 0) return [command, 'ESTALE']
    if (wrong === 1 && kept.length > 1) return [command, 'EINVAL']
    if (wrong === 2 && places.length > 0) return [command, 'EINVAL']
    this.#placed(kept, own)
    return [command, undefined]
  }
  #placed(places: Place[], own: readonly string[]): void {
    const said = (name: string): boolean =>
      places.some(({ site, rack }) => name === `site ${site}` || name === `rack ${rack}`)
    this.map.number++
    this.map.places = places
    this.map.own = own.filter(said)
  }
  #rename(below: (n: number) => number): [Command, Expected] {
    const level = below(2) === 0 ? 'site' : 'rack'
    const from = `${level[0]}${below(3)}`
    const to = below(6) === 0 ? 'no name' : below(3) === 0 ? `${level[0]}${below(3)}` : `name${below(5)}`
    const command: Command = { kind: 'placeRenamed', level, from, to }
    const { places, own } = this.map
    if (places.every((place) => place[level] !== from)) return [command, 'ENOENT']
    if (to.includes(' ')) return [command, 'EINVAL']
    if (to !== from && places.some((place) => place[level] === to)) return [command, 'EEXIST']
    this.#placed(
      places.map((place) => (place[level] === from ? { ...place, [level]: to } : place)),
      [...new Set([...own, `${level} ${to}`])],
    )
    return [command, undefined]
  }
  #measure(below: (n: number) => number): [Command, Expected] {
    const auto = below(2) === 0 ? undefined : below(2) === 0
    const siteUs = below(2) === 0 ? undefined : 1_000 * below(20)
    const rackUs = below(2) === 0 ? undefined : 1_000 * below(5)
    const wanted = { auto: auto ?? this.map.auto, siteUs: siteUs ?? this.map.siteUs, rackUs: rackUs ?? this.map.rackUs }
    const command: Command = { kind: 'measuringSet', auto, siteUs, rackUs }
    if (wanted.rackUs === 0 || wanted.rackUs > wanted.siteUs) return [command, 'EINVAL']
    Object.assign(this.map, wanted)
    return [command, undefined]
  }

  #someToken(below: (n: number) => number): number {
    return Math.max(1, this.#lastToken - below(3))
  }

  #makeToken(now: number, below: (n: number) => number): [Command, Expected] {
    const some = this.members[below(NODES)]?.node ?? 1 + below(NODES)
    const rejoin = below(3) === 0 ? some : undefined
    const uses = below(12) === 0 ? 0 : 1 + below(rejoin === undefined ? 3 : 2)
    const lives = below(10) === 0 ? 8 * DAY : below(10) === 0 ? 0 : 1 + below(DAY)
    const n = this.#lastToken + 1
    const more = { uses, rejoin: rejoin === undefined ? undefined : meshNode(rejoin) }
    const command: Command = { kind: 'tokenMade', ...token(n, now + lives, more) }
    if (!this.founded) return [command, 'ENOENT']
    if (uses === 0 || lives === 0 || lives > 7 * DAY) return [command, 'EINVAL']
    if (rejoin !== undefined && !this.members.some((m) => m.node === rejoin)) return [command, 'ENOENT']
    if (rejoin !== undefined && uses !== 1) return [command, 'EINVAL']
    this.#lastToken = n
    this.tokens.push({ n, uses, until: now + lives, revoked: false, rejoin, spent: [] })
    return [command, undefined]
  }

  #join(now: number, node: number, below: (n: number) => number): [Command, Expected] {
    const n = this.#someToken(below)
    const t = this.tokens.find((one) => one.n === n)
    const old = below(2) === 0 ? t?.spent.at(-1) : undefined
    const asked = {
      node: old?.node ?? node,
      key: old?.key ?? 1 + below(KEYS),
      request: old?.request ?? 1 + below(2),
    }
    const name = `host${below(2)}`
    const command: Command = {
      kind: 'memberJoined',
      tokenId: meshToken(n),
      node: meshNode(asked.node),
      name,
      key: meshKey(asked.key),
      request: meshHash(asked.request),
      label: undefined,
      site: undefined,
      rack: undefined,
    }
    if (!this.founded) return [command, 'ENOENT']
    if (t === undefined) return [command, 'unknown-token']
    if (t.revoked) return [command, 'revoked-token']
    if (now >= t.until) return [command, 'expired-token']
    const known = this.members.find((m) => m.node === asked.node)
    const same = t.spent.some(
      (s) => !s.closed && s.node === asked.node && s.key === asked.key && s.request === asked.request,
    )
    if (known !== undefined && same && known.token === n && known.keys[0] === asked.key) return [command, undefined]
    if (t.rejoin !== undefined && (t.rejoin !== asked.node || known === undefined)) return [command, 'other-node']
    if (known !== undefined && t.rejoin === undefined) return [command, 'known-node']
    if (this.members.some((m) => m.node !== asked.node && m.keys.includes(asked.key))) return [command, 'other-key']
    const free = same && known === undefined
    if (!free && t.spent.length >= t.uses) return [command, 'spent-token']
    if (!free) t.spent.push({ ...asked, closed: false })
    if (known !== undefined) this.#forget(now, known, true)
    const ip = known?.ip ?? this.#address(now, asked.node)
    this.buried = this.buried.filter((b) => b.node !== asked.node && b.ip !== ip)
    this.members.push({
      node: asked.node,
      name: known?.name ?? this.#name(name),
      keys: [asked.key],
      ip,
      token: n,
      joined: now,
      confirmed: known?.confirmed ?? false,
      certificates: [],
      candidates: known?.candidates ?? [],
      site: known?.site,
    })
    return [command, undefined]
  }
  #address(now: number, node: number): string {
    const own = this.buried.find((b) => b.node === node)
    if (own !== undefined) return own.ip
    const taken = [...this.members, ...this.buried.filter((b) => b.at + DAY > now)].map((m) => m.ip)
    let host = 1
    while (taken.includes(`10.77.0.${host}`)) host++
    return `10.77.0.${host}`
  }
  #name(wanted: string): string {
    const free = (name: string): boolean => this.members.every((m) => m.name !== name)
    if (free(wanted)) return wanted
    let n = 2
    while (!free(`${wanted}-${n}`)) n++
    return `${wanted}-${n}`
  }
  #forget(now: number, member: Member, isBack = false): void {
    this.members = this.members.filter((m) => m !== member)
    this.denied.push(...member.certificates.filter((c) => c.until > now))
    const stays = this.map.places.filter(({ node }) => node !== meshNode(member.node))
    if (stays.length < this.map.places.length && !isBack) this.#placed(stays, this.map.own)
  }

  #certify(
    now: number,
    node: number,
    { serial, until }: { serial: number; until: number },
    below: (n: number) => number,
  ): [Command, Expected] {
    const confirms = below(2) === 0
    const command: Command = {
      kind: confirms ? 'memberConfirmed' : 'memberCertified',
      node: meshNode(node),
      serial: serial.toString(16),
      expiresSec: until,
    }
    const member = this.members.find((m) => m.node === node)
    if (member === undefined) return [command, 'ENOENT']
    if (this.denied.some((d) => d.serial === serial)) return [command, 'EACCES']
    if (until <= now) return [command, 'EINVAL']
    if (this.members.some((m) => m !== member && m.certificates.some((c) => c.serial === serial)))
      return [command, 'EEXIST']
    member.confirmed ||= confirms
    if (member.certificates.some((c) => c.serial === serial)) return [command, undefined]
    const valid = [...member.certificates.filter((c) => c.until > now), { serial, until }]
    while (valid.length > 8) this.denied.push(valid.shift()!)
    member.certificates = valid
    return [command, undefined]
  }

  #changeKey(node: number, member: Member | undefined, below: (n: number) => number): [Command, Expected] {
    const step = (['next', 'moved', 'dropped'] as const)[below(3)]!
    const next = member?.keys[1]
    const key = step !== 'next' && next !== undefined && below(3) > 0 ? next : 1 + below(KEYS)
    const command: Command = { kind: 'memberKey', node: meshNode(node), key: meshKey(key), step }
    if (member === undefined) return [command, 'ENOENT']
    if (this.members.some((m) => m !== member && m.keys.includes(key))) return [command, 'EEXIST']
    const [current] = member.keys
    if (step === 'next' && key === current) return [command, 'EINVAL']
    if (step === 'moved' && key !== next && !(key === current && next === undefined)) return [command, 'EINVAL']
    if (step === 'next') member.keys = [current!, key]
    if (step === 'moved') member.keys = [key]
    if (step === 'dropped' && key === next) member.keys = [current!]
    return [command, undefined]
  }

  #report(node: number, member: Member, below: (n: number) => number): [Command, Expected] {
    const candidates = Array.from({ length: below(3) }, () => `192.168.1.${below(400)}:51820`)
    const command: Command = { kind: 'memberReported', node: meshNode(node), candidates, statics: [], relays: 'no' }
    if (candidates.some((at) => Number(/(\d+):/.exec(at)![1]) > 255)) return [command, 'EINVAL']
    member.candidates = candidates
    return [command, undefined]
  }

  #expire(now: number, limit: number): [Command, Expected] {
    let left = limit
    const over = <T>(rows: T[], id: (row: T) => string, until: (row: T) => number): T[] => {
      const due = rows.filter((row) => until(row) <= now).sort((x, y) => (id(x) < id(y) ? -1 : 1))
      const taken = due.slice(0, left)
      left -= taken.length
      return taken
    }
    const lapsed = over(
      this.members,
      (m) => meshNode(m.node),
      (m) => (m.confirmed ? Number.POSITIVE_INFINITY : m.joined + 600),
    )
    for (const member of lapsed) this.#forget(now, member)
    const tokens = over(
      this.tokens,
      (t) => meshToken(t.n),
      (t) => t.until + DAY,
    )
    this.tokens = this.tokens.filter((t) => !tokens.includes(t))
    const rested = over(
      this.buried,
      (b) => meshNode(b.node),
      (b) => b.at + DAY,
    )
    this.buried = this.buried.filter((b) => !rested.includes(b))
    const expired = over(
      this.denied,
      (d) => d.serial.toString(16),
      (d) => d.until,
    )
    this.denied = this.denied.filter((d) => !expired.includes(d))
    return [{ kind: 'meshExpired', limit }, undefined]
  }

  compare(state: State): void {
    const rows = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([x], [y]) => (x < y ? -1 : 1))
    const { members, tokens, buried, denied } = state.mesh
    const byId = (x: readonly [string, ...unknown[]], y: readonly [string, ...unknown[]]): number =>
      x[0] < y[0] ? -1 : 1
    expect(
      rows(members).map(([id, m]) => [id, m.name, m.ip, m.keys, m.confirmedSec !== undefined, m.candidates]),
    ).toEqual(
      this.members
        .map((m) => [meshNode(m.node), m.name, m.ip, m.keys.map(meshKey), m.confirmed, m.candidates] as const)
        .sort(byId),
    )
    expect(rows(members).map(([id, m]) => [id, m.site])).toEqual(
      this.members.map((m) => [meshNode(m.node), m.site] as const).sort(byId),
    )
    const { number, map, measuring } = state.measured.record
    expect({ number, places: map.places, own: [...map.own].sort(), ...measuring }).toEqual({
      ...this.map,
      own: [...this.map.own].sort(),
    })
    expect(rows(members).map(([id, m]) => [id, m.certificates.map((c) => c.serial)])).toEqual(
      this.members.map((m) => [meshNode(m.node), m.certificates.map((c) => c.serial.toString(16))] as const).sort(byId),
    )
    expect(rows(tokens).map(([id, t]) => [id, t.revoked, t.uses - t.spent.length])).toEqual(
      this.tokens.map((t) => [meshToken(t.n), t.revoked, t.uses - t.spent.length] as const).sort(byId),
    )
    expect(rows(buried).map(([id, b]) => [id, b.ip])).toEqual(
      this.buried.map((b) => [meshNode(b.node), b.ip] as const).sort(byId),
    )
    expect(rows(denied).map(([id, d]) => [id, d.expiresSec])).toEqual(
      this.denied.map((d) => [d.serial.toString(16), d.until] as const).sort(byId),
    )
  }
}
