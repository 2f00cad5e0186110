/*
 * Random work for a filesystem, as values. An operation names paths and numbers only, never what an earlier one made, so
 * that any part of a list is a list again: that is what lets a failure be shrunk. Names come from a small set, so that
 * operations meet: most things asked for exist sometimes, and every refusal comes up.
 */

import type { Random } from '../../src/base/world.ts'

interface Bytes {
  readonly seed: number
  readonly length: number
}
interface At {
  readonly path: string
}
interface OfSlot {
  readonly slot: number
}

export type Operation = { readonly via: number } & (
  | ({ readonly op: 'create'; readonly mode: number } & At)
  | ({ readonly op: 'write' | 'rewrite'; readonly offset: number; readonly data: Bytes } & At)
  | ({ readonly op: 'append'; readonly data: Bytes } & At)
  | ({ readonly op: 'truncate'; readonly size: number } & At)
  | ({ readonly op: 'read' | 'stat' | 'readdir' | 'unlink' | 'rmdir' | 'readlink' | 'fsync' | 'listxattr' } & At)
  | ({ readonly op: 'mkdir' | 'mkfifo' | 'chmod'; readonly mode: number } & At)
  | ({ readonly op: 'symlink'; readonly target: string } & At)
  | ({ readonly op: 'chown'; readonly uid: number; readonly gid: number } & At)
  | ({
      readonly op: 'utimens'
      readonly atimeNs: readonly [number, number]
      readonly mtimeNs: readonly [number, number]
    } & At)
  | ({ readonly op: 'setxattr'; readonly name: string; readonly data: Bytes; readonly flags: 0 | 1 | 2 } & At)
  | ({ readonly op: 'getxattr' | 'removexattr'; readonly name: string } & At)
  | ({
      readonly op: 'reserve' | 'punch' | 'zero'
      readonly offset: number
      readonly length: number
      readonly keepSize: boolean
    } & At)
  | { readonly op: 'rename'; readonly path: string; readonly to: string; readonly flags: 0 | 1 | 2 }
  | { readonly op: 'link'; readonly path: string; readonly to: string }
  | {
      readonly op: 'copy'
      readonly path: string
      readonly to: string
      readonly offset: number
      readonly toOffset: number
      readonly length: number
    }
  | ({ readonly op: 'open'; readonly path: string; readonly how: 'read' | 'write' | 'create' | 'truncate' } & OfSlot)
  | ({ readonly op: 'slotWrite'; readonly offset: number; readonly data: Bytes } & OfSlot)
  | ({ readonly op: 'slotTruncate'; readonly size: number } & OfSlot)
  | ({ readonly op: 'slotRead' | 'slotStat' | 'slotSync' | 'slotClose' } & OfSlot)
)

/** What an operation answered: the number of its errno, or something to compare. */
export type Outcome = { readonly errno: number } | { readonly ok: unknown }

export interface Profile {
  /** 1: everything goes one way. More: operations alternate between as many ways to one filesystem. */
  readonly ways: 1 | 2 | 3
  /** Files kept open over other operations; off where only close-to-open is promised. */
  readonly slots: boolean
  /** Modes with set-id bits; off where the other side clears them by rules of its own. */
  readonly setId: boolean
  /** Names only, few of them, in few directories: everybody is in everybody's way. */
  readonly crowded?: boolean
}

export const SLOTS = 4
const NAMES = ['a', 'b', 'c', 'dd', 'e e', 'ü'] as const
const XATTRS = ['user.one', 'user.two', 'trusted.three'] as const

