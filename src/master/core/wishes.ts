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

const copiesOf = ({ placing, unique, mode }: InForce): Omit<Wish, 'code'> => ({
  slots: slotsOf(placing).slice(0, SLOTS_MAX),
  unique,
  mode,
})

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

const wishes = new WeakMap<StorageClass, Map<Phase, Wish>>()

/**
 * Of a chunk: by its class, as far as its record has been told. A code that the record does not have (it is too short for
 * that), or a number of copies that it has not heard of yet, is not wished for.
 */
export function wishFor(
  { copies, code, phase: late }: Pick<ChunkRecord, 'copies' | 'code' | 'phase'>,
  cls: StorageClass,
): Wish {
  const phase = late ?? 'keep'
  let byPhase = wishes.get(cls)
  if (byPhase === undefined) {
    byPhase = new Map()
    wishes.set(cls, byPhase)
  }
  let wish = byPhase.get(phase)
  if (wish === undefined) {
    wish = wishOf(cls, phase)
    byPhase.set(phase, wish)
  }
  if (wish.slots.length !== copies) return { ...plainWish(copies), code: code && anyCode(code) }
  if (code === undefined) return wish.code === undefined ? wish : { ...wish, code: undefined }
  const known = wish.code !== undefined && wish.code.data === code.data && wish.code.parity === code.parity
  return known ? wish : { ...wish, code: anyCode(code) }
}

/** So many parts anywhere. */
export function anyCode({ data, parity }: { data: number; parity: number }): CodeWish {
  return { data, parity, slots: Array<LabelExpr>(data + parity).fill(ANY), unique: undefined, mode: 'std' }
}
