import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { WantedDevice } from '../../src/mesh/core/diff.ts'
import type { Device } from '../../src/mesh/core/dump.ts'
import { newKeys, writeSecret } from '../../src/mesh/keys.ts'
import { QUICK_ROUND_MS, Tunnel, type TunnelRound, type TunnelWish } from '../../src/mesh/tunnel.ts'
import { FakeWireGuard } from '../support/fake-wireguard.ts'
import { ManualClock, silentLog } from '../support/manual-clock.ts'
import { keyOf } from '../support/mesh-samples.ts'

let directory: string
let wireguard: FakeWireGuard
let wish: TunnelWish | undefined
let rounds: TunnelRound[]
let seen: Device[]
let tunnel: Tunnel

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-tunnel-'))
  const keys = newKeys()
  await writeSecret(join(directory, 'key'), `${keys.privateKey}\n`)
  wireguard = new FakeWireGuard('fake0', join(directory, 'key'), ['cubic'])
  const device: WantedDevice = {
    publicKey: keys.publicKey,
    listenPort: 51_820,
    peers: [{ publicKey: keyOf(1), allowedIps: ['10.77.0.2/32'], keepaliveS: 25 }],
  }
  wish = {
    device,
    settings: { address: '10.77.0.1/16', mtu: 1420 },
    routes: [{ to: '10.77.0.2/32', mtu: 1280, congestion: 'bbr' }],
  }
  rounds = []
  seen = []
  tunnel = new Tunnel(
    wireguard,
    new ManualClock(),
    silentLog,
    (now) => {
      seen.push(now)
      return wish
    },
    (round) => rounds.push(round),
  )
})
afterEach(() => rm(directory, { recursive: true }))

describe('a tunnel', () => {
  test('is made as it is wanted, and then left alone', async () => {
    expect(await tunnel.step()).toEqual({ restMs: 5000, resting: 'idle' })
    await tunnel.step()
    expect(rounds).toMatchObject([
      { made: true, changedPeers: 1, lacking: ['bbr'] },
      { made: false, changedPeers: 0, lacking: ['bbr'] },
    ])
    expect(wireguard.commands).toHaveLength(1)
    expect(wireguard.settings).toEqual(wish!.settings)
    expect(await wireguard.routes()).toEqual([{ to: '10.77.0.2/32', mtu: 1280 }])
    expect(seen[1]!.peers).toMatchObject([{ publicKey: keyOf(1), keepaliveS: 25 }])
  })

  test('that died is made again with everything on it', async () => {
    await tunnel.step()
    const before = wireguard.device
    await wireguard.die()
    await tunnel.step()
    expect(wireguard.device).toEqual(before)
    expect(wireguard.settings).toEqual(wish!.settings)
    expect(rounds[1]).toMatchObject({ made: true, changedPeers: 1 })
  })

  test('is looked at sooner when that is wanted', async () => {
    wish = { ...wish!, restMs: QUICK_ROUND_MS }
    expect(await tunnel.step()).toEqual({ restMs: 250, resting: 'idle' })
  })

  test('that nobody wants anything of yet is made and nothing more', async () => {
    wish = undefined
    await tunnel.step()
    expect(wireguard.device!.peers).toEqual([])
    expect(wireguard.settings).toBeUndefined()
    expect(rounds).toHaveLength(1)
  })

  test('does not point a peer elsewhere that was found where it is', async () => {
    await tunnel.step()
    const nowS = new ManualClock().now().sec
    wireguard.shake(keyOf(1), '203.0.113.7:1', nowS)
    const [peer] = wish!.device.peers
    wish = {
      ...wish!,
      device: { ...wish!.device, peers: [{ ...peer!, endpoint: { at: '192.0.2.1:1', insist: false } }] },
    }
    await tunnel.step()
    expect(wireguard.device!.peers[0]!.endpoint).toBe('203.0.113.7:1')
  })
})