/** The same list for the same dice. */
export function generate(random: Random, count: number, profile: Profile): Operation[] {
  const pick = <T>(from: readonly T[]): T => from[random.below(from.length)]!
  const path = (): string => {
    const depth = 1 + random.below(3)
    return Array.from({ length: depth }, (_, i) => (i < depth - 1 ? pick(NAMES.slice(0, 3)) : pick(NAMES))).join('/')
  }
  const offset = (): number => {
    const near = pick([0, 0, 4096, 65_536, 131_072, 1_000_000])
    return Math.max(0, near + random.below(200) - 100)
  }
  const length = (): number =>
    pick([0, 1, random.below(300), 4096, 65_536 + random.below(20) - 10, random.below(200_000)])
  const data = (): Bytes => ({ seed: random.below(256), length: length() })
  const mode = (): number =>
    pick([0o644, 0o600, 0o777, 0o755, 0o400, 0o1777, ...(profile.setId ? [0o2755, 0o4755] : [])])
  const time = (): [number, number] => [
    pick([0, 1, 1_700_000_000, 2_000_000_000 + random.below(1000)]),
    random.below(1e9),
  ]
  const slot = (): number => random.below(SLOTS)

  const crowd = (): string => `${pick(NAMES.slice(0, 3))}/${pick(NAMES)}`
  const crowded: readonly (readonly [number, () => Operation])[] = [
    [12, () => ({ via: 0, op: 'create', path: crowd(), mode: mode() })],
    [5, () => ({ via: 0, op: 'write', path: crowd(), offset: 0, data: { seed: random.below(256), length: 100 } })],
    [3, () => ({ via: 0, op: 'append', path: crowd(), data: { seed: random.below(256), length: 50 } })],
    [4, () => ({ via: 0, op: 'read', path: crowd() })],
    [4, () => ({ via: 0, op: 'stat', path: crowd() })],
    [4, () => ({ via: 0, op: 'readdir', path: pick(NAMES.slice(0, 3)) })],
    [14, () => ({ via: 0, op: 'unlink', path: crowd() })],
    [6, () => ({ via: 0, op: 'mkdir', path: crowd(), mode: mode() })],
    [4, () => ({ via: 0, op: 'mkdir', path: pick(NAMES.slice(0, 3)), mode: mode() })],
    [3, () => ({ via: 0, op: 'create', path: `${crowd()}/${pick(NAMES.slice(0, 2))}`, mode: mode() })],
    [3, () => ({ via: 0, op: 'unlink', path: `${crowd()}/${pick(NAMES.slice(0, 2))}` })],
    [5, () => ({ via: 0, op: 'rmdir', path: crowd() })],
    [3, () => ({ via: 0, op: 'rmdir', path: pick(NAMES.slice(0, 3)) })],
    [2, () => ({ via: 0, op: 'mkfifo', path: crowd(), mode: mode() })],
    [4, () => ({ via: 0, op: 'symlink', path: crowd(), target: pick(NAMES) })],
    [1, () => ({ via: 0, op: 'readlink', path: crowd() })],
    [8, () => ({ via: 0, op: 'rename', path: crowd(), to: crowd(), flags: pick([0, 0, 0, 1, 2] as const) })],
    [
      2,
      () => ({
        via: 0,
        op: 'rename',
        path: pick(NAMES.slice(0, 3)),
        to: pick(NAMES.slice(0, 3)),
        flags: pick([0, 0, 2] as const),
      }),
    ],
    [4, () => ({ via: 0, op: 'link', path: crowd(), to: crowd() })],
    [2, () => ({ via: 0, op: 'chmod', path: pick(NAMES.slice(0, 3)), mode: mode() })],
    [2, () => ({ via: 0, op: 'utimens', path: pick(NAMES.slice(0, 3)), atimeNs: time(), mtimeNs: time() })],
    [1, () => ({ via: 0, op: 'chmod', path: crowd(), mode: mode() })],
    [1, () => ({ via: 0, op: 'fsync', path: crowd() })],
    [4, () => ({ via: 0, op: 'open', slot: slot(), path: crowd(), how: pick(['read', 'create'] as const) })],
    [3, () => ({ via: 0, op: 'slotClose', slot: slot() })],
  ]
  const all: readonly (readonly [number, () => Operation])[] = [
    [6, () => ({ via: 0, op: 'create', path: path(), mode: mode() })],
    [12, () => ({ via: 0, op: 'write', path: path(), offset: offset(), data: data() })],
    [4, () => ({ via: 0, op: 'rewrite', path: path(), offset: offset(), data: data() })],
    [5, () => ({ via: 0, op: 'append', path: path(), data: data() })],
    [5, () => ({ via: 0, op: 'truncate', path: path(), size: offset() })],
    [10, () => ({ via: 0, op: 'read', path: path() })],
    [6, () => ({ via: 0, op: 'stat', path: path() })],
    [4, () => ({ via: 0, op: 'readdir', path: path() })],
    [5, () => ({ via: 0, op: 'unlink', path: path() })],
    [3, () => ({ via: 0, op: 'rmdir', path: path() })],
    [10, () => ({ via: 0, op: 'mkdir', path: path(), mode: mode() })],
    [1, () => ({ via: 0, op: 'mkfifo', path: path(), mode: mode() })],
    [2, () => ({ via: 0, op: 'symlink', path: path(), target: random.below(2) ? path() : pick(NAMES) })],
    [1, () => ({ via: 0, op: 'readlink', path: path() })],
    [9, () => ({ via: 0, op: 'rename', path: path(), to: path(), flags: pick([0, 0, 0, 1, 2] as const) })],
    [4, () => ({ via: 0, op: 'link', path: path(), to: path() })],
    [3, () => ({ via: 0, op: 'chmod', path: path(), mode: mode() })],
    [2, () => ({ via: 0, op: 'chown', path: path(), uid: random.below(3) * 1000, gid: random.below(3) * 1000 })],
    [3, () => ({ via: 0, op: 'utimens', path: path(), atimeNs: time(), mtimeNs: time() })],
    [
      2,
      () => ({
        via: 0,
        op: 'setxattr',
        path: path(),
        name: pick(XATTRS),
        data: { seed: random.below(256), length: random.below(60) },
        flags: pick([0, 0, 1, 2] as const),
      }),
    ],
    [1, () => ({ via: 0, op: 'getxattr', path: path(), name: pick(XATTRS) })],
    [1, () => ({ via: 0, op: 'removexattr', path: path(), name: pick(XATTRS) })],
    [1, () => ({ via: 0, op: 'listxattr', path: path() })],
    [
      1,
      () => ({
        via: 0,
        op: 'reserve',
        path: path(),
        offset: offset(),
        length: 1 + length(),
        keepSize: random.below(2) === 0,
      }),
    ],
    [4, () => ({ via: 0, op: 'punch', path: path(), offset: offset(), length: 1 + length(), keepSize: true })],
    [
      2,
      () => ({
        via: 0,
        op: 'zero',
        path: path(),
        offset: offset(),
        length: 1 + length(),
        keepSize: random.below(2) === 0,
      }),
    ],
    [
      5,
      () => ({ via: 0, op: 'copy', path: path(), to: path(), offset: offset(), toOffset: offset(), length: length() }),
    ],
    [2, () => ({ via: 0, op: 'fsync', path: path() })],
    ...(profile.slots
      ? ([
          [
            6,
            () => ({
              via: 0,
              op: 'open',
              slot: slot(),
              path: path(),
              how: pick(['read', 'write', 'create', 'truncate'] as const),
            }),
          ],
          [9, () => ({ via: 0, op: 'slotWrite', slot: slot(), offset: offset(), data: data() })],
          [3, () => ({ via: 0, op: 'slotTruncate', slot: slot(), size: offset() })],
          [6, () => ({ via: 0, op: 'slotRead', slot: slot() })],
          [3, () => ({ via: 0, op: 'slotStat', slot: slot() })],
          [2, () => ({ via: 0, op: 'slotSync', slot: slot() })],
          [3, () => ({ via: 0, op: 'slotClose', slot: slot() })],
        ] as const satisfies readonly (readonly [number, () => Operation])[])
      : []),
  ]
  const kinds = profile.crowded ? crowded : all
  const weights = kinds.reduce((sum, [weight]) => sum + weight, 0)
  const one = (): Operation => {
    let dice = random.below(weights)
    for (const [weight, make] of kinds) {
      if (dice < weight) return make()
      dice -= weight
    }
    throw new Error('the dice fell off the table')
  }
  // Directories first, or most of what follows would only be told that there is nothing.
  const first = NAMES.slice(0, 3).map((name): Operation => ({ via: 0, op: 'mkdir', path: name, mode: 0o755 }))
  const rest = Array.from({ length: count }, one)
  let via = 0
  return [...first, ...rest].map((operation) => {
    if (random.below(profile.crowded ? 8 : 4) === 0) via = random.below(profile.ways)
    return { ...operation, via }
  })
}

const BLOCK = 251
/** What an operation writes; both sides make the same bytes from the same words. */
export function bytesOf({ seed, length }: Bytes): Buffer {
  const block = Buffer.from(Array.from({ length: BLOCK }, (_, i) => (seed + 37 * i) & 0xff))
  return Buffer.alloc(length, block)
}

/** One line for people. */
export const said = (operation: Operation): string => JSON.stringify(operation)
