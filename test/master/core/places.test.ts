/* What chunkservers and disks are called and where they stand, as state: what holds, what survives, what is refused. */

import { describe, expect, it } from 'vitest'
import type { DiskId, NodeId, SessionId } from '../../../src/base/ids.ts'
import { apply } from '../../../src/master/core/apply.ts'
import { check } from '../../../src/master/core/check.ts'
import type { CommandOf } from '../../../src/master/core/commands.ts'
import { labelsOf } from '../../../src/master/core/records.ts'
import { transact } from '../../../src/master/core/state.ts'
import { Bench } from './support.ts'

const node = 1 as NodeId
const disk = 1 as DiskId

const joined = (more: Partial<CommandOf<'nodeJoined'>> = {}, diskLabels?: string[]): CommandOf<'nodeJoined'> => ({
  kind: 'nodeJoined',
  member: undefined,
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

describe('grace and maintenance', () => {
  it('of a chunkserver survive its registrations, and are taken away again', () => {
    const b = new Bench()
    b.ok(joined())
    b.ok({ kind: 'nodeGrace', node, graceMs: 60_000 })
    b.ok({ kind: 'nodeMaintenance', node, untilSec: 5_000 })
    b.ok(joined({ host: '10.0.0.2' }))
    expect(b.state.node(node)).toMatchObject({ host: '10.0.0.2', graceMs: 60_000, maintenanceUntilSec: 5_000 })
    b.ok({ kind: 'nodeGrace', node, graceMs: undefined })
    b.ok({ kind: 'nodeMaintenance', node, untilSec: undefined })
    expect(b.state.node(node)).toMatchObject({ graceMs: undefined, maintenanceUntilSec: undefined })
    expect(b.errno({ kind: 'nodeGrace', node: 9 as NodeId, graceMs: 1 })).toBe('ENOENT')
    expect(b.errno({ kind: 'nodeMaintenance', node: 9 as NodeId, untilSec: 1 })).toBe('ENOENT')
  })
})

describe('a chunkserver', () => {
  it('is forgotten when it has no disks, and its number is not given again', () => {
    const b = new Bench()
    b.ok(joined())
    expect(b.errno({ kind: 'nodeRemove', node })).toBe('EBUSY')
    b.ok({ kind: 'diskRemove', disk, force: false })
    b.ok({ kind: 'nodeRemove', node })
    expect(b.state.node(node)).toBeUndefined()
    expect(b.state.nodes()).toEqual([])
    expect(b.state.nextIds().node).toBe(2)
    expect(b.errno({ kind: 'nodeRemove', node })).toBe('ENOENT')
  })

  it('is kept for a disk that came in the same transaction, as in every replay', () => {
    const b = new Bench()
    b.ok(joined({ disks: [] }))
    const results = transact(b.store, b.state, () =>
      [joined(), { kind: 'nodeRemove', node } as const].map((command, i) => {
        const envelope = { sec: 9_000 + i, nsec: 0, session: 0 as SessionId, seq: 0, acked: 0 }
        return apply(b.state, { ...envelope, index: b.state.counters().index + 1 }, command).result
      }),
    )
    expect(results[1]).toMatchObject({ errno: 'EBUSY' })
    expect(check(b.state)).toEqual([])
  })
})

describe('a drain', () => {
  it('remembers that errors are its reason for as long as it lasts', () => {
    const b = new Bench()
    b.ok(joined())
    const drain = (drain: boolean, why?: 'errors') => b.ok({ kind: 'diskDrain', disk, drain, why })
    drain(true, 'errors')
    expect(b.state.disk(disk)).toMatchObject({ draining: true, drainedFor: 'errors' })
    drain(true)
    expect(b.state.disk(disk)).toMatchObject({ draining: true, drainedFor: 'errors' })
    drain(false)
    expect(b.state.disk(disk)).toMatchObject({ draining: false, drainedFor: undefined })
    drain(true)
    expect(b.state.disk(disk)).toMatchObject({ draining: true, drainedFor: undefined })
  })
})

describe('the check', () => {
  const findings = (spoil: (b: Bench) => void): string[] => {
    const b = new Bench()
    b.ok(joined())
    transact(b.store, b.state, () => spoil(b))
    return check(b.state).map(({ what }) => what)
  }
  it('finds numbers that could be given again, a reason without a drain, a disk of nobody', () => {
    expect(findings((b) => b.state.setCounters({ nextNode: 1 }))).toEqual([
      'chunkserver 1: its number may be given again',
    ])
    expect(findings((b) => b.state.setCounters({ nextDisk: 1 }))).toEqual(['disk 1: its number may be given again'])
    expect(findings((b) => b.state.setDisk(disk, { ...b.state.disk(disk)!, drainedFor: 'errors' }))).toEqual([
      'disk 1: drained for a reason, but not drained',
    ])
    expect(findings((b) => b.state.setSettings({ ...b.state.settings(), backupLabels: ['b'] }))).toEqual([
      'settings: labels b',
    ])
    expect(findings((b) => b.state.setNode(node, undefined))).toEqual(['disk 1: its node does not exist'])
  })
})
