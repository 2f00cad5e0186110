/*
 * What a chunk lacks of what its class asks for, in words for people. Judged as things are at this moment: a copy that is
 * away is missing here although it may be waited for, and what is in excess is told too. Pure. What is done about it
 * is repair.ts; the two look at the same wish and the same disks.
 */

import { assign, type Fit } from '../../topology/assign.ts'
import { printExpr } from '../../topology/labels.ts'
import { type DiskMap, filled, liveOf, type RepairChunk } from './repair.ts'
import { wishedCopies } from './wishes.ts'

export interface Wanting {
  /** Copies, or parts once it is cut into them. */
  readonly wanted: number
  readonly there: number
  readonly missing: readonly string[]
}

export function wanting(chunk: RepairChunk, disks: DiskMap): Wanting {
  const copies = wishedCopies(chunk.wish)
  const live = liveOf(chunk, disks)
  // Until it is sealed it has what its writer was given; nothing is made of it before.
  if (!chunk.sealed) return { wanted: chunk.disks.length, there: live.length, missing: [] }
  return chunk.ec === undefined ? ofCopies(chunk, disks) : ofParts(chunk, chunk.ec, disks, copies)
}

function ofCopies(chunk: RepairChunk, disks: DiskMap): Wanting {
  const { wish } = chunk
  const live = liveOf(chunk, disks)
  const steady = live.filter((disk) => !disk.draining)
  const { slots, surplus } = filled(wish, steady)
  const missing: string[] = chunk.cut ? ['its end is on no disk'] : []
  const absent = new Map<string, number>()
  for (const [i, { held, fit }] of slots.entries()) {
    const labels = printExpr(wish.slots[i]!)
    if (held === undefined) absent.set(labels, (absent.get(labels) ?? 0) + 1)
    else if (fit !== 'right') missing.push(`disk ${held.disk} ${wrongBy(fit, labels)}`)
  }
  for (const [labels, n] of absent) missing.push(`${n === 1 ? 'a copy' : `${n} copies`}${onLabels(labels)}`)
  for (const { disk, draining } of live) if (draining) missing.push(`disk ${disk} is to be emptied`)
  if (surplus.length > 0) missing.push(`${surplus.length} more than wanted, to be dropped`)
  if (wish.code !== undefined) missing.push(`to be cut into ${wish.code.data} + ${wish.code.parity} parts`)
  return { wanted: slots.length, there: live.length, missing }
}

function ofParts(chunk: RepairChunk, ec: NonNullable<RepairChunk['ec']>, disks: DiskMap, copies: number): Wanting {
  const { code } = chunk.wish
  const live = ec.parts.map((part) => liveOf(part, disks))
  const there = live.filter((holders) => holders.length > 0).length
  const of = { wanted: ec.parts.length, there }
  const missing: string[] = []
  for (const [i, holders] of live.entries()) {
    if (holders.length === 0) missing.push(`part ${i + 1} is on no disk that can be read`)
    else if (holders.every((disk) => disk.draining))
      missing.push(`part ${i + 1} is on disk ${holders[0]!.disk}, which is to be emptied`)
  }
  if (code === undefined) missing.push(`to be put together into ${copies === 1 ? '1 copy' : `${copies} copies`}`)
  else if (code.data !== ec.data || code.parity !== ec.parity)
    missing.push(`to be cut anew, into ${code.data} + ${code.parity} parts`)
  else {
    const held = live.flatMap((holders, slot) => holders.filter((d) => !d.draining).map((d) => ({ ...d, slot })))
    const { slots } = assign({ slots: code.slots, unique: code.unique, mode: 'std' }, held, [])
    for (const [i, { held: holder, fit }] of slots.entries())
      if (holder !== undefined && fit !== 'right')
        missing.push(`part ${i + 1}: disk ${holder.disk} ${wrongBy(fit, printExpr(code.slots[i]!))}`)
    if (there === ec.parts.length && chunk.disks.length > 0) missing.push('copies of the whole, to be dropped')
  }
  return { ...of, missing }
}

const onLabels = (labels: string): string => (labels === '*' ? '' : ` on ${labels}`)

function wrongBy(fit: Fit | undefined, labels: string): string {
  switch (fit) {
    case 'label':
      return `stands in for one of ${labels}`
    case 'unique':
      return 'is too near another one'
    case 'both':
      return `stands in for one of ${labels} and is too near another one`
    default:
      return 'is on the chunkserver of another part'
  }
}
