/* What a hub asks of the master: joins with their proofs, the registry and its changes, and that no secret comes out. */

import { setMaxListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { UNCONFIRMED_SEC } from '../../src/master/core/mesh-table.ts'
import { joinRefusalOf } from '../../src/wire/mesh-shapes.ts'
import type { Reply, Request } from '../../src/wire/protocol.ts'
import { joining, mesh, meshHash, meshKey, meshNode, meshToken, proved, token } from '../support/mesh.ts'
import { masterOfEachTest, settle, TestChunkserver, TestMaster, TestPeer } from './harness.ts'

const running = masterOfEachTest()

class Hub {
  readonly master: TestMaster
  readonly peer = new TestPeer('admin', 'hub')
  constructor(master: TestMaster) {
    this.master = master
  }
  static async of(master: TestMaster): Promise<Hub> {
    const hub = new Hub(running(master))
    await master.call(hub.peer, 'meshFound', mesh)
    return hub
  }
  token(n: number, more: Partial<Request<'meshTokenMake'>> = {}): Promise<Reply<'meshTokenMake'>> {
    return this.master.call(this.peer, 'meshTokenMake', token(n, this.master.clock.now().sec + 3600, more))
  }
  join(request: Request<'meshJoin'>): Promise<Reply<'meshJoin'>> {
    return this.master.call(this.peer, 'meshJoin', request)
  }
  /** By a token of its own. */
  async member(n: number): Promise<Reply<'meshJoin'>> {
    await this.token(n)
    return this.join(proved(joining(n, n), meshHash(n)))
  }
  registry(since: number, waitMs = 0, signal?: AbortSignal): Promise<Reply<'meshRegistry'>> {
    return this.master.call(this.peer, 'meshRegistry', { since, waitMs }, signal)
  }
  certificate(n: number) {
    return { node: meshNode(n), serial: n.toString(16), expiresSec: this.master.clock.now().sec + 90 * 86_400 }
  }
}

const refusal = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call
  } catch (error) {
    if (error instanceof FsError) return joinRefusalOf(error.message) ?? error.message
    throw error
  }
  return 'carried out'
}

describe('a join', () => {
  it('with a good proof spends the token and answers the address; repeated in another TLS session, the same', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.token(1, { site: 'home' })
    const first = await hub.join(proved(joining(1, 1), meshHash(1)))
    expect(first).toMatchObject({ ip: '10.77.0.1', roles: ['chunkserver'], site: 'home', again: false })
    const again = await hub.join(proved(joining(1, 1), meshHash(1), Buffer.alloc(32, 9)))
    expect(again).toEqual({ ...first, again: true })
    expect(await refusal(hub.join(proved(joining(1, 2), meshHash(1))))).toBe('spent-token')
  })

  it('is refused when any part of what was proved is another: replayed, relayed or changed on its way', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.token(1)
    await hub.token(2)
    const good = proved(joining(1, 1), meshHash(1))
    const forged: Request<'meshJoin'>[] = [
      { ...good, exporter: Buffer.alloc(32, 8) },
      { ...good, key: meshKey(2) },
      { ...good, request: meshHash(2) },
      { ...good, node: meshNode(2) },
      { ...good, proof: Buffer.alloc(32) },
      { ...good, tokenId: meshToken(2) },
      proved(joining(1, 1), meshHash(2)),
    ]
    for (const request of forged) expect(await refusal(hub.join(request))).toBe('wrong-proof')
    expect(hub.master.state.mesh.members.size).toBe(0)
    expect(await hub.join(good)).toMatchObject({ again: false })
  })

  it('learns what is wrong with a token only with its key', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.token(1)
    await hub.master.call(hub.peer, 'meshTokenRevoke', { tokenId: meshToken(1) })
    expect(await refusal(hub.join(proved(joining(1, 1), meshHash(9))))).toBe('wrong-proof')
    expect(await refusal(hub.join(proved(joining(1, 1), meshHash(1))))).toBe('revoked-token')
    expect(await refusal(hub.join(proved(joining(7, 1), meshHash(7))))).toBe('unknown-token')
  })

  it('of twenty nodes at once with one token of ten uses lets ten in, each at its own address', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.token(1, { uses: 10 })
    const joins = Array.from({ length: 20 }, (_, i) => hub.join(proved(joining(1, i + 1), meshHash(1))))
    const answers = await Promise.allSettled(joins)
    const ips = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.ip] : []))
    expect([ips.length, new Set(ips).size]).toEqual([10, 10])
  })

  it('counts after a restart of the master as before', async () => {
    const before = await Hub.of(new TestMaster())
    const first = await before.member(1)
    const hub = new Hub(running(await before.master.restarted()))
    expect(await hub.join(proved(joining(1, 1), meshHash(1)))).toEqual({ ...first, again: true })
    expect(await refusal(hub.join(proved(joining(1, 2), meshHash(1))))).toBe('spent-token')
  })
})

