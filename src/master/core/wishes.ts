/*
 * What a chunk is to be, by its storage class and where it is in its life: so many copies, where; or so many parts, where.
 * Pure. Wishes are made once for each class and phase and shared by all chunks, because every look at a chunk asks.
 */

import { SLOTS_MAX } from '../../topology/assign.ts'
import { ANY, type LabelExpr, type LabelMode, slotsOf, type Unique } from '../../topology/labels.ts'
import { copiesUntilCoded, type InForce, inForce, type StorageClass } from '../../topology/storage-class.ts'
import type { ChunkRecord } from './records.ts'

/** Where a sealed chunk is in its class's life. */
export const PHASES = ['keep', 'archive', 'trash'] as const
export type Phase = (typeof PHASES)[number]

export interface Wish {
  /** One for each copy: of the whole, also of one that is to be erasure-coded and is not yet. */
  readonly slots: readonly LabelExpr[]
  readonly unique: Unique | undefined
  readonly mode: LabelMode
  /** What it is to be cut into, data parts first. */
  readonly code: CodeWish | undefined
}

export interface CodeWish {
  readonly data: number
  readonly parity: number
  readonly slots: readonly LabelExpr[]
  readonly unique: Unique | undefined
  readonly mode: LabelMode
}

export const wishedCopies = (wish: Wish): number => wish.slots.length

export function wishOf(cls: StorageClass, phase: Phase): Wish {
  const force = inForce(cls, phase)
  if (force.placing.kind === 'copies') return { ...copiesOf(force), code: undefined }
  const { data, parity } = force.placing
  return {
    ...copiesOf(copiesUntilCoded(cls)),
    code: { data, parity, slots: slotsOf(force.placing), unique: force.unique, mode: force.mode },
  }
}

const copiesOf = ({ placing, unique, mode }: InForce): Omit<Wish, 'code'> => ({ slots: slotsOf(placing), unique, mode })

const plain = new Map<number, Wish>()

/** So many copies anywhere. */
export function plainWish(copies: number): Wish {
  const wanted = Math.min(Math.max(1, copies), SLOTS_MAX)
  let wish = plain.get(wanted)
  if (wish === undefined) {
    wish = { slots: Array<LabelExpr>(wanted).fill(ANY), unique: undefined, mode: 'std', code: undefined }
    plain.set(wanted, wish)
  }
  return wish
}

/** What the record says of itself. */
export function wishFor({ copies, code }: Pick<ChunkRecord, 'copies' | 'code'>): Wish {
  const wish = plainWish(copies)
  if (code === undefined) return wish
  const { data, parity } = code
  const slots = Array<LabelExpr>(data + parity).fill(ANY)
  return { ...wish, code: { data, parity, slots, unique: undefined, mode: 'std' } }
}
