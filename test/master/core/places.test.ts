/* What chunkservers and disks are called and where they stand, as state: what holds, what survives, what is refused. */

import { describe, expect, it } from 'vitest'
import type { DiskId, NodeId } from '../../../src/base/ids.ts'
import { check } from '../../../src/master/core/check.ts'
import type { CommandOf } from '../../../src/master/core/commands.ts'
import { labelsOf } from '../../../src/master/core/records.ts'
import { transact } from '../../../src/master/core/state.ts'
import { Bench } from './support.ts'

const node = 1 as NodeId
const disk = 1 as DiskId

const joined = (more: Partial<CommandOf<'nodeJoined'>> = {}, diskLabels?: string[]): CommandOf<'nodeJoined'> => ({
  kind: 'nodeJoined',
  node,
  uuid: 'n1',
  name: 'node1',
  host: '10.0.0.1',
  port: 1001,
  version: '1',
  disks: [{ disk, uuid: 'd1', path: '/d1', labels: diskLabels }],
  place: undefined,
  labels: undefined,
  ...more,
})

describe('labels', () => {
  it('of the configuration hold until an admin sets others, which survive every registration', () => {
    const b = new Bench()
    b.ok(joined({ labels: ['usb', 'b', 'B'] }, ['s']))
    const ofNode = () => labelsOf(b.state.node(node)!)
    const ofDisk = () => labelsOf(b.state.disk(disk)!)
    expect([ofNode(), ofDisk()]).toEqual([['B', 'usb'], ['S']])
    b.ok({ kind: 'nodeLabel', node, labels: ['h'] })
    b.ok({ kind: 'diskLabel', disk, labels: [] })
    b.ok(joined({ labels: ['C'] }, ['T']))
    expect([ofNode(), ofDisk()]).toEqual([['H'], []])
    b.ok({ kind: 'nodeLabel', node, labels: undefined })
    b.ok({ kind: 'diskLabel', disk, labels: undefined })
    expect([ofNode(), ofDisk()]).toEqual([['C'], ['T']])
    b.ok(joined())
    expect([ofNode(), ofDisk()]).toEqual([[], []])
  })

  it('that are none are refused, whoever says them', () => {
    const b = new Bench()
    expect(b.errno(joined({ labels: ['USB'] }))).toBe('EINVAL')
    expect(b.errno(joined({}, ['?']))).toBe('EINVAL')
    expect(b.state.node(node)).toBeUndefined()
    b.ok(joined())
    expect(b.errno({ kind: 'nodeLabel', node, labels: ['no label'] })).toBe('EINVAL')
    expect(b.errno({ kind: 'diskLabel', disk, labels: ['1'] })).toBe('EINVAL')
    expect(b.errno({ kind: 'nodeLabel', node: 9 as NodeId, labels: ['A'] })).toBe('ENOENT')
    expect(b.errno({ kind: 'diskLabel', disk: 9 as DiskId, labels: ['A'] })).toBe('ENOENT')
  })

  it('that stand otherwise than they are written are found by the check', () => {
    for (const labels of [['B', 'A'], ['A', 'A'], ['a'], ['NO']]) {
      const b = new Bench()
      b.ok(joined())
      transact(b.store, b.state, () => {
        b.state.setNode(node, { ...b.state.node(node)!, labelsSet: labels })
        b.state.setDisk(disk, { ...b.state.disk(disk)!, labels })
      })
      expect(check(b.state).map(({ what }) => what)).toEqual([
        expect.stringContaining('disk 1: labels'),
        expect.stringContaining('chunkserver 1: labels'),
      ])
    }
  })
})

describe('a place', () => {
  it('is what the configuration said last; an empty word says nothing', () => {
    const b = new Bench()
    b.ok(joined({ place: { machine: 'nas', rack: 'r1', site: 's1' } }))
    expect(b.state.node(node)).toMatchObject({ machine: 'nas', rack: 'r1', site: 's1' })
    b.ok(joined({ place: { machine: '', rack: 'r2', site: undefined } }))
    expect(b.state.node(node)).toMatchObject({ machine: undefined, rack: 'r2', site: undefined })
  })
})

describe('numbers of chunkservers', () => {
  it('that could be given again are found by the check', () => {
    const b = new Bench()
    b.ok(joined())
    transact(b.store, b.state, () => b.state.setCounters({ nextNode: 1 }))
    expect(check(b.state)).toMatchObject([{ what: 'chunkserver 1: its number may be given again' }])
  })
})
