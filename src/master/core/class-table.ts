/*
 * Storage classes as the state keeps them: a record by number with how many inodes have the class, and all patterns in one
 * record. Records are held decoded and written back by flush(): a thousand files made in one class write it once. Class 1
 * is there without a record: as many copies as the setting says, anywhere. It knows no rules; those are in classes.ts.
 */

import { assert } from '../../base/fault.ts'
import type { Ino } from '../../base/ids.ts'
import { readClass, type StorageClass } from '../../topology/storage-class.ts'
import { CLASSES_MAX } from '../../wire/shapes.ts'
import { Held } from './held.ts'
import type { Kv } from './kv.ts'
import {
  type ClassRecord,
  classRecord,
  decodeRecord,
  encodeRecord,
  type NumberedPattern,
  pack,
  patternsRecord,
  unpack,
} from './records.ts'
import { key, numbersIn, tables } from './tables.ts'

/** The number of the class that everything has that has no other. In inodes and calls 0 says the same. */
export const DEFAULT_CLASS = 1
const DEFAULT_NAME = 'default'

type ClassText = ClassRecord['text']

export class ClassTable {
  readonly #kv: Kv
  readonly #copies: () => number
  readonly #records = new Held<number, ClassRecord>(CLASSES_MAX)
  /** What the texts mean; a count that changes leaves the text the object that it was. */
  readonly #meanings = new WeakMap<ClassText, { readonly copies: number; readonly meaning: StorageClass }>()
  #defaultText: ClassText | undefined
  #patterns: readonly NumberedPattern[] | undefined
  #rules: readonly NumberedPattern['pattern'][] | undefined

  /** `copies`: the setting. */
  constructor(kv: Kv, copies: () => number) {
    this.#kv = kv
    this.#copies = copies
  }

  flush(): void {
    this.#records.flush((classId, record) => {
      if (record === undefined) this.#kv.delete(key.class(classId))
      else this.#kv.put(key.class(classId), encodeRecord(classRecord, record))
    })
  }
  get clean(): boolean {
    return this.#records.changed === 0
  }
  forget(): void {
    this.#records.forget()
    this.#patterns = undefined
    this.#rules = undefined
  }

  /** Class 1 always; 0 is class 1. */
  record(classId: number): ClassRecord | undefined {
    const number = classId === 0 ? DEFAULT_CLASS : classId
    const found = this.#records.get(number, this.#read)
    return found ?? (number === DEFAULT_CLASS ? this.#unrecorded() : undefined)
  }
  readonly #read = (classId: number): ClassRecord | undefined => {
    const value = this.#kv.get(key.class(classId))
    return value === undefined ? undefined : decodeRecord(classRecord, value, `class ${classId}`)
  }
  /** Whether the default class has been given a meaning of its own. */
  get defaultSet(): boolean {
    return this.#records.get(DEFAULT_CLASS, this.#read) !== undefined
  }
  /** Whether files or directories have any but the default class. Between transactions. */
  get given(): boolean {
    return this.numbers().some((classId) => (this.record(classId)?.inodes ?? 0) > 0)
  }
  set(classId: number, record: ClassRecord | undefined): void {
    this.#records.set(classId, record)
  }

  #unrecorded(): ClassRecord {
    this.#defaultText ??= {
      name: DEFAULT_NAME,
      description: '',
      create: '',
      keep: '',
      archive: '',
      trash: '',
      defaultMode: 'std',
      archiveAfterMs: 86_400_000,
      archiveBy: 'C',
      minBytes: 0,
      trashMinRetentionMs: 0,
      priority: 0,
    }
    return { version: 1, text: this.#defaultText, inodes: 0 }
  }

  /** What a class means; of a number that no class has, the default one. */
  meaning(classId: number): StorageClass {
    const { text } = this.record(classId) ?? this.record(DEFAULT_CLASS)!
    const copies = this.#copies()
    const known = this.#meanings.get(text)
    if (known?.copies === copies) return known.meaning
    const meaning = readClass(text, copies)
    this.#meanings.set(text, { copies, meaning })
    return meaning
  }

  /** All numbers in order, the default class among them. */
  numbers(): number[] {
    assert(this.clean, 'the list of classes is asked for between transactions')
    const found: number[] = numbersIn(this.#kv, tables.class.prefix, '', Number.MAX_SAFE_INTEGER)
    return found[0] === DEFAULT_CLASS ? found : [DEFAULT_CLASS, ...found]
  }

  /** The patterns alone, in the order in which they count. */
  rules(): readonly NumberedPattern['pattern'][] {
    this.#rules ??= this.patterns().map(({ pattern }) => pattern)
    return this.#rules
  }

  patterns(): readonly NumberedPattern[] {
    if (this.#patterns === undefined) {
      const value = this.#kv.get(key.meta('patterns'))
      this.#patterns = value === undefined ? [] : decodeRecord(patternsRecord, value, 'patterns')
    }
    return this.#patterns
  }
  setPatterns(patterns: readonly NumberedPattern[]): void {
    if (patterns.length === 0) this.#kv.delete(key.meta('patterns'))
    else this.#kv.put(key.meta('patterns'), encodeRecord(patternsRecord, [...patterns]))
    this.#patterns = patterns
    this.#rules = undefined
  }

  // ---- files whose chunks are still being told

  /** Where it stopped. */
  reclass(ino: Ino): number | undefined {
    const value = this.#kv.get(key.reclass(ino))
    return value === undefined ? undefined : (unpack(value) as number)
  }
  setReclass(ino: Ino, offset: number | undefined): void {
    if (offset === undefined) this.#kv.delete(key.reclass(ino))
    else this.#kv.put(key.reclass(ino), pack(offset))
  }
  reclassing(limit: number): Ino[] {
    return numbersIn(this.#kv, tables.reclass.prefix, '', limit) as Ino[]
  }
}
