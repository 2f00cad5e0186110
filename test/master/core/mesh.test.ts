/* The registry of the mesh as state: who gets in, who does not and why, what is remembered and for how long. */

import { describe, expect, it } from 'vitest'
import { check, checkPage } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import type { MemberRecord, TokenRecord } from '../../../src/master/core/mesh-records.ts'
import { TOKEN_KEPT_SEC, UNCONFIRMED_SEC } from '../../../src/master/core/mesh-table.ts'
import { EMPTY } from '../../../src/master/core/records.ts'
import { State, transact } from '../../../src/master/core/state.ts'
import { key } from '../../../src/master/core/tables.ts'
import { TOMBSTONE_S } from '../../../src/topology/mesh-addresses.ts'
import {
  CERTIFICATES_MAX,
  type Joined,
  type Joining,
  joinRefusalOf,
  MEMBERS_MAX,
  type MeasuredPlace,
  type TokenMaking,
} from '../../../src/wire/mesh-shapes.ts'
import { joining, mesh, meshHash, meshKey, meshNode, meshToken, token } from '../../support/mesh.ts'
import { Bench } from './support.ts'

const DAY = 86_400

class MeshBench extends Bench {
  founded(): this {
    this.ok({ kind: 'meshFounded', ...mesh })
    return this
  }
  token(n: number, more: Partial<TokenMaking> = {}): void {
    this.ok({ kind: 'tokenMade', ...token(n, this.sec + 3600, more) })
  }
  join(tokenNumber: number, n: number, more: Partial<Joining> = {}): Joined {
    return this.ok({ kind: 'memberJoined', ...joining(tokenNumber, n, more) })
  }
  /** A member with a number, by a token of its own with the same number. */
  member(n: number, confirmed = true): Joined {
    this.token(n)
    const joined = this.join(n, n)
    if (confirmed) this.ok({ kind: 'memberConfirmed', node: meshNode(n), ...this.certificate(n) })
    return joined
  }
  certificate(n: number, days = 90) {
    return { serial: n.toString(16), expiresSec: this.sec + days * DAY }
  }
  /** The word of the refusal, or its errno. */
  why(command: Command): string {
    const { result } = this.apply(command)
    expect(check(this.state)).toEqual([])
    if (!('errno' in result)) return 'carried out'
    return joinRefusalOf(result.detail ?? '') ?? result.errno
  }
  refused(tokenNumber: number, n: number, more: Partial<Joining> = {}): string {
    return this.why({ kind: 'memberJoined', ...joining(tokenNumber, n, more) })
  }
  of(n: number): MemberRecord | undefined {
    return this.state.mesh.members.get(meshNode(n))
  }
  expire(limit = 100): void {
    this.ok({ kind: 'meshExpired', limit })
  }
}
const bench = (): MeshBench => new MeshBench().founded()

describe('a mesh', () => {
  it('is founded once; of the same one hubs, port and map key may become others', () => {
    const b = bench()
    expect(b.state.meshVersion()).toBe(1)
    b.ok({ kind: 'meshFounded', ...mesh })
    expect(b.state.meshVersion()).toBe(1)
    b.ok({ kind: 'meshFounded', ...mesh, hubs: ['a:1', 'b:2'] })
    expect([b.state.meshVersion(), b.state.mesh.founded?.hubs]).toEqual([2, ['a:1', 'b:2']])
    expect(b.errno({ kind: 'meshFounded', ...mesh, id: 'f'.repeat(16) })).toBe('EEXIST')
    expect(b.errno({ kind: 'meshFounded', ...mesh, prefix: '10.78.0.0/16' })).toBe('EEXIST')
    expect(b.errno({ kind: 'meshFounded', ...mesh, authority: 'other' })).toBe('EEXIST')
  })

  it('has a network, a port and a hub', () => {
    const b = new MeshBench()
    expect(b.errno({ kind: 'meshFounded', ...mesh, prefix: '10.77.0.0/15' })).toBe('EINVAL')
    expect(b.errno({ kind: 'meshFounded', ...mesh, port: 0 })).toBe('EINVAL')
    expect(b.errno({ kind: 'meshFounded', ...mesh, hubs: [] })).toBe('EINVAL')
    expect(b.errno({ kind: 'tokenMade', ...token(1, b.sec + 60) })).toBe('ENOENT')
    expect(b.errno({ kind: 'memberJoined', ...joining(1, 1) })).toBe('ENOENT')
    expect(b.state.meshVersion()).toBe(0)
  })

  it('is read again from the store as it was held', () => {
    const b = bench()
    b.member(1)
    b.token(2, { label: 'usb', site: 'home', rejoin: meshNode(1) })
    b.member(3)
    b.ok({ kind: 'memberRemoved', node: meshNode(3) })
    const again = new State(b.store).mesh
    expect(again.founded).toEqual(b.state.mesh.founded)
    for (const table of ['members', 'tokens', 'buried', 'denied'] as const) {
      expect(again[table].size).toBeGreaterThan(0)
      expect([...again[table]].sort()).toEqual([...b.state.mesh[table]].sort())
    }
  })
})

