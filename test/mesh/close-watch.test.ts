/*
 * Echoes kept for those who steer by them: each asker gets what came since it asked, and what is known of a peer otherwise is not
 * made of echoes that come ten times as often.
 */

import { expect, test } from 'vitest'
import { CloseWatch } from '../../src/mesh/close-watch.ts'
import { ECHOES_MAX, WAYS_MAX } from '../../src/wire/shapes.ts'

const round = (rttMs: number | undefined, epoch = 1) => ({
  ...{ id: 'fra', epoch, sent: 1 },
  rttsMs: rttMs === undefined ? [] : [rttMs],
})

test('Whoever asks gets what came since it asked, each for itself, and again when an answer was lost', () => {
  const watch = new CloseWatch()
  const first = watch.ask('fra', 0, 40, 0)
  expect(first.echoes).toEqual({ epoch: 0, baseUs: 40_000, rttsUs: [], lost: 0 })
  for (const rtt of [41, undefined, 42.5]) watch.heard(round(rtt), 100)
  const told = watch.ask('fra', first.at, 40, 200)
  expect(told.echoes).toEqual({ epoch: 1, baseUs: 40_000, rttsUs: [41_000, 42_500], lost: 1 })
  expect(watch.ask('fra', first.at, 40, 300)).toEqual(told)
  expect(watch.ask('fra', 0, 40, 300).echoes).toMatchObject({ rttsUs: [], lost: 0 })
  watch.heard(round(43), 400)
  expect(watch.ask('fra', told.at, undefined, 500).echoes).toMatchObject({ baseUs: undefined, rttsUs: [43_000] })
})

test('Echoes of a path that was left are not told of the next one', () => {
  const watch = new CloseWatch()
  const { at } = watch.ask('fra', 0, 40, 0)
  watch.heard(round(41, 1), 100)
  watch.heard(round(90, 2), 200)
  expect(watch.ask('fra', at, 90, 300).echoes).toMatchObject({ epoch: 2, rttsUs: [90_000], lost: 0 })
})

test('An asker that knew the agent of before begins anew', () => {
  const watch = new CloseWatch()
  watch.ask('fra', 0, 40, 0)
  watch.heard(round(41), 100)
  expect(watch.ask('fra', 5_000, 40, 200)).toMatchObject({ at: 2, echoes: { rttsUs: [], lost: 0 } })
})

test('A peer is watched while somebody asks; then every round counts again', () => {
  const watch = new CloseWatch()
  expect(watch.heard(round(41), 0)).toBe(true)
  watch.ask('fra', 0, 40, 0)
  const counted = Array.from({ length: 20 }, () => watch.heard(round(undefined), 100)).filter(Boolean)
  expect(counted).toHaveLength(2)
  expect([watch.isWatched('fra', 2_900), watch.isWatched('fra', 3_100)]).toEqual([true, false])
  expect([1, 2, 3].map(() => watch.heard(round(41), 3_100))).toEqual([true, true, true])
})

test('No more is kept than one message tells, of no more peers than one message names', () => {
  const watch = new CloseWatch()
  const { at } = watch.ask('fra', 0, 40, 0)
  for (let i = 0; i < 3 * ECHOES_MAX; i++) watch.heard(round(i), 100)
  expect(watch.ask('fra', at, 40, 200).echoes.rttsUs).toHaveLength(ECHOES_MAX)
  for (let i = 0; i < WAYS_MAX; i++) watch.ask(`other${i}`, 0, 1, 300)
  expect(watch.isWatched('fra', 300)).toBe(false)
  expect(watch.isWatched(`other${WAYS_MAX - 1}`, 300)).toBe(true)
})
