/*
 * The rules of storage classes: making, changing and deleting them, which class a new inode has, and what happens when a
 * file is given another. A class cannot go while an inode (in the trash, too) or a pattern has it, so each counts its own.
 *
 * When the class of a file changes, or what a class says, chunks lie where they no longer belong. Chunks of a file are told
 * by `reclassChunks`, of a long one in steps (table reclass); a changed class is told to all chunks by the same walk as a
 * changed number of copies (counters.copiesToldTo).
 */

import { type Attr, withClass } from '../../base/attr.ts'
import { ok, type Result, refuse } from '../../base/fault.ts'
import { wrongWithGlob } from '../../base/glob.ts'
import type { Ino } from '../../base/ids.ts'
import { classByRules } from '../../topology/class-patterns.ts'
import { ClassError, readClass, wrongWithName } from '../../topology/storage-class.ts'
import { CLASSES_MAX, PATTERNS_MAX } from '../../wire/shapes.ts'
import { DEFAULT_CLASS } from './class-table.ts'
import type { CommandOf } from './commands.ts'
import { changeMany } from './many.ts'
import type { ClassRecord, InodeRecord } from './records.ts'
import type { Work } from './work.ts'

/** As an inode keeps it: of the default class nothing. */
export const kept = (classId: number): number => (classId === DEFAULT_CLASS ? 0 : classId)

// ---- classes

export function classSet(work: Work, { classId, text }: CommandOf<'classSet'>): Result<unknown> {
  const { state } = work
  const { classes } = state
  const before = classes.record(classId)
  if (classId === 0) return refuse('EINVAL', 'a class has a number')
  if (before === undefined && state.counters().nextClass !== undefined && classId < state.counters().nextClass!)
    return refuse('ENOENT', `no storage class ${classId}`)
  if (text.keep === '' && classId !== DEFAULT_CLASS) return refuse('EINVAL', '-K: a class needs the labels of KEEP')
  try {
    readClass(text, 1)
  } catch (error) {
    if (error instanceof ClassError) return refuse('EINVAL', error.message)
    throw error
  }
  const named = classNamed(work, text.name)
  if (named !== undefined && named !== classId) return refuse('EEXIST', `a storage class is called '${text.name}'`)
  if (before === undefined) {
    if (all(work).length >= CLASSES_MAX) return refuse('ENOSPC', `there are ${CLASSES_MAX} storage classes`)
    state.setCounters({ nextClass: classId + 1 })
  }
  // Also of the default class: from now on classes say something.
  state.setCounters({ nextClass: state.counters().nextClass ?? DEFAULT_CLASS + 1 })
  classes.set(classId, { version: 1, text, inodes: before?.inodes ?? 0 })
  if (before !== undefined && !alike(before.text, text)) state.setCounters({ copiesToldTo: 0 })
  return ok({ classId })
}

export function classRename(work: Work, { classId, name }: CommandOf<'classRename'>): Result<unknown> {
  const record = work.state.classes.record(classId)
  if (record === undefined) return refuse('ENOENT', `no storage class ${classId}`)
  const wrong = wrongWithName(name)
  if (wrong !== undefined) return refuse('EINVAL', wrong)
  const number = classId === 0 ? DEFAULT_CLASS : classId
  const named = classNamed(work, name)
  if (named !== undefined && named !== number) return refuse('EEXIST', `a storage class is called '${name}'`)
  work.state.classes.set(number, { ...record, text: { ...record.text, name } })
  return ok({})
}

export function classDelete(work: Work, { classId }: CommandOf<'classDelete'>): Result<unknown> {
  const { classes } = work.state
  const record = classes.record(classId)
  if (record === undefined) return refuse('ENOENT', `no storage class ${classId}`)
  if (kept(classId) === 0) return refuse('EINVAL', 'the default class cannot be deleted')
  if (record.inodes > 0)
    return refuse('EBUSY', `${record.inodes} files and directories have it, those in the trash too`)
  const pattern = classes.patterns().find((one) => one.pattern.classId === classId)
  if (pattern !== undefined) return refuse('EBUSY', `pattern ${pattern.number} gives it`)
  classes.set(classId, undefined)
  return ok({})
}

/** All records. Written first: the numbers are read from the store. */
function all(work: Work): { classId: number; record: ClassRecord }[] {
  const { classes } = work.state
  classes.flush()
  return classes.numbers().flatMap((classId) => {
    const record = classes.record(classId)
    return record === undefined ? [] : [{ classId, record }]
  })
}

const classNamed = (work: Work, name: string): number | undefined =>
  all(work).find(({ record }) => record.text.name === name)?.classId

/** In what says where chunks belong. */
function alike(a: ClassRecord['text'], b: ClassRecord['text']): boolean {
  const placing = ({ name: _name, description: _description, ...rest }: ClassRecord['text']): string =>
    JSON.stringify(Object.entries(rest).sort())
  return placing(a) === placing(b)
}

// ---- patterns

