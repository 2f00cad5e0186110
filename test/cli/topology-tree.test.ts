/* Measured places as people read them. */

import { expect, test } from 'vitest'
import { formatMatrix, formatProposal, formatTopology } from '../../src/cli/topology-tree.ts'
import type { KnownBy, TopologyReport } from '../../src/wire/reports-mesh.ts'

const node = (n: number, site: string, rack: string, siteBy: KnownBy, rackBy: KnownBy) => ({
  ...{ node: String(n).repeat(32), name: `node${n}`, ip: `10.77.0.${n}`, roles: ['chunkserver'] },
  ...{ site, rack, siteBy, rackBy, rounds: 3 },
})
const report: TopologyReport = {
  ...{ number: 4, auto: true, siteMs: 10, rackMs: 2, everyMs: 60_000 },
  nodes: [
    node(1, 'home', 'r1', 'declared', 'measured'),
    node(2, '', '', '', ''),
    node(3, 'home', 'r1', 'measured', 'measured'),
    node(4, 's2', 'cellar', 'node', 'node'),
  ],
  mounts: [{ session: 1, mountpoint: '/mnt', node: '3'.repeat(32), site: 'home', rack: 'r1' }],
  proposal: {
    version: 77,
    changes: [
      { node: 'x', name: 'node2', site: '', rack: '', toSite: 's2', toRack: 'r9' },
      { node: 'y', name: 'node3', site: 'home', rack: 'r1', toSite: 's2', toRack: 'r9' },
    ],
    waiting: [{ change: 'site node1 | node3 node4', rounds: 2 }],
  },
  matrix: [
    [0, null, 0.44, 20.4],
    [null, 0, null, null],
    [0.44, null, 0, 123.4],
    [20.4, null, 123.4, 0],
  ],
}

test('places are a tree of sites, racks and nodes, with how each is known; who has none comes last', () => {
  expect(formatTopology(report).split('\n').slice(1)).toEqual([
    'site home',
    '  rack r1',
    '    node1  10.77.0.1  site: its configuration says so, rack: measured',
    '    node3  10.77.0.3  measured',
    'site s2',
    '  rack cellar',
    '    node4  10.77.0.4  said of the node',
    'not placed',
    '    node2  10.77.0.2  not known yet, 3 rounds of probes',
    'mount /mnt of node3: home|r1',
  ])
})

test('without a mesh there are chunkservers where they say that they are', () => {
  const outside = { ...node(1, 'home', 'r1', 'declared', 'address'), node: '' }
  const unknown = { ...node(2, '', '', '', ''), node: '' }
  const shown = formatTopology({ ...report, nodes: [outside, unknown], mounts: [] })
  expect(shown.split('\n')).toEqual([
    'There is no mesh: nothing is measured.',
    'site home',
    '  rack r1',
    '    node1  10.77.0.1  site: its configuration says so, rack: by its address',
    'not placed',
    '    node2  10.77.0.2  nobody says',
  ])
})

test('a proposal says what comes, what moves, and with which version it is taken', () => {
  expect(formatProposal(report).split('\n')).toEqual([
    '+ node2  s2|r9',
    '~ node3  home|r1 -> s2|r9',
    'waited for since 2 evaluations: site node1 | node3 node4',
    'Holds when it was found five times in a row. At once: holdfast topology apply --version 77',
  ])
  const none = { ...report, proposal: { ...report.proposal, changes: [] } }
  expect(formatProposal(none)).toBe('Places are as they were measured.')
})

test('distances are a table, with a question mark where nothing is known', () => {
  const [, first, second] = formatMatrix(report).split('\n')
  expect(first!.trim().split(/\s+/)).toEqual(['node1', '-', '?', '0.4', '20'])
  expect(second!.trim().split(/\s+/)).toEqual(['node2', '?', '-', '?', '?'])
})