describe('a token', () => {
  it('has uses, a role and an end within a week, and is made once', () => {
    const b = bench()
    const now = b.sec + 1
    const made = (more: Partial<TokenMaking>): Command => ({ kind: 'tokenMade', ...token(1, now + 3600, more) })
    expect(b.errno(made({ uses: 0 }))).toBe('EINVAL')
    expect(b.errno(made({ expiresSec: now }))).toBe('EINVAL')
    expect(b.errno(made({ expiresSec: now + 8 * DAY }))).toBe('EINVAL')
    expect(b.errno(made({ rejoin: meshNode(9) }))).toBe('ENOENT')
    b.ok(made({}))
    b.ok(made({}))
    expect(b.errno(made({ uses: 2 }))).toBe('EEXIST')
    b.member(2)
    expect(b.errno({ ...made({ rejoin: meshNode(2), uses: 2 }), tokenId: meshToken(3) } as Command)).toBe('EINVAL')
  })

  it('is spent with the command that lets a node in, and stays spent when the node is removed', () => {
    const b = bench()
    b.token(1)
    expect(b.join(1, 1)).toEqual({
      name: 'node1',
      ip: '10.77.0.1',
      prefix: mesh.prefix,
      roles: ['chunkserver'],
      label: undefined,
      site: undefined,
      rack: undefined,
      again: false,
    })
    expect(b.refused(1, 2)).toBe('spent-token')
    b.ok({ kind: 'memberRemoved', node: meshNode(1) })
    expect([b.refused(1, 2), b.refused(1, 1)]).toEqual(['spent-token', 'spent-token'])
  })

  it('of several uses lets in as many', () => {
    const b = bench()
    b.token(1, { uses: 3 })
    expect([1, 2, 3].map((n) => b.join(1, n).ip)).toEqual(['10.77.0.1', '10.77.0.2', '10.77.0.3'])
    expect(b.refused(1, 4)).toBe('spent-token')
  })

  it('that is unknown, over or revoked lets nobody in, and each is told apart', () => {
    const b = bench()
    b.token(1)
    b.token(2)
    b.ok({ kind: 'tokenRevoked', tokenId: meshToken(2) })
    b.ok({ kind: 'tokenRevoked', tokenId: meshToken(2) })
    expect([b.refused(2, 1), b.refused(3, 1)]).toEqual(['revoked-token', 'unknown-token'])
    b.sec += 3600
    expect(b.refused(1, 1)).toBe('expired-token')
    expect(b.errno({ kind: 'tokenRevoked', tokenId: meshToken(9) })).toBe('ENOENT')
  })

  it('says where its nodes stand, unless they say it themselves', () => {
    const b = bench()
    b.token(1, { uses: 2, label: 'usb', site: 'home' })
    expect(b.join(1, 1)).toMatchObject({ label: 'usb', site: 'home' })
    expect(b.join(1, 2, { site: 'office', rack: 'r1' })).toMatchObject({ label: 'usb', site: 'office', rack: 'r1' })
  })
})

