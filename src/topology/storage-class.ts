/*
 * A storage class: where the bytes of a file belong in each part of its life. They are written to the disks of CREATE, go
 * to those of KEEP as soon as nobody writes, to those of ARCHIVE after a delay, to those of TRASH when the file is deleted.
 * What is not said falls back: create and archive to keep, trash to whatever was in force before.
 *
 * The flags are those of MooseFS's mfsscadmin, so that a class can be carried over by copying the line: a bare number
 * after -d and -t is hours. It refuses to know files, chunks and disks: who asks says in which part of its life a file is.
 */

import { parseBytes } from '../base/units.ts'
import { formatHours, parseHours } from './class-times.ts'
import {
  ANY,
  type CopiesPlacing,
  LabelError,
  type LabelMode,
  labelModeOf,
  type Placing,
  parsePlacing,
  printPlacing,
  type Unique,
} from './labels.ts'

export type ClassMode = 'create' | 'keep' | 'archive' | 'trash'
export const CLASS_MODES: readonly ClassMode[] = ['create', 'keep', 'archive', 'trash']

/** When a file goes to the archive. */
export interface ArchiveBy {
  /** The times that count; the newest of them is the age of the file. None: only `fast` or `perChunk`. */
  readonly times: readonly ArchiveTime[]
  /** A file that becomes young again leaves the archive. */
  readonly reversible: boolean
  /** At once, without delay. */
  readonly fast: boolean
  /** By the age of each chunk, whatever the file's times say. */
  readonly perChunk: boolean
}
export type ArchiveTime = 'ctime' | 'mtime' | 'atime'

export interface StorageClass {
  readonly name: string
  readonly description: string
  readonly create: Placing | undefined
  readonly keep: Placing
  readonly archive: Placing | undefined
  readonly trash: Placing | undefined
  /** For placings that name no mode of their own. */
  readonly defaultMode: LabelMode
  readonly archiveAfterMs: number
  readonly archiveBy: ArchiveBy
  /** Shorter files are not archived. */
  readonly minBytes: number
  /** Files whose trash is emptied sooner are not moved to the disks of TRASH. */
  readonly trashMinRetentionMs: number
  /** Which class counts for a chunk that files of several classes share: the higher one. */
  readonly priority: number
}

/** A class as it is kept and sent: placings in the canonical form, '' where nothing is defined. */
export interface ClassText {
  readonly name: string
  readonly description: string
  readonly create: string
  readonly keep: string
  readonly archive: string
  readonly trash: string
  readonly defaultMode: LabelMode
  readonly archiveAfterMs: number
  readonly archiveBy: string
  readonly minBytes: number
  readonly trashMinRetentionMs: number
  readonly priority: number
}

/** Without a keep: so many copies anywhere. Throws ClassError. */
export function readClass(text: ClassText, copies: number): StorageClass {
  const placing = (flag: ClassFlag, typed: string): Placing | undefined =>
    typed === '' ? undefined : placingOf(flag, typed)
  const cls: StorageClass = {
    ...text,
    create: placing('C', text.create),
    keep: placing('K', text.keep) ?? copiesAnywhere(copies),
    archive: placing('A', text.archive),
    trash: placing('T', text.trash),
    archiveBy: parseArchiveBy(text.archiveBy),
  }
  const wrong = wrongWith(cls)
  if (wrong !== undefined) throw new ClassError(wrong)
  return cls
}

export function writeClass(cls: StorageClass): ClassText {
  const text = (placing: Placing | undefined): string => (placing === undefined ? '' : printPlacing(placing))
  return {
    ...cls,
    create: text(cls.create),
    keep: text(cls.keep),
    archive: text(cls.archive),
    trash: text(cls.trash),
    archiveBy: printArchiveBy(cls.archiveBy),
  }
}

/** As in MooseFS. Bytes of UTF-8. */
export const CLASS_NAME_BYTES_MAX = 255
export const CLASS_DESCRIPTION_BYTES_MAX = 255
export const PRIORITY_MAX = 0xffff_ffff
/** A century: what is longer is a slip of the pen. */
export const CLASS_TIME_MAX_MS = 100 * 365 * 86_400_000

export const ARCHIVE_AFTER_DEFAULT_MS = 24 * 3_600_000
export const ARCHIVE_BY_DEFAULT: ArchiveBy = { times: ['ctime'], reversible: false, fast: false, perChunk: false }

