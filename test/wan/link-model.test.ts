import { describe, expect, test } from 'vitest'
import { LinkModel, type LinkShape, PLAIN_LINK } from './link-model.ts'

function model(seed: string, change: Partial<LinkShape>): LinkModel {
  const link = new LinkModel(seed)
  link.reshape({ ...PLAIN_LINK, ...change })
  return link
}

/** Which of so many packets arrive, one a millisecond. */
const arrivals = (link: LinkModel, packets: number): boolean[] =>
  Array.from({ length: packets }, (_, i) => link.offer(1000, i) !== undefined)

describe('one direction of a link', () => {
  test('loses the same packets for one seed and others for another, whatever else is switched on', () => {
    const plain = arrivals(model('7', { lossRate: 0.1 }), 2000)
    expect(arrivals(model('7', { lossRate: 0.1, jitterMs: 9, delayMs: 40, reorderRate: 0.2 }), 2000)).toEqual(plain)
    expect(arrivals(model('8', { lossRate: 0.1 }), 2000)).not.toEqual(plain)
  })

  test('loses the share that it was told, by chance and in bursts', () => {
    const lost = (change: Partial<LinkShape>): number => {
      const link = model('3', change)
      arrivals(link, 100_000)
      return link.count.lost / 100_000
    }
    expect(lost({ lossRate: 0.01 })).toBeCloseTo(0.01, 2)
    // A sixth of the time is bad: 0.01 / (0.01 + 0.05).
    expect(lost({ burst: { enterRate: 0.01, leaveRate: 0.05, lossRate: 0.9 } })).toBeCloseTo(0.15, 1)
  })

  test('bursts lose packets in rows', () => {
    const link = model('4', { burst: { enterRate: 0.005, leaveRate: 0.1, lossRate: 1 } })
    const came = arrivals(link, 50_000)
    const rows = came.filter((now, i) => !now && came[i - 1] !== false).length
    expect(link.count.lost / rows).toBeGreaterThan(7)
    expect(link.count.lost / rows).toBeLessThan(14)
  })

  test('a rate spaces packets out, and what would wait longer than the queue is dropped', () => {
    // 1250 bytes at 10 Mbit/s are a millisecond; they come four times as fast.
    const link = model('5', { mbit: 10, queueMs: 50, delayMs: 20 })
    const due = Array.from({ length: 1000 }, (_, i) => link.offer(1250, i / 4)).filter((ms) => ms !== undefined)
    const gaps = due.slice(1).map((ms, i) => ms - due[i]!)
    expect(Math.min(...gaps)).toBeGreaterThan(0.999)
    expect(due.length).toBeGreaterThan(290)
    expect(due.length).toBeLessThan(310)
    expect(link.count.queueDrops).toBe(1000 - due.length)
    expect(Math.max(...due)).toBeLessThan(250 + 20 + 50 + 2)
  })

  test('jitter keeps the order, reordering does not', () => {
    const jitter = model('6', { delayMs: 10, jitterMs: 30 })
    const due = Array.from({ length: 500 }, (_, i) => jitter.offer(100, i)!)
    expect(due.every((ms, i) => i === 0 || ms >= due[i - 1]!)).toBe(true)
    expect(due.every((ms, i) => ms >= i + 10 && ms <= i + 40)).toBe(true)
    const shuffled = model('6', { delayMs: 10, reorderRate: 0.1, reorderMs: 5 })
    const late = Array.from({ length: 500 }, (_, i) => shuffled.offer(100, i)! - i - 10)
    expect(late.filter((ms) => ms === 5).length).toBeGreaterThan(20)
    expect(late.every((ms) => ms === 0 || ms === 5)).toBe(true)
  })

  test('packets that are too long, and all of them on a cut link, never arrive and are counted', () => {
    const link = model('9', { packetBytesMax: 1400 })
    expect(link.offer(1400, 0)).toBe(0)
    expect(link.offer(1401, 0)).toBeUndefined()
    link.reshape({ ...PLAIN_LINK, cut: true })
    expect(link.offer(100, 1)).toBeUndefined()
    expect(link.count).toMatchObject({ packets: 3, tooLong: 1, cut: 1, lost: 0 })
  })
})
