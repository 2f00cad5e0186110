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

/** `files`: those that the chunk has bytes of, at least one. */
export function lifeOf(
  files: readonly LivingFile[],
  meaning: (classId: number) => StorageClass,
  record: Pick<ChunkRecord, 'createdSec' | 'phase'>,
  nowMs: number,
): Life {
  const named = files.filter((file) => !file.trashed)
  const counting = named.length > 0 ? named : files
  const classId = winner(counting, meaning)
  const cls = meaning(classId)
  const { phase, dueMs } = named.length > 0 ? kept(named, cls, record, nowMs) : deleted(files, cls, record)
  const wish = wishOf(cls, phase)
  const code = wish.code && { data: wish.code.data, parity: wish.code.parity }
  return { classId, phase, copies: wish.slots.length, code, dueMs }
}

/** Of the classes of the files: the one of highest priority, of those the one with most copies, of those the oldest. */
function winner(files: readonly LivingFile[], meaning: (classId: number) => StorageClass): number {
  const classes = [...new Set(files.map(({ attr }) => attr.classId ?? 0))]
  const copies = (classId: number): number => wishOf(meaning(classId), 'keep').slots.length
  return classes.sort((a, b) => meaning(b).priority - meaning(a).priority || copies(b) - copies(a) || a - b)[0]!
}

type Stage = Pick<Life, 'phase' | 'dueMs'>

function kept(
  files: readonly LivingFile[],
  cls: StorageClass,
  record: Pick<ChunkRecord, 'createdSec' | 'phase'>,
  nowMs: number,
): Stage {
  const { archive, archiveBy, archiveAfterMs, minBytes } = cls
  if (archive === undefined || files.some(({ attr }) => attr.size < minBytes))
    return { phase: 'keep', dueMs: undefined }
  if (record.phase === 'archive' && !archiveBy.reversible) return { phase: 'archive', dueMs: undefined }
  const sinces = archiveBy.perChunk
    ? [record.createdSec * 1000]
    : files.flatMap(({ attr }) => {
        const times = { ctimeMs: msOf(attr.ctime), mtimeMs: msOf(attr.mtime), atimeMs: msOf(attr.atime) }
        return archiveSince(archiveBy, times) ?? []
      })
  const dueMs = archiveBy.fast ? nowMs : Math.max(0, ...sinces) + archiveAfterMs
  return dueMs <= nowMs ? { phase: 'archive', dueMs: undefined } : { phase: 'keep', dueMs }
}

function deleted(files: readonly LivingFile[], cls: StorageClass, record: Pick<ChunkRecord, 'phase'>): Stage {
  const retentionMs = Math.min(...files.map((file) => file.retentionMs))
  if (cls.trash !== undefined && retentionMs >= cls.trashMinRetentionMs) return { phase: 'trash', dueMs: undefined }
  // Where it was when it was deleted.
  return { phase: record.phase === 'archive' ? 'archive' : 'keep', dueMs: undefined }
}