/** The flags as typed: what is absent is not said. */
export interface ClassFlags {
  readonly C?: string | undefined
  readonly K?: string | undefined
  readonly A?: string | undefined
  readonly T?: string | undefined
  readonly d?: string | undefined
  readonly s?: string | undefined
  readonly t?: string | undefined
  readonly m?: string | undefined
  readonly o?: string | undefined
  readonly p?: string | undefined
  readonly c?: string | undefined
}
export type ClassFlag = keyof ClassFlags
export const CLASS_FLAGS: readonly ClassFlag[] = ['C', 'K', 'A', 'T', 'd', 's', 't', 'm', 'o', 'p', 'c']

/** The flag that is wrong, and why. */
export class ClassError extends Error {
  constructor(what: string) {
    super(what)
    this.name = 'ClassError'
  }
}

/** A class like `before` (a new one: without) with what the flags say. Throws ClassError. */
export function classWith(name: string, flags: ClassFlags, before?: StorageClass): StorageClass {
  const placing = (flag: 'C' | 'K' | 'A' | 'T', now: Placing | undefined): Placing | undefined => {
    const typed = flags[flag]
    return typed === undefined ? now : placingOf(flag, typed)
  }
  const keep = placing('K', before?.keep)
  if (keep === undefined)
    throw new ClassError(
      flags.K === undefined ? '-K: a class needs the labels of KEEP' : '-K: KEEP cannot be undefined',
    )
  const made: StorageClass = {
    name,
    description: flags.c ?? before?.description ?? '',
    create: placing('C', before?.create),
    keep,
    archive: placing('A', before?.archive),
    trash: placing('T', before?.trash),
    defaultMode: flags.m === undefined ? (before?.defaultMode ?? 'std') : modeOf(flags.m),
    archiveAfterMs:
      flags.d === undefined ? (before?.archiveAfterMs ?? ARCHIVE_AFTER_DEFAULT_MS) : hoursOf('d', flags.d),
    archiveBy: flags.o === undefined ? (before?.archiveBy ?? ARCHIVE_BY_DEFAULT) : parseArchiveBy(flags.o),
    minBytes: flags.s === undefined ? (before?.minBytes ?? 0) : bytesOf(flags.s),
    trashMinRetentionMs: flags.t === undefined ? (before?.trashMinRetentionMs ?? 0) : hoursOf('t', flags.t),
    priority: flags.p === undefined ? (before?.priority ?? 0) : priorityOf(flags.p),
  }
  const wrong = wrongWith(made)
  if (wrong !== undefined) throw new ClassError(wrong)
  return made
}

/** The flags that make this class anew, in the canonical form. */
export function flagsOf(cls: StorageClass): ClassFlags {
  const said = (placing: Placing | undefined): string | undefined =>
    placing === undefined ? undefined : printPlacing(placing)
  const unless = <T>(value: T, usual: T, text: (value: T) => string): string | undefined =>
    value === usual ? undefined : text(value)
  return {
    C: said(cls.create),
    K: printPlacing(cls.keep),
    A: said(cls.archive),
    T: said(cls.trash),
    d: unless(cls.archiveAfterMs, ARCHIVE_AFTER_DEFAULT_MS, formatHours),
    s: unless(cls.minBytes, 0, printBytes),
    t: unless(cls.trashMinRetentionMs, 0, formatHours),
    m: unless(cls.defaultMode, 'std', (mode) => (mode === 'strict' ? 's' : 'l')),
    o: unless(printArchiveBy(cls.archiveBy), 'C', (text) => text),
    p: unless(cls.priority, 0, String),
    c: unless(cls.description, '', (text) => text),
  }
}

/** The line that makes this class: `-C I -K 2S/[RACK] ssdonly`. */
export function printClass(cls: StorageClass): string {
  const flags = flagsOf(cls)
  const said = CLASS_FLAGS.flatMap((flag) => (flags[flag] === undefined ? [] : [`-${flag} ${inQuotes(flags[flag])}`]))
  return [...said, inQuotes(cls.name)].join(' ')
}

/** A line as printClass writes it and as people type it after `mfsscadmin create`. Throws ClassError. */
export function parseClassLine(line: string): { names: string[]; flags: ClassFlags } {
  const flags: Partial<Record<ClassFlag, string>> = {}
  const names: string[] = []
  const words = wordsOf(line)
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (!/^-./.test(word.text) || word.quoted) {
      names.push(word.text)
      continue
    }
    const flag = word.text[1] as ClassFlag
    if (!CLASS_FLAGS.includes(flag)) throw new ClassError(`-${flag} is no flag of a class (${CLASS_FLAGS.join(' ')})`)
    if (flags[flag] !== undefined) throw new ClassError(`-${flag} is said twice`)
    const value = word.text.length > 2 ? word.text.slice(2) : words[++i]?.text
    if (value === undefined) throw new ClassError(`-${flag} needs a value`)
    flags[flag] = value
  }
  return { names, flags }
}

