/*
 * What an interface of WireGuard has to do, whoever makes it: the tools of this machine in a network namespace, or the fake
 * of the tests. It knows nothing of either.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { diff, type WantedDevice, type WantedPeer } from '../../src/mesh/core/diff.ts'
import type { Device } from '../../src/mesh/core/dump.ts'
import { newKeys, writeSecret } from '../../src/mesh/keys.ts'
import type { WireGuard } from '../../src/mesh/wireguard.ts'
import { keyOf } from '../support/mesh-samples.ts'

const NOW_S = 1_800_000_000
const bare = (n: number, change: Partial<WantedPeer> = {}): WantedPeer => ({
  publicKey: keyOf(n),
  allowedIps: [`10.77.0.${n + 1}/32`],
  keepaliveS: 0,
  ...change,
})
const sorted = (device: Device | undefined) => device!.peers.toSorted((x, y) => (x.publicKey < y.publicKey ? -1 : 1))

export function wireGuardSuite(make: (keyFile: string) => WireGuard): void {
  let directory: string
  let wireguard: WireGuard
  let own: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-wg-'))
    const keys = newKeys()
    own = keys.publicKey
    await writeSecret(join(directory, 'key'), `${keys.privateKey}\n`)
    wireguard = make(join(directory, 'key'))
  })
  afterEach(async () => {
    await wireguard.destroy()
    await rm(directory, { recursive: true })
  })

  const become = async (wanted: WantedDevice): Promise<number> => {
    const change = diff(wanted, (await wireguard.dump())!, NOW_S)
    await wireguard.apply(change)
    return change.peers.length
  }

  test('is not there, is made once, and is gone again', async () => {
    expect(await wireguard.dump()).toBeUndefined()
    expect(await wireguard.ensure()).toMatchObject({ made: true })
    expect(await wireguard.ensure()).toMatchObject({ made: false })
    const device = await wireguard.dump()
    expect(device!.peers).toEqual([])
    expect(device!.publicKey).toBeUndefined()
    await wireguard.destroy()
    expect(await wireguard.dump()).toBeUndefined()
    await wireguard.destroy()
    await expect(wireguard.apply({ privateKey: true, peers: [] })).rejects.toMatchObject({ code: 'ENODEV' })
  })

  test('takes its key from the file, its port and its peers, and then nothing differs', async () => {
    await wireguard.ensure()
    const wanted: WantedDevice = {
      publicKey: own,
      listenPort: 51_999,
      peers: [
        bare(1, { endpoint: { at: '192.0.2.1:51820', insist: false }, keepaliveS: 25 }),
        bare(2, { endpoint: { at: '[2001:db8::2]:51820', insist: false } }),
        bare(3, { allowedIps: [], endpoint: { at: '192.0.2.3:1', insist: true }, keepaliveS: 25, afresh: true }),
        bare(4, { allowedIps: ['10.77.0.5/32', '10.77.0.9/32'] }),
      ],
    }
    expect(await become(wanted)).toBe(4)
    const device = (await wireguard.dump())!
    expect(device).toMatchObject({ publicKey: own, listenPort: 51_999, fwmark: 0 })
    expect(sorted(device)).toMatchObject([
      {
        publicKey: keyOf(1),
        allowedIps: ['10.77.0.2/32'],
        endpoint: '192.0.2.1:51820',
        keepaliveS: 25,
        hasPresharedKey: false,
      },
      { publicKey: keyOf(2), allowedIps: ['10.77.0.3/32'], endpoint: '[2001:db8::2]:51820', keepaliveS: 0 },
      { publicKey: keyOf(3), allowedIps: [], endpoint: '192.0.2.3:1', keepaliveS: 25, latestHandshakeS: 0 },
      { publicKey: keyOf(4), keepaliveS: 0 },
    ])
    expect(device.peers.find((peer) => peer.publicKey === keyOf(4))!.allowedIps.toSorted()).toEqual([
      '10.77.0.5/32',
      '10.77.0.9/32',
    ])
    expect(await become(wanted)).toBe(0)
  })

  test('an allowed ip goes from one peer to the other by one change, and a peer that shall prove itself begins anew', async () => {
    await wireguard.ensure()
    const hub = bare(1, { allowedIps: ['10.77.0.2/32'] })
    const other = bare(2, { allowedIps: ['10.77.0.3/32'], keepaliveS: 25 })
    await become({ publicKey: own, peers: [hub, other] })
    const through = { ...hub, allowedIps: ['10.77.0.2/32', '10.77.0.3/32'] }
    const proving = bare(2, {
      allowedIps: [],
      keepaliveS: 25,
      afresh: true,
      endpoint: { at: '192.0.2.7:7', insist: true },
    })
    expect(await become({ publicKey: own, peers: [through, proving] })).toBe(2)
    expect(sorted(await wireguard.dump())).toMatchObject([
      { publicKey: keyOf(1), allowedIps: expect.arrayContaining(through.allowedIps) },
      { publicKey: keyOf(2), allowedIps: [], endpoint: '192.0.2.7:7', keepaliveS: 25, txBytes: expect.any(Number) },
    ])
    expect(await become({ publicKey: own, peers: [hub, other] })).toBe(1)
    expect(sorted(await wireguard.dump())).toMatchObject([
      { publicKey: keyOf(1), allowedIps: ['10.77.0.2/32'] },
      { publicKey: keyOf(2), allowedIps: ['10.77.0.3/32'] },
    ])
  })

  test('loses peers, keepalives and allowed ips when they are no longer wanted', async () => {
    await wireguard.ensure()
    await become({ publicKey: own, peers: [bare(1, { keepaliveS: 25 }), bare(2), bare(3)] })
    expect(await become({ publicKey: own, peers: [bare(1, { allowedIps: [] }), bare(3)] })).toBe(2)
    expect(sorted(await wireguard.dump())).toMatchObject([
      { publicKey: keyOf(1), allowedIps: [], keepaliveS: 0 },
      { publicKey: keyOf(3), allowedIps: ['10.77.0.4/32'] },
    ])
  })

  test('takes 250 peers and gives them up again', async () => {
    await wireguard.ensure()
    const peers = Array.from({ length: 250 }, (_, n) => bare(n, { allowedIps: [`10.77.1.${n + 1}/32`] }))
    await become({ publicKey: own, peers })
    expect((await wireguard.dump())!.peers).toHaveLength(250)
    expect(await become({ publicKey: own, peers })).toBe(0)
    await become({ publicKey: own, peers: [] })
    expect((await wireguard.dump())!.peers).toEqual([])
  })

  test('changes its key for another', async () => {
    await wireguard.ensure()
    await become({ publicKey: own, peers: [bare(1)] })
    const next = newKeys()
    await writeSecret(join(directory, 'key'), `${next.privateKey}\n`)
    expect(await become({ publicKey: next.publicKey, peers: [bare(1)] })).toBe(0)
    const device = await wireguard.dump()
    expect(device).toMatchObject({ publicKey: next.publicKey })
    expect(device!.peers).toHaveLength(1)
  })

  test('has one address, its size, and the routes that are wanted', async () => {
    await wireguard.ensure()
    await wireguard.configure({ address: '10.77.0.9/16', mtu: 1420 })
    expect(await wireguard.configure({ address: '10.77.0.10/16', mtu: 1360, probePort: 51_821 })).toEqual([])
    expect(await wireguard.configure({ address: '10.77.0.10/16', mtu: 1360, probePort: 51_821 })).toEqual([])
    expect(await wireguard.routes()).toEqual([])
    const all = { to: '10.77.0.0/16', congestion: 'reno' }
    expect(await wireguard.setRoutes([all, { to: '10.77.0.3/32', mtu: 1280, congestion: 'reno' }])).toEqual([])
    expect(new Set(await wireguard.routes())).toEqual(
      new Set([all, { to: '10.77.0.3/32', mtu: 1280, congestion: 'reno' }]),
    )
    expect(await wireguard.setRoutes([all, { to: '10.77.0.4/32', mtu: 1392 }])).toEqual([])
    expect(new Set(await wireguard.routes())).toEqual(new Set([all, { to: '10.77.0.4/32', mtu: 1392 }]))
  })

  test('sets a route without a congestion control that the kernel does not have, and says which', async () => {
    await wireguard.ensure()
    await wireguard.configure({ address: '10.77.0.9/16', mtu: 1420 })
    const wanted = [
      { to: '10.77.0.3/32', mtu: 1280, congestion: 'nosuch' },
      { to: '10.77.0.4/32', congestion: 'nosuch' },
    ]
    for (let round = 0; round < 2; round++) {
      expect(await wireguard.setRoutes(wanted)).toEqual(['nosuch'])
      expect(new Set(await wireguard.routes())).toEqual(
        new Set([{ to: '10.77.0.3/32', mtu: 1280 }, { to: '10.77.0.4/32' }]),
      )
    }
  })

  test('takes 200 routes', async () => {
    await wireguard.ensure()
    await wireguard.configure({ address: '10.77.0.9/16', mtu: 1420 })
    const many = Array.from({ length: 200 }, (_, n) => ({ to: `10.77.1.${n + 1}/32`, mtu: 1280, congestion: 'reno' }))
    await wireguard.setRoutes([...many, { to: '10.77.0.0/16', congestion: 'nosuch' }])
    expect(await wireguard.routes()).toHaveLength(201)
    await wireguard.setRoutes(many.slice(1))
    expect(new Set(await wireguard.routes())).toEqual(new Set(many.slice(1)))
  })

  test('answers many who ask at once', async () => {
    await wireguard.ensure()
    const one = (n: number) => wireguard.apply({ privateKey: false, peers: [{ publicKey: keyOf(n), kind: 'set' }] })
    await Promise.all([...Array.from({ length: 12 }, (_, n) => one(n)), wireguard.dump(), wireguard.routes()])
    expect((await wireguard.dump())!.peers).toHaveLength(12)
  })

  test('goes on after a command that failed, and says nothing of keys', async () => {
    await wireguard.ensure()
    await writeSecret(join(directory, 'key'), `${'x'.repeat(41)}==\n`)
    const failed = await wireguard.apply({ privateKey: true, peers: [] }).then(
      () => undefined,
      (error: Error) => error,
    )
    expect(failed).toBeInstanceOf(Error)
    expect(failed!.message).not.toContain('xxxx')
    expect(await wireguard.dump()).toMatchObject({ peers: [] })
  })
}