describe('joining again', () => {
  it('with the same node, key and request is answered the same, spends nothing and changes nothing', () => {
    const b = bench()
    b.token(1)
    const first = b.join(1, 1)
    const version = b.state.meshVersion()
    expect(b.join(1, 1)).toEqual({ ...first, again: true })
    b.ok({ kind: 'memberConfirmed', node: meshNode(1), ...b.certificate(1) })
    expect(b.join(1, 1, { name: 'other' })).toEqual({ ...first, again: true })
    expect(b.state.meshVersion()).toBe(version + 1)
  })

  it('with a known id and key, which are no secrets, but another request or token is refused', () => {
    const b = bench()
    b.token(1, { uses: 5, roles: ['master'] })
    b.join(1, 1)
    expect(b.refused(1, 1, { request: meshHash(9) })).toBe('known-node')
    b.token(2, { roles: ['client'] })
    expect(b.refused(2, 1)).toBe('known-node')
    expect(b.refused(2, 1, { key: meshKey(9) })).toBe('known-node')
    expect(b.state.mesh.tokens.get(meshToken(2))?.spent).toEqual([])
  })

  it('with lost keys takes a token for that node: name and address stay, old certificates are denied', () => {
    const b = bench()
    b.member(1)
    b.member(2)
    b.token(3, { rejoin: meshNode(1) })
    expect(b.refused(3, 4)).toBe('other-node')
    expect(b.refused(3, 1, { key: meshKey(2) })).toBe('other-key')
    expect(b.join(3, 1, { key: meshKey(9), request: meshHash(9), name: 'other' })).toMatchObject({
      name: 'node1',
      ip: '10.77.0.1',
      again: false,
    })
    expect(b.of(1)).toMatchObject({ keys: [meshKey(9)], certificates: [] })
    expect([...b.state.mesh.denied.keys()]).toEqual(['1'])
    expect(b.refused(3, 1)).toBe('spent-token')
    // It goes on, and what it asked for then is not asked for again.
    b.ok({ kind: 'memberKey', node: meshNode(1), key: meshKey(10), step: 'next' })
    b.ok({ kind: 'memberKey', node: meshNode(1), key: meshKey(10), step: 'moved' })
    expect(b.refused(3, 1, { key: meshKey(9), request: meshHash(9) })).toBe('spent-token')
    // It was there before: that it is not heard for a while is no reason to forget it.
    b.sec += UNCONFIRMED_SEC + 1
    b.expire()
    expect(b.of(1)?.ip).toBe('10.77.0.1')
  })

  it('with the key of another node is refused', () => {
    const b = bench()
    b.member(1)
    b.ok({ kind: 'memberKey', node: meshNode(1), key: meshKey(50), step: 'next' })
    b.token(2, { uses: 9 })
    expect(b.refused(2, 2, { key: meshKey(1) })).toBe('other-key')
    expect(b.refused(2, 2, { key: meshKey(50) })).toBe('other-key')
  })

  it('with a name that is taken is called by it and a number', () => {
    const b = bench()
    b.token(1, { uses: 9 })
    const long = 'x'.repeat(63)
    expect([1, 2, 3].map((n) => b.join(1, n, { name: 'debian' }).name)).toEqual(['debian', 'debian-2', 'debian-3'])
    expect([4, 5].map((n) => b.join(1, n, { name: long }).name)).toEqual([long, `${'x'.repeat(59)}-2`])
  })
})

