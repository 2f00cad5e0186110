/* What nodes measure on its way to the master: what a node tells, what a hub keeps and passes on. */

import { describe, expect, test } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import type { Registrar } from '../../src/mesh/hub.ts'
import { Matrix, tellMatrix } from '../../src/mesh/matrix.ts'
import { PeersView } from '../../src/mesh/peers-view.ts'
import { FRESH_MS } from '../../src/topology/rtt-filter.ts'
import { MEASURED_MAX, type MeasuredPath, ROWS_MAX } from '../../src/wire/mesh-shapes.ts'
import type { Request } from '../../src/wire/protocol.ts'
import { TestClock } from '../master/harness.ts'
import { meshNode } from '../support/mesh.ts'
import { quietLog } from '../support/quiet-log.ts'

const path = (peer: number, baseMs = 1): MeasuredPath => ({
  ...{ peer: meshNode(peer), rounds: 6, baseUs: baseMs * 1000, srttUs: baseMs * 1000, rttvarUs: 100 },
  lossPpm: undefined,
})

describe('what a node tells of its peers', () => {
  const round = (id: string, rttsMs: number[], sent = 3) => ({ id, epoch: 0, sent, rttsMs })

  test('is the least, the usual and the share lost, of those that have ever answered', () => {
    const view = new PeersView(1500)
    view.keep([meshNode(1), meshNode(2)], 0)
    for (let n = 0; n < 30; n++) view.onRound(round(meshNode(1), [20.5, 21], 3), n * 1_000)
    view.onRound(round(meshNode(2), []), 0)
    const [told, ...others] = view.measured(30_000)
    expect(told).toMatchObject({ peer: meshNode(1), rounds: 30, baseUs: 20_500, srttUs: 20_500 })
    expect(told!.lossPpm).toBeGreaterThan(250_000)
    expect(others).toEqual([])
  })

  test('has no usual round trip of a peer that no longer answers, and keeps the least for ten minutes', () => {
    const view = new PeersView(1500)
    view.keep([meshNode(1)], 0)
    view.onRound(round(meshNode(1), [20, 21, 22]), 1_000)
    expect(view.measured(30_000)[0]).toMatchObject({ baseUs: 20_000, srttUs: 20_000, lossPpm: undefined })
    expect(view.measured(32_000)[0]).toMatchObject({ baseUs: 20_000, srttUs: undefined, rttvarUs: undefined })
    expect(view.measured(11 * 60_000)[0]!.baseUs).toBeUndefined()
  })

  test('is of no more peers than one message takes', () => {
    const view = new PeersView(1500)
    const ids = Array.from({ length: MEASURED_MAX + 50 }, (_, n) => meshNode(n + 1))
    view.keep(ids, 0)
    for (const id of ids) view.onRound(round(id, [1]), 0)
    expect(view.measured(1)).toHaveLength(MEASURED_MAX)
  })
})

describe('what a hub keeps', () => {
  test('is the last that each node has said, in pages, those that came since', async () => {
    const clock = new TestClock()
    const matrix = new Matrix(clock)
    for (let n = 1; n <= ROWS_MAX + 5; n++) matrix.take(meshNode(n), [path(99)])
    matrix.take(meshNode(1), [path(98)])
    await clock.pass(2_000)
    const first = matrix.page(0)
    expect(first.rows).toHaveLength(ROWS_MAX)
    expect(first.rows[0]).toMatchObject({ node: meshNode(2), ageMs: 2_000 })
    const second = matrix.page(first.turn)
    expect(second.rows.at(-1)).toEqual({ node: meshNode(1), ageMs: 2_000, paths: [path(98)] })
    expect(matrix.page(second.turn)).toEqual({ rows: [], turn: second.turn })
  })

  test('is no more than there may be nodes, and nothing that is too old to count', async () => {
    const clock = new TestClock()
    const matrix = new Matrix(clock)
    for (let n = 1; n <= MEASURED_MAX + 10; n++) matrix.take(meshNode(n), [])
    const all: string[] = []
    for (let page = matrix.page(0); page.rows.length > 0; page = matrix.page(page.turn))
      all.push(...page.rows.map(({ node }) => node))
    expect(all).toHaveLength(MEASURED_MAX)
    expect(all[0]).toBe(meshNode(11))
    await clock.pass(FRESH_MS)
    matrix.take(meshNode(1), [])
    expect(matrix.page(0).rows.map(({ node }) => node)).toEqual([meshNode(1)])
  })

  test('goes to the master with what the hub measures itself; what it did not take is told again', async () => {
    const clock = new TestClock()
    const matrix = new Matrix(clock)
    const told: Request<'meshMeasured'>[] = []
    let isAway = false
    const registrar: Registrar = {
      call: async (name, request) => {
        if (isAway) throw new FsError('ECONNREFUSED', name)
        told.push(request as Request<'meshMeasured'>)
        return {} as never
      },
    }
    const stop = new AbortController()
    const hub = meshNode(1)
    const running = tellMatrix(matrix, () => [path(2)], hub, registrar, clock, quietLog, stop.signal)
    matrix.take(meshNode(2), [path(1)])
    await clock.pass(15_000)
    const nodes = () => told.map(({ rows }) => rows.map(({ node }) => node))
    expect(nodes()).toEqual([[meshNode(2), hub]])
    expect(told[0]!.hub).toBe(hub)
    await clock.pass(15_000)
    expect(nodes()).toEqual([[meshNode(2), hub], [hub]])
    isAway = true
    matrix.take(meshNode(3), [path(1)])
    await clock.pass(30_000)
    isAway = false
    await clock.pass(15_000)
    expect(nodes().slice(2)).toEqual([[meshNode(3), hub]])
    stop.abort()
    await running
  })
})