/** What stands against this class; undefined: nothing. */
export function wrongWith(cls: StorageClass): string | undefined {
  const name = wrongWithName(cls.name)
  if (name !== undefined) return name
  if (utf8Length(cls.description) > CLASS_DESCRIPTION_BYTES_MAX)
    return `-c: the description is longer than ${CLASS_DESCRIPTION_BYTES_MAX} bytes`
  if (cls.create?.kind === 'ec') return '-C: files are written as copies; erasure coding is for -K, -A and -T'
  for (const [flag, ms] of [
    ['-d', cls.archiveAfterMs],
    ['-t', cls.trashMinRetentionMs],
  ] as const)
    if (!Number.isSafeInteger(ms) || ms < 0 || ms > CLASS_TIME_MAX_MS) return `${flag}: a time from 0 to a century`
  if (!Number.isSafeInteger(cls.minBytes) || cls.minBytes < 0) return '-s: a number of bytes'
  if (!Number.isInteger(cls.priority) || cls.priority < 0 || cls.priority > PRIORITY_MAX)
    return `-p: a whole number from 0 to ${PRIORITY_MAX}`
  return wrongWithArchiveBy(cls.archiveBy)
}

export function wrongWithName(name: string): string | undefined {
  if (name === '' || utf8Length(name) > CLASS_NAME_BYTES_MAX)
    return `the name of a class has 1 to ${CLASS_NAME_BYTES_MAX} bytes`
  if (/[\0-\x1f\x7f/]/.test(name) || name.startsWith('-') || name !== name.trim())
    return `'${name}' cannot name a class: no '/', no control characters, no '-' in front, no blanks at the ends`
  return undefined
}

function wrongWithArchiveBy(by: ArchiveBy): string | undefined {
  if (by.fast && (by.times.length > 0 || by.reversible || by.perChunk)) return '-o: F stands alone'
  if (by.perChunk && (by.times.length > 0 || by.reversible)) return '-o: P stands alone'
  if (by.reversible && by.times.length === 0) return '-o: R needs one of C, M, A'
  if (by.times.length === 0 && !by.fast && !by.perChunk) return '-o: one of C, M, A, F, P is needed'
  return undefined
}

/** What counts for a file in a part of its life. */
export interface InForce {
  readonly placing: Placing
  /** Which of the placings this is: what the asked one fell back to. */
  readonly of: ClassMode
  readonly unique: Unique | undefined
  readonly mode: LabelMode
}

/**
 * `archived`: when it was deleted the file was in the archive, where it stays unless TRASH says otherwise. A file is
 * always written as copies: where keep is erasure coding and create is not said, as many copies as lose as many disks.
 */
export function inForce(cls: StorageClass, mode: ClassMode, archived = false): InForce {
  switch (mode) {
    case 'create':
      if (cls.create !== undefined) return force(cls, cls.create, 'create')
      return force(cls, copiesLike(cls.keep), 'keep')
    case 'keep':
      return force(cls, cls.keep, 'keep')
    case 'archive':
      return cls.archive === undefined ? inForce(cls, 'keep') : force(cls, cls.archive, 'archive')
    case 'trash':
      return cls.trash === undefined ? inForce(cls, archived ? 'archive' : 'keep') : force(cls, cls.trash, 'trash')
  }
}

/** What a file is held as while erasure coding is wanted and not yet made, or cannot be made: keep if that is copies. */
export function copiesUntilCoded(cls: StorageClass): InForce {
  return cls.keep.kind === 'copies' ? inForce(cls, 'keep') : inForce(cls, 'create')
}

function force(cls: StorageClass, placing: Placing, of: ClassMode): InForce {
  return { placing, of, unique: placing.unique, mode: placing.mode ?? cls.defaultMode }
}

function copiesLike(placing: Placing): CopiesPlacing {
  if (placing.kind === 'copies') return placing
  const { parity, dataLabels, unique, mode } = placing
  return { kind: 'copies', slots: Array(parity + 1).fill(dataLabels), unique, mode }
}

const copiesAnywhere = (copies: number): CopiesPlacing => ({
  kind: 'copies',
  slots: Array(copies).fill(ANY),
  unique: undefined,
  mode: undefined,
})

/** The class that a cluster begins with: so many copies on any disks. The number may be beyond what can be typed. */
export function anywhere(name: string, copies: number): StorageClass {
  return {
    name,
    description: '',
    create: undefined,
    keep: copiesAnywhere(copies),
    archive: undefined,
    trash: undefined,
    defaultMode: 'std',
    archiveAfterMs: ARCHIVE_AFTER_DEFAULT_MS,
    archiveBy: ARCHIVE_BY_DEFAULT,
    minBytes: 0,
    trashMinRetentionMs: 0,
    priority: 0,
  }
}

