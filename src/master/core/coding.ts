/*
 * Chunks cut into parts, and put together again. Every part is a chunk with one copy; while the chunk lives that it is a
 * part of, all of its bytes count as live. What a crash leaves behind: parts of nothing, which `partsEnded` gives up.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import type { ChunkId, SessionId } from '../../base/ids.ts'
import { BLOCK_BYTES } from '../../base/limits.ts'
import { cannotOpen, confirmed, newChunk, orphan, putChunk, seal } from './chunks.ts'
import type { CommandOf } from './commands.ts'
import type { ChunkWished } from './commands-chunks.ts'
import type { ChunkRecord } from './records.ts'
import type { Work } from './work.ts'

const MASTER = 0 as SessionId

export function encodeBegun(work: Work, command: CommandOf<'encodeBegun'>): Result<unknown> {
  const { whole, parts } = command
  const refusal = cannotCut(work.state.chunk(whole)) ?? taken(work, command)
  if (refusal !== undefined) return refusal
  for (const { chunk, disk } of parts) newChunk(work, { chunk, disks: [disk] }, 1, MASTER, { whole })
  return ok({})
}

function taken(work: Work, { parts }: CommandOf<'encodeBegun'>): Result<never> | undefined {
  const seen = new Set<ChunkId>()
  for (const { chunk, disk } of parts) {
    const refusal = cannotOpen(work, chunk, [disk])
    if (refusal !== undefined) return refusal
    if (seen.has(chunk)) return refuse('EIO', `chunk number ${chunk} is given twice`)
    seen.add(chunk)
  }
  return undefined
}

function cannotCut(record: ChunkRecord | undefined): Result<never> | undefined {
  if (record === undefined) return refuse('ENOENT')
  if (record.state !== 'sealed') return refuse('EINVAL', 'not sealed')
  if (record.ec !== undefined || record.whole !== undefined) return refuse('EINVAL', 'cut into parts already')
  if (record.live === 0 || record.lost !== undefined) return refuse('EINVAL', 'dead, or not whole')
  return undefined
}

export function encoded(work: Work, command: CommandOf<'encoded'>): Result<unknown> {
  const { whole, data, parity, parts } = command
  const record = work.state.chunk(whole)
  const refusal = cannotCut(record)
  if (refusal !== undefined || record === undefined) return refusal ?? refuse('ENOENT')
  if (parts.length !== data + parity) return refuse('EINVAL', `${parts.length} parts of ${data} and ${parity}`)
  for (const { chunk } of parts) {
    const part = work.state.chunk(chunk)
    if (part?.state !== 'open' || part.whole !== whole) return refuse('EINVAL', `chunk ${chunk} is no part of it`)
  }
  putChunk(work, whole, { ...record, ec: { data, parity, parts: parts.map(({ chunk }) => chunk), present: 0 } })
  for (const { chunk, length } of parts) seal(work, chunk, { ...work.state.chunk(chunk)!, live: length }, length)
  work.touchChunk(whole)
  return ok({})
}

export function partsEnded(work: Work, command: CommandOf<'partsEnded'>): Result<unknown> {
  for (const chunk of command.parts) {
    const part = work.state.chunk(chunk)
    if (part?.whole === undefined || work.state.chunk(part.whole)?.ec?.parts.includes(chunk) === true) continue
    if (part.state !== 'open') orphan(work, chunk)
    else {
      // Nobody has read it: what a try that fails again and again leaves behind must not fill the disks for a grace.
      for (const disk of part.disks) work.unwanted(disk, chunk)
      putChunk(work, chunk, undefined)
    }
  }
  return ok({})
}

export function chunkWish(work: Work, { kind: _kind, ...wished }: CommandOf<'chunkWish'>): Result<unknown> {
  return wish(work, wished) ?? ok({})
}

/** Those that cannot have it any more are passed over: they were given up, or are looked at again. */
export function chunkWishes(work: Work, { wishes }: CommandOf<'chunkWishes'>): Result<unknown> {
  for (const wished of wishes) wish(work, wished)
  return ok({})
}

function wish(work: Work, { chunk, classId, phase, copies, code }: ChunkWished): Result<never> | undefined {
  const record = work.state.chunk(chunk)
  if (record === undefined || record.whole !== undefined) return refuse('ENOENT')
  if (record.state !== 'sealed') return refuse('EINVAL', 'not sealed')
  putChunk(work, chunk, { ...record, classId, phase, copies, code: codeFor(record.length, code) })
  work.touchChunk(chunk)
  return undefined
}

/** Of the code that its class asks for, what a chunk of this length has: no part may be empty, as one without a byte is dead. */
export const codeFor = <C extends { readonly data: number }>(length: number, code: C | undefined): C | undefined =>
  code !== undefined && length > (code.data - 1) * BLOCK_BYTES ? code : undefined

/** Which copies can be read now the shell has found out; here it is made sure that there is one. */
export function uncoded(work: Work, command: CommandOf<'uncoded'>): Result<unknown> {
  const record = work.state.chunk(command.whole)
  if (record?.ec === undefined) return refuse('ENOENT')
  if (confirmed(record).length === 0) return refuse('EBUSY', 'there is no copy of the whole')
  putChunk(work, command.whole, { ...record, ec: undefined })
  work.touchChunk(command.whole)
  return ok({})
}