describe('a member', () => {
  it('that was not heard within ten minutes is forgotten with its certificates, and may repeat what it asked for', () => {
    const b = bench()
    b.token(1)
    b.join(1, 1)
    b.ok({ kind: 'memberCertified', node: meshNode(1), ...b.certificate(1) })
    b.sec += UNCONFIRMED_SEC - 10
    b.expire()
    expect(b.of(1)?.confirmedSec).toBeUndefined()
    expect(b.of(1)).toBeDefined()
    b.sec += 10
    expect(b.state.mesh.dueSec()).toBeLessThanOrEqual(b.sec)
    b.expire()
    expect([b.of(1), b.state.mesh.buried.size]).toEqual([undefined, 0])
    expect([...b.state.mesh.denied.keys()]).toEqual(['1'])
    b.token(2)
    expect(b.join(2, 2).ip).toBe('10.77.0.1')
    expect(b.refused(1, 1, { key: meshKey(9) })).toBe('spent-token')
    expect(b.join(1, 1)).toMatchObject({ ip: '10.77.0.2', again: false })
  })

  it('is confirmed once and keeps its certificates, the newest last; one too many takes the oldest back', () => {
    const b = bench()
    b.member(1)
    const since = b.of(1)?.confirmedSec
    expect(since).toBe(b.sec)
    const version = b.state.meshVersion()
    b.ok({ kind: 'memberConfirmed', node: meshNode(1), ...b.of(1)!.certificates[0]! })
    expect([b.state.meshVersion(), b.of(1)?.confirmedSec]).toEqual([version, since])
    for (let n = 2; n <= CERTIFICATES_MAX + 1; n++)
      b.ok({ kind: 'memberCertified', node: meshNode(1), ...b.certificate(n) })
    expect(b.of(1)?.certificates.map(({ serial }) => serial)).toEqual(['2', '3', '4', '5', '6', '7', '8', '9'])
    expect([...b.state.mesh.denied.keys()]).toEqual(['1'])
    expect(b.errno({ kind: 'memberCertified', node: meshNode(1), ...b.certificate(1) })).toBe('EACCES')
    expect(b.errno({ kind: 'memberConfirmed', node: meshNode(9), ...b.certificate(77) })).toBe('ENOENT')
    expect(b.errno({ kind: 'memberCertified', node: meshNode(1), ...b.certificate(78, 0) })).toBe('EINVAL')
    b.member(2, false)
    expect(b.errno({ kind: 'memberConfirmed', node: meshNode(2), ...b.certificate(9) })).toBe('EEXIST')
  })

  it('changes its key in two steps, and can think better of it', () => {
    const b = bench()
    b.member(1)
    b.member(2)
    const step = (key: number, what: 'next' | 'moved' | 'dropped', node = 1): Command => ({
      kind: 'memberKey',
      node: meshNode(node),
      key: meshKey(key),
      step: what,
    })
    expect(b.errno(step(5, 'moved'))).toBe('EINVAL')
    expect(b.errno(step(1, 'next'))).toBe('EINVAL')
    expect(b.errno(step(2, 'next'))).toBe('EEXIST')
    b.ok(step(5, 'next'))
    expect(b.of(1)?.keys).toEqual([meshKey(1), meshKey(5)])
    expect(b.errno(step(5, 'next', 2))).toBe('EEXIST')
    expect(b.errno(step(1, 'moved'))).toBe('EINVAL')
    b.ok(step(5, 'dropped'))
    b.ok(step(6, 'next'))
    b.ok(step(6, 'moved'))
    b.ok(step(6, 'moved'))
    expect(b.of(1)?.keys).toEqual([meshKey(6)])
    expect(b.errno(step(6, 'next', 9))).toBe('ENOENT')
  })

  it('says where it can be reached; what is no address would spoil the map for all and is refused', () => {
    const b = bench()
    b.member(1)
    const report = (candidates: string[], statics: string[] = []): Command => ({
      kind: 'memberReported',
      node: meshNode(1),
      candidates,
      statics,
      relays: 'blind',
    })
    b.ok(report(['192.168.1.2:51820', '[2001:db8::1]:51820'], ['203.0.113.9:51820']))
    expect(b.of(1)).toMatchObject({ statics: ['203.0.113.9:51820'], relays: 'blind' })
    const version = b.state.meshVersion()
    b.ok(report(['192.168.1.2:51820', '[2001:db8::1]:51820'], ['203.0.113.9:51820']))
    expect(b.state.meshVersion()).toBe(version)
    for (const bad of ['300.1.1.1:1', '[192.0.2.1]:1', '192.0.2.1:65536', '[::g]:1', '1.2.3:4'])
      expect(b.errno(report([bad]))).toBe('EINVAL')
    expect(b.errno({ ...report([]), node: meshNode(9) } as Command)).toBe('ENOENT')
  })

  it('that is removed leaves its address at rest for a day and its certificates denied until they expire', () => {
    const b = bench()
    b.member(1)
    b.ok({ kind: 'memberRemoved', node: meshNode(1) })
    b.ok({ kind: 'memberRemoved', node: meshNode(1) })
    expect([...b.state.mesh.denied.keys()]).toEqual(['1'])
    expect(b.member(2).ip).toBe('10.77.0.2')
    // Its own address is not another's.
    expect(b.member(3).ip).toBe('10.77.0.3')
    b.sec += TOMBSTONE_S
    b.expire()
    expect(b.state.mesh.buried.size).toBe(0)
    expect(b.member(4).ip).toBe('10.77.0.1')
    b.sec += 90 * DAY
    b.expire()
    expect(b.state.mesh.denied.size).toBe(0)
    expect(b.errno({ kind: 'memberRemoved', node: meshNode(1) })).toBe('ENOENT')
  })

  it('that was removed and is let in by a new token has its old address again', () => {
    const b = bench()
    b.member(1)
    b.member(2)
    b.ok({ kind: 'memberRemoved', node: meshNode(1) })
    b.token(9)
    expect(b.join(9, 1, { key: meshKey(9) }).ip).toBe('10.77.0.1')
    expect(b.state.mesh.buried.size).toBe(0)
  })

  it('is given an address that has rested long enough, though nobody has cleared it yet', () => {
    const b = bench()
    b.member(1)
    b.ok({ kind: 'memberRemoved', node: meshNode(1) })
    b.sec += TOMBSTONE_S
    expect(b.member(2).ip).toBe('10.77.0.1')
    expect(b.state.mesh.buried.size).toBe(0)
  })

  it('is one of six hundred at most', () => {
    const b = new MeshBench()
    const apply = (command: Command) => b.apply(command).result
    apply({ kind: 'meshFounded', ...mesh })
    apply({ kind: 'tokenMade', ...token(1, b.sec + DAY, { uses: MEMBERS_MAX }) })
    apply({ kind: 'tokenMade', ...token(2, b.sec + DAY) })
    for (let n = 1; n <= MEMBERS_MAX; n++) {
      const own = Buffer.alloc(32)
      own.writeUInt16BE(n)
      expect(apply({ kind: 'memberJoined', ...joining(1, n, { key: own.toString('base64') }) })).toHaveProperty('ok')
    }
    expect(b.refused(2, 9999, { key: meshKey(1) })).toBe('full')
  })
})