/** For `archiveBy` and a file's times: what its age counts from. Undefined: the file's times do not matter. */
export function archiveSince(
  by: ArchiveBy,
  times: { readonly ctimeMs: number; readonly mtimeMs: number; readonly atimeMs: number },
): number | undefined {
  if (by.times.length === 0) return undefined
  return Math.max(...by.times.map((time) => times[`${time}Ms`]))
}

const TIME_LETTERS = [
  ['C', 'ctime'],
  ['M', 'mtime'],
  ['A', 'atime'],
] as const satisfies readonly (readonly [string, ArchiveTime])[]

export function parseArchiveBy(text: string): ArchiveBy {
  const letters = text.toUpperCase()
  for (const letter of letters)
    if (!'CMARFP'.includes(letter)) throw new ClassError(`-o: '${letter}' is none of C, M, A, R, F, P`)
  const by = {
    times: TIME_LETTERS.filter(([letter]) => letters.includes(letter)).map(([, time]) => time),
    reversible: letters.includes('R'),
    fast: letters.includes('F'),
    perChunk: letters.includes('P'),
  }
  const wrong = wrongWithArchiveBy(by)
  if (wrong !== undefined) throw new ClassError(wrong)
  return by
}

export function printArchiveBy(by: ArchiveBy): string {
  const times = TIME_LETTERS.filter(([, time]) => by.times.includes(time)).map(([letter]) => letter)
  return [...times, by.reversible ? 'R' : '', by.fast ? 'F' : '', by.perChunk ? 'P' : ''].join('')
}

function placingOf(flag: ClassFlag, text: string): Placing | undefined {
  try {
    return parsePlacing(text)
  } catch (error) {
    if (error instanceof LabelError) throw new ClassError(`-${flag} '${text}': ${error.message}`)
    throw error
  }
}

function modeOf(text: string): LabelMode {
  const mode = labelModeOf(text)
  if (mode === undefined) throw new ClassError(`-m: '${text}' is none of loose (l), std (d), strict (s)`)
  return mode
}

function hoursOf(flag: ClassFlag, text: string): number {
  const ms = parseHours(text)
  if (ms === undefined)
    throw new ClassError(`-${flag}: '${text}' is no time: hours (36), 1.5d, or weeks, days, hours (1w2d3h)`)
  return ms
}

function bytesOf(text: string): number {
  const bytes = parseBytes(text)
  if (bytes === undefined) throw new ClassError(`-s: '${text}' is no size (4096, 512KiB, 1.5M)`)
  return bytes
}

function priorityOf(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new ClassError(`-p: '${text}' is no whole number from 0 to ${PRIORITY_MAX}`)
  return Number(text)
}

/** Exact: the largest unit that divides it. */
function printBytes(bytes: number): string {
  const step = (['GiB', 'MiB', 'KiB'] as const).find((_, i) => bytes % 1024 ** (3 - i) === 0)
  return step === undefined ? String(bytes) : `${bytes / 1024 ** { GiB: 3, MiB: 2, KiB: 1 }[step]}${step}`
}

/** Without an encoder: the room knows no I/O, and counting is enough. */
function utf8Length(text: string): number {
  let bytes = 0
  for (const char of text) {
    const code = char.codePointAt(0)!
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}

const PLAIN_WORD = /^[A-Za-z0-9_.,:/@=+*|~{}[\]-]+$/
/** As a POSIX shell reads it. */
const inQuotes = (text: string): string => (PLAIN_WORD.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)

/** A line as a shell would split it, without expansions. */
function wordsOf(line: string): { text: string; quoted: boolean }[] {
  const words: { text: string; quoted: boolean }[] = []
  let word: { text: string; quoted: boolean } | undefined
  for (let i = 0; i < line.length; i++) {
    const char = line[i]!
    if (/\s/.test(char)) {
      if (word !== undefined) words.push(word)
      word = undefined
      continue
    }
    word ??= { text: '', quoted: false }
    if (char === "'" || char === '"') {
      const end = line.indexOf(char, i + 1)
      if (end < 0) throw new ClassError(`a word opened with ${char} is not closed`)
      if (word.text === '') word.quoted = true
      word.text += line.slice(i + 1, end)
      i = end
    } else if (char === '\\' && i + 1 < line.length) word.text += line[++i]
    else word.text += char
  }
  if (word !== undefined) words.push(word)
  return words
}