describe('the registry', () => {
  it('is nothing while there is no mesh, then all but the keys of tokens', async () => {
    const hub = new Hub(running(new TestMaster()))
    expect(await hub.registry(0)).toEqual({ version: 0, registry: undefined })
    await hub.master.call(hub.peer, 'meshFound', mesh)
    await hub.member(1)
    await hub.master.call(hub.peer, 'meshCertified', hub.certificate(1))
    await hub.master.call(hub.peer, 'meshConfirm', hub.certificate(1))
    const report = { node: meshNode(1), candidates: ['192.168.0.7:51820'], statics: [], relays: 'no' as const }
    await hub.master.call(hub.peer, 'meshReport', report)
    await hub.member(2)
    await hub.master.call(hub.peer, 'meshCertified', hub.certificate(2))
    await hub.master.call(hub.peer, 'meshRemove', { node: meshNode(2) })
    const { version, registry } = await hub.registry(0)
    expect(version).toBe(hub.master.state.meshVersion())
    const { serial, expiresSec } = hub.certificate(2)
    expect(registry).toMatchObject({
      mesh,
      members: [{ ...report, name: 'node1', ip: '10.77.0.1', keys: [meshKey(1)], certificates: [{ serial: '1' }] }],
      tokens: [
        { tokenId: meshToken(1), uses: 1, usesLeft: 0, revoked: false },
        { tokenId: meshToken(2), uses: 1, usesLeft: 0, revoked: false },
      ],
      buried: [{ node: meshNode(2), ip: '10.77.0.2' }],
      denied: [{ serial, expiresSec }],
    })
    expect(registry?.members[0]?.confirmedSec).toBe(hub.master.clock.now().sec)
    expect(JSON.stringify(registry)).not.toContain(meshHash(1))
    expect((await hub.registry(version)).registry).toBeUndefined()
  })

  it('is answered at once when it is another already, after a change, or after the time', async () => {
    const hub = await Hub.of(new TestMaster())
    const waiting = hub.registry(1, 30_000)
    let answered = false
    void waiting.then(() => {
      answered = true
    })
    await hub.master.clock.pass(10_000)
    expect(answered).toBe(false)
    await hub.token(1)
    expect((await waiting).registry?.tokens).toHaveLength(1)
    expect((await hub.registry(1, 30_000)).version).toBe(2)
    const idle = hub.registry(2, 30_000)
    await hub.master.clock.pass(30_000)
    expect(await idle).toEqual({ version: 2, registry: undefined })
  })

  it('is waited for by so many and no more, and who has gone waits no longer', async () => {
    const hub = await Hub.of(new TestMaster())
    const gone = new AbortController()
    setMaxListeners(64, gone.signal)
    const waiting = Array.from({ length: 64 }, () => hub.registry(1, 30_000, gone.signal).catch((error) => error))
    await settle()
    await expect(hub.registry(1, 30_000)).rejects.toMatchObject({ code: 'EUSERS' })
    gone.abort(new FsError('ECANCELED'))
    expect((await Promise.all(waiting)).every((error) => error instanceof FsError)).toBe(true)
    const next = hub.registry(1, 1)
    await hub.master.clock.pass(1)
    expect((await next).version).toBe(1)
  })

  it('does not change when a node reports what it reported before, and nothing is written then', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.member(1)
    const report = { node: meshNode(1), candidates: ['192.168.0.7:51820'], statics: [], relays: 'no' as const }
    await hub.master.call(hub.peer, 'meshReport', report)
    const { index } = hub.master.state.counters()
    await hub.master.call(hub.peer, 'meshReport', report)
    expect(hub.master.state.counters().index).toBe(index)
    const key = { node: meshNode(1), key: meshKey(5), step: 'next' as const }
    await hub.master.call(hub.peer, 'meshKey', key)
    expect((await hub.registry(0)).registry?.members[0]?.keys).toEqual([meshKey(1), meshKey(5)])
  })
})

describe('what is secret', () => {
  it('of a token is in no list and not in the changelog that people see', async () => {
    const hub = await Hub.of(new TestMaster())
    const secret = 'deadbeef'.repeat(8)
    await hub.token(1, { key: secret })
    const list = await hub.master.call(hub.peer, 'meshTokenList', {})
    const log = await hub.master.call(hub.peer, 'changelogPage', { from: 1, limit: 100 })
    expect(list.tokens).toMatchObject([{ tokenId: meshToken(1), usesLeft: 1 }])
    expect(log.rows.map(({ kind }) => kind)).toContain('tokenMade')
    expect(JSON.stringify([list, log])).not.toContain(secret)
  })
})

describe('what is over', () => {
  it('is forgotten by the master itself: a node never heard of, and whoever waits is told', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.member(1)
    hub.master.clock.jump((UNCONFIRMED_SEC - 30) * 1000)
    hub.master.work()
    const { version } = await hub.registry(0)
    const waiting = hub.registry(version, 60_000)
    await hub.master.clock.pass(20_000)
    expect(hub.master.state.mesh.members.size).toBe(1)
    await hub.master.clock.pass(15_000)
    expect((await waiting).registry?.members).toEqual([])
  })
})

describe('a chunkserver', () => {
  it('of one node is refused to another, and the one that is there goes on', async () => {
    const hub = await Hub.of(new TestMaster())
    await hub.member(1)
    await hub.member(2)
    const own = new TestChunkserver('a')
    own.member = meshNode(1)
    await own.join(hub.master)
    const thief = new TestChunkserver('a')
    thief.member = meshNode(2)
    await expect(thief.join(hub.master)).rejects.toMatchObject({ code: 'EPERM' })
    expect([own.peer.closed, hub.master.master.nodes.peer(own.node) === own.peer]).toEqual([false, true])
  })
})