describe('what is over', () => {
  it('goes at most so much at a time, and nothing else', () => {
    const b = bench()
    for (const n of [1, 2, 3]) b.member(n)
    b.sec += 3600 + TOKEN_KEPT_SEC
    b.token(4)
    b.expire(2)
    expect(b.state.mesh.tokens.size).toBe(2)
    const version = b.state.meshVersion()
    b.expire()
    expect([...b.state.mesh.tokens.keys()]).toEqual([meshToken(4)])
    expect(b.state.meshVersion()).toBe(version + 1)
    b.expire()
    expect(b.state.meshVersion()).toBe(version + 1)
    expect(b.state.mesh.dueSec()).toBeGreaterThan(b.sec)
  })
})

describe('a chunkserver', () => {
  const registers = (member: string | undefined): Command =>
    ({
      ...{ kind: 'nodeJoined', node: 1, uuid: 'n1', name: 'one', host: '10.77.0.1', port: 9461, version: '1' },
      ...{ disks: [], place: undefined, labels: undefined, member },
    }) as unknown as Command

  it('stays with the node that brought it, and may come with another when that has left the mesh', () => {
    const b = bench()
    b.member(1)
    b.member(2)
    b.ok(registers(undefined))
    b.ok(registers(meshNode(1)))
    expect(b.errno(registers(meshNode(2)))).toBe('EPERM')
    // Where nobody proves anything, nothing is taken back.
    b.ok(registers(undefined))
    expect(b.state.node(1 as never)?.member).toBe(meshNode(1))
    b.ok({ kind: 'memberRemoved', node: meshNode(1) })
    b.ok(registers(meshNode(2)))
    expect(b.state.node(1 as never)?.member).toBe(meshNode(2))
  })

  it('stays with its node also where there is no mesh', () => {
    const b = new MeshBench()
    b.ok(registers('a'))
    expect(b.errno(registers('b'))).toBe('EPERM')
  })
})

