import { expect, test } from 'vitest'
import { routesFor } from '../../../src/mesh/core/routes.ts'
import { idOf, mapOf, peer } from '../../support/mesh-samples.ts'

test('the network has a route, and each peer to which the full size is not proved', () => {
  const map = mapOf([peer(1), peer(2), peer(3), peer(4)])
  const mtus = new Map([
    [idOf(2), 1420],
    [idOf(3), 1392],
  ])
  expect(routesFor(map, idOf(1), mtus, 1420, 'bbr')).toEqual([
    { to: '10.77.0.0/16', congestion: 'bbr' },
    { to: '10.77.0.4/32', mtu: 1392, congestion: 'bbr' },
    { to: '10.77.0.5/32', mtu: 1280, congestion: 'bbr' },
  ])
})

test('the kernel chooses how its connections share a line where nothing else is asked for', () => {
  const map = mapOf([peer(1), peer(2)])
  expect(routesFor(map, idOf(1), new Map(), 1420, undefined)).toEqual([
    { to: '10.77.0.0/16' },
    { to: '10.77.0.3/32', mtu: 1280 },
  ])
})
