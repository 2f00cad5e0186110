/*
 * Where a chunk is in the life that its storage class describes: which class counts for it, and whether it is kept,
 * archived, or held for the trash. Pure: the files in it and the time are arguments. A chunk has one life, also when many
 * files share it: it is archived when the youngest of them may be, and held for the trash when all of them are deleted.
 */

import type { Attr, Time } from '../../base/attr.ts'
import { archiveSince, type StorageClass } from '../../topology/storage-class.ts'
import type { ChunkRecord } from './records.ts'
import { type Phase, wishOf } from './wishes.ts'

export interface LivingFile {
  readonly attr: Attr
  readonly trashed: boolean
  /** How long it stays in the trash. */
  readonly retentionMs: number
}

export interface Life {
  /** 0: the default class. */
  readonly classId: number
  readonly phase: Phase
  readonly copies: number
  readonly code: { readonly data: number; readonly parity: number } | undefined
  /** When to look again, if nothing else happens before. */
  readonly dueMs: number | undefined
}

const msOf = ({ sec, nsec }: Time): number => sec * 1000 + Math.floor(nsec / 1e6)

/** Of files that count alike, what their chunk's life depends on. */
interface Gathered {
  readonly classes: Set<number>
  smallest: number
  ctimeMs: number
  mtimeMs: number
  atimeMs: number
  retentionMs: number
}

/** What counts of the files that a chunk has bytes of, gathered one by one: there may be any number of them. */
export class Living {
  #named: Gathered | undefined
  #trashed: Gathered | undefined

  add({ attr, trashed, retentionMs }: LivingFile): void {
    const sum = trashed ? (this.#trashed ??= nothingYet()) : (this.#named ??= nothingYet())
    sum.classes.add(attr.classId ?? 0)
    sum.smallest = Math.min(sum.smallest, attr.size)
    sum.ctimeMs = Math.max(sum.ctimeMs, msOf(attr.ctime))
    sum.mtimeMs = Math.max(sum.mtimeMs, msOf(attr.mtime))
    sum.atimeMs = Math.max(sum.atimeMs, msOf(attr.atime))
    sum.retentionMs = Math.min(sum.retentionMs, retentionMs)
  }

  /** Undefined: no file was there. */
  life(
    meaning: (classId: number) => StorageClass,
    record: Pick<ChunkRecord, 'createdSec' | 'phase'>,
    nowMs: number,
  ): Life | undefined {
    const counting = this.#named ?? this.#trashed
    if (counting === undefined) return undefined
    const classId = winner(counting.classes, meaning)
    const cls = meaning(classId)
    const { phase, dueMs } =
      this.#named === undefined ? deleted(counting, cls, record) : kept(counting, cls, record, nowMs)
    const wish = wishOf(cls, phase)
    const code = wish.code && { data: wish.code.data, parity: wish.code.parity }
    return { classId, phase, copies: wish.slots.length, code, dueMs }
  }
}

const nothingYet = (): Gathered => ({
  classes: new Set(),
  smallest: Number.POSITIVE_INFINITY,
  ctimeMs: Number.NEGATIVE_INFINITY,
  mtimeMs: Number.NEGATIVE_INFINITY,
  atimeMs: Number.NEGATIVE_INFINITY,
  retentionMs: Number.POSITIVE_INFINITY,
})

/** Of the classes of the files: the one of highest priority, of those the one with most copies, of those the oldest. */
function winner(classes: ReadonlySet<number>, meaning: (classId: number) => StorageClass): number {
  const copies = (classId: number): number => wishOf(meaning(classId), 'keep').slots.length
  return [...classes].sort((a, b) => meaning(b).priority - meaning(a).priority || copies(b) - copies(a) || a - b)[0]!
}

type Stage = Pick<Life, 'phase' | 'dueMs'>

function kept(
  files: Gathered,
  cls: StorageClass,
  record: Pick<ChunkRecord, 'createdSec' | 'phase'>,
  nowMs: number,
): Stage {
  const { archive, archiveBy, archiveAfterMs, minBytes } = cls
  if (archive === undefined || files.smallest < minBytes) return { phase: 'keep', dueMs: undefined }
  if (record.phase === 'archive' && !archiveBy.reversible) return { phase: 'archive', dueMs: undefined }
  const since = archiveBy.perChunk ? record.createdSec * 1000 : (archiveSince(archiveBy, files) ?? 0)
  const dueMs = archiveBy.fast ? nowMs : Math.max(0, since) + archiveAfterMs
  return dueMs <= nowMs ? { phase: 'archive', dueMs: undefined } : { phase: 'keep', dueMs }
}

function deleted({ retentionMs }: Gathered, cls: StorageClass, record: Pick<ChunkRecord, 'phase'>): Stage {
  if (cls.trash !== undefined && retentionMs >= cls.trashMinRetentionMs) return { phase: 'trash', dueMs: undefined }
  // Where it was when it was deleted.
  return { phase: record.phase === 'archive' ? 'archive' : 'keep', dueMs: undefined }
}