describe('the check', () => {
  const findings = (spoil: (b: MeshBench) => void): string[] => {
    const b = bench()
    b.member(1)
    b.member(2)
    b.member(3)
    b.ok({ kind: 'memberRemoved', node: meshNode(3) })
    transact(b.store, b.state, () => spoil(b))
    return check(b.state).map(({ what }) => what)
  }
  const one = (b: MeshBench, change: Partial<MemberRecord>): void =>
    b.state.mesh.setMember(meshNode(1), { ...b.of(1)!, ...change })
  const spent = (b: MeshBench, change: Partial<TokenRecord>): void =>
    b.state.mesh.setToken(meshToken(3), { ...b.state.mesh.tokens.get(meshToken(3))!, ...change })
  const placed = (b: MeshBench, places: MeasuredPlace[], own: string[] = []): void => {
    const { record } = b.state.measured
    b.state.measured.set({ ...record, number: 1, map: { ...record.map, places, own } })
  }
  const first = `node ${meshNode(1)} of the mesh`
  const both = `nodes ${meshNode(1)} and ${meshNode(2)} of the mesh have one`

  it.each<[string, (b: MeshBench) => void, string]>([
    ['an address of two', (b) => one(b, { ip: '10.77.0.2' }), `${both} address 10.77.0.2`],
    ['a key of two', (b) => one(b, { keys: [meshKey(2)] }), `${both} key ${meshKey(2)}`],
    ['a name of two', (b) => one(b, { name: 'node2' }), `${both} name node2`],
    ['a certificate of two', (b) => one(b, { certificates: b.of(2)!.certificates }), `${both} certificate 2`],
    ['an address of elsewhere', (b) => one(b, { ip: '10.78.0.1' }), `${first}: 10.78.0.1 is not of 10.77.0.0/16`],
    ['a node without a key', (b) => one(b, { keys: [] }), `${first}: 0 keys, not one or two`],
    ['what is no address', (b) => one(b, { statics: ['x:1'] }), `${first}: x:1 is no address and port`],
    [
      'a certificate that counts and does not',
      (b) => one(b, { certificates: [{ serial: '3', expiresSec: b.sec + 1 }] }),
      `${first}: its certificate 3 is denied`,
    ],
    [
      'a member at the address of one that was removed',
      (b) => one(b, { ip: '10.77.0.3' }),
      `nodes ${meshNode(1)} and ${meshNode(3)} of the mesh have one address 10.77.0.3`,
    ],
    ['a token spent too often', (b) => spent(b, { uses: 0 }), `token ${meshToken(3)}: spent 1 times, made for 0`],
    [
      'a token that lets a removed node in',
      (b) => spent(b, { spent: [{ ...b.state.mesh.tokens.get(meshToken(3))!.spent[0]!, closed: undefined }] }),
      `token ${meshToken(3)}: lets node ${meshNode(3)} in again, which was removed`,
    ],
    [
      'a token for one node and several',
      (b) => spent(b, { rejoin: meshNode(1), uses: 2 }),
      `token ${meshToken(3)}: 2 uses for one node`,
    ],
    [
      'a rest that is none of the mesh',
      (b) => b.state.mesh.setBuried(meshNode(3), { ...b.state.mesh.buried.get(meshNode(3))!, ip: '10.1.0.1' }),
      `removed node ${meshNode(3)}: 10.1.0.1 is not of 10.77.0.0/16`,
    ],
    [
      'a place of one that is no member',
      (b) => placed(b, [{ node: meshNode(3), site: 's1', rack: 'r1' }]),
      `measured place of node ${meshNode(3)}: it is not of the mesh`,
    ],
    [
      'places of one node',
      (b) =>
        placed(
          b,
          [1, 1].map((n) => ({ node: meshNode(n), site: 's1', rack: 'r1' })),
        ),
      `measured place of node ${meshNode(1)}: not in order, or twice`,
    ],
    [
      'a place without a name',
      (b) => placed(b, [{ node: meshNode(1), site: '', rack: 'r1' }]),
      `measured place of node ${meshNode(1)}: without a name`,
    ],
    ['a name of nothing', (b) => placed(b, [], ['site s9']), 'measured places: nothing is site s9'],
    [
      'racks that are larger than sites',
      (b) => {
        const { record } = b.state.measured
        b.state.measured.set({ ...record, measuring: { auto: true, siteUs: 1, rackUs: 2 } })
      },
      'measured places: racks of 2 µs in sites of 1 µs',
    ],
    [
      'a version of nothing',
      (b) => b.state.setCounters({ meshVersion: 0 }),
      'mesh: its version is 0, and there is a mesh',
    ],
    [
      'a record that nobody has read',
      (b) => b.store.put(key.denied('ff'), EMPTY),
      'denied certificate ff: written, and not known',
    ],
  ])('finds %s', (_what, spoil, found) => expect(findings(spoil)).toEqual([found]))

  it('finds a node that is there and was removed, and a mesh without its record', () => {
    expect(
      findings((b) => {
        const { ip } = b.state.mesh.buried.get(meshNode(3))!
        b.state.mesh.setMember(meshNode(3), { ...b.of(1)!, name: 'x', ip, keys: [meshKey(99)], certificates: [] })
      }),
    ).toContain(`node ${meshNode(3)} of the mesh: it was removed as well`)
    const without = findings((b) => {
      b.store.delete(key.meta('mesh'))
      b.state.mesh.forget()
    })
    expect(without).toContain(`${first}: there is no mesh`)
    expect(without).toContain(`token ${meshToken(1)}: there is no mesh`)
    expect(without).toContain(`removed node ${meshNode(3)}: 10.77.0.3 is not of any mesh`)
  })

  it('goes over the mesh in pages as well', () => {
    const b = bench()
    b.member(1)
    transact(b.store, b.state, () => one(b, { keys: [] }))
    const found: string[] = []
    let cursor = ''
    do {
      const page = checkPage(b.state, cursor, 2)
      found.push(...page.findings.map(({ what }) => what))
      cursor = page.cursor
    } while (cursor !== '')
    expect(found).toEqual([`${first}: 0 keys, not one or two`])
  })
})