export function patternSet(work: Work, { number, pattern }: CommandOf<'patternSet'>): Result<unknown> {
  const { state } = work
  const patterns = state.classes.patterns()
  const wrong = wrongWithGlob(pattern.glob)
  if (wrong !== undefined) return refuse('EINVAL', `the pattern of names: ${wrong}`)
  if (number === 0) return refuse('EINVAL', 'a pattern has a number')
  if (state.classes.record(pattern.classId) === undefined)
    return refuse('ENOENT', `no storage class ${pattern.classId}`)
  const known = patterns.some((one) => one.number === number)
  const next = state.counters().nextClass ?? DEFAULT_CLASS + 1
  if (!known && number < next) return refuse('ENOENT', `no pattern ${number}`)
  if (!known && patterns.length >= PATTERNS_MAX) return refuse('ENOSPC', `there are ${PATTERNS_MAX} patterns`)
  const others = patterns.filter((one) => one.number !== number)
  const sorted = [...others, { number, pattern }].sort(
    (a, b) => b.pattern.priority - a.pattern.priority || a.number - b.number,
  )
  state.classes.setPatterns(sorted)
  if (!known) state.setCounters({ nextClass: number + 1 })
  return ok({ number })
}

export function patternDelete(work: Work, { number }: CommandOf<'patternDelete'>): Result<unknown> {
  const { classes } = work.state
  const patterns = classes.patterns()
  const others = patterns.filter((one) => one.number !== number)
  if (others.length === patterns.length) return refuse('ENOENT', `no pattern ${number}`)
  classes.setPatterns(others)
  return ok({})
}

// ---- inodes

/** The class of something new: of the first pattern that matches (they stand in order), or of its directory. */
export function classedAttr(work: Work, name: string, attr: Attr): Attr {
  const classId = classByRules(work.state.classes.rules(), name, attr)
  return classId === undefined ? attr : withClass(attr, kept(classId))
}

/** An inode came to a class (1) or left it (-1). */
export function countClass(work: Work, classId: number | undefined, by: 1 | -1): void {
  if (classId === undefined || classId === 0) return
  const record = work.state.classes.record(classId)
  if (record !== undefined) work.state.classes.set(classId, { ...record, inodes: Math.max(0, record.inodes + by) })
}

/** The record of an inode goes. */
export function forgetInode(work: Work, { attr }: InodeRecord): void {
  countClass(work, attr.classId, -1)
  if ((work.state.counters().reclassing ?? 0) > 0) setReclass(work, attr.ino, undefined)
  work.state.setInode(attr.ino, undefined)
}

export function classOf(work: Work, command: CommandOf<'classOf'>): Result<unknown> {
  const { state } = work
  if (state.classes.record(command.classId) === undefined)
    return refuse('ENOENT', `no storage class ${command.classId}`)
  const wanted = kept(command.classId)
  const onlyFrom = command.onlyFrom === undefined ? undefined : kept(command.onlyFrom)
  return changeMany(work, command, (record) => {
    const { ino, type, classId = 0 } = record.attr
    if (classId === wanted || (onlyFrom !== undefined && onlyFrom !== classId)) return false
    countClass(work, classId, -1)
    countClass(work, wanted, 1)
    const attr = { ...withClass(record.attr, wanted), version: record.attr.version + 1 }
    state.setInode(ino, { ...record, attr })
    work.touchInode(ino, false)
    if (type === 'file') reclassChunks(work, ino)
    return true
  })
}

// ---- chunks

/**
 * The class of a file has changed: its chunks are told, as far as the command has budget; the rest is left to `reclassed`.
 */
export function reclassChunks(work: Work, ino: Ino): void {
  tellFrom(work, ino, 0)
}

export function reclassed(work: Work, { limit }: CommandOf<'reclassed'>): Result<unknown> {
  work.reclassBudget = Math.min(work.reclassBudget, Math.max(1, limit))
  for (const ino of work.state.classes.reclassing(1024)) {
    if (work.reclassBudget <= 0) break
    tellFrom(work, ino, work.state.classes.reclass(ino) ?? 0)
  }
  return ok({})
}

function tellFrom(work: Work, ino: Ino, offset: number): void {
  const limit = Math.max(0, work.reclassBudget)
  const { extents, complete } =
    limit === 0 ? { extents: [], complete: false } : work.state.extents.from(ino, offset, limit)
  work.reclassBudget -= Math.max(1, extents.length)
  for (const { chunk } of extents) work.touchChunk(chunk)
  const last = extents.at(-1)
  setReclass(work, ino, complete ? undefined : last === undefined ? offset : last.offset + last.length)
}

function setReclass(work: Work, ino: Ino, offset: number | undefined): void {
  const { classes } = work.state
  const known = classes.reclass(ino) !== undefined
  if (offset === undefined && !known) return
  classes.setReclass(ino, offset)
  if (known === (offset !== undefined)) return
  const count = (work.state.counters().reclassing ?? 0) + (known ? -1 : 1)
  work.state.setCounters({ reclassing: count === 0 ? undefined : count })
}
