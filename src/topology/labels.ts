/*
 * The language in which people say where copies belong: `2H/[RACK]:s` is two copies on disks labelled H, in two racks,
 * nowhere else. It is the grammar of MooseFS 4, letter for letter, and a little more: names longer than a letter stand in
 * braces (`{usb-backup}`), `[SITE]` stands beside `[RACK]` and `[IP]`, erasure coding takes any 2 to 16 data and 1 to 4
 * parity parts. Parser, printer of the canonical form, evaluator; what the canonical form says is what was parsed.
 *
 *   placing := '-' | '~'                                      not defined
 *            | ( copies | coded ) [ '/' unique ] [ ':' mode ]
 *   copies  := clause { (',' | ';') clause }                  clause := [ '1'..'9' ] ( '*' | or )    a lone digit: any disk
 *   coded   := ( '@' | '=' ) [ data '+' ] parity [ ',' where [ ',' where ] ]     data parts, parity parts
 *   or      := and { ( '+' | '|' | '||' ) and }
 *   and     := not { [ '*' | '&' | '&&' ] not }               without a sign only before a label or a group
 *   not     := label | ( '-' | '~' | '!' ) not | '(' or ')' | '[' or ']'
 *   unique  := '[IP]' | '[RACK]' | '[SITE]' (or their first letter) | { label | letter '-' letter }
 *   mode    := 's' | 'strict' | 'l' | 'loose' | 'd' | 'std'
 *   label   := a letter, upper and lower case being one | '{' name '}'
 *
 * It refuses to know which disks there are.
 */

import { isRefusal } from '../base/fault.ts'
import { EC_DATA_MAX, EC_DATA_MIN, EC_PARITY_MAX, PLACING_CHARS_MAX } from '../base/limits.ts'
import { labelName, labelText } from './label-names.ts'

export type LabelExpr =
  | { readonly op: 'any' }
  | { readonly op: 'label'; readonly label: string }
  | { readonly op: 'not'; readonly of: LabelExpr }
  | { readonly op: 'and'; readonly all: readonly LabelExpr[] }
  | { readonly op: 'or'; readonly all: readonly LabelExpr[] }

/** What two copies must not have in common. Labels: the same ones out of these. */
export type Unique =
  | { readonly by: 'ip' | 'rack' | 'site' }
  | { readonly by: 'labels'; readonly labels: readonly string[] }

/** What happens when the disks asked for cannot take it: only they (strict), others when they are full (std), any (loose). */
export type LabelMode = 'loose' | 'std' | 'strict'

interface Ending {
  readonly unique: Unique | undefined
  readonly mode: LabelMode | undefined
}

/** One expression for each copy. */
export interface CopiesPlacing extends Ending {
  readonly kind: 'copies'
  readonly slots: readonly LabelExpr[]
}

export interface EcPlacing extends Ending {
  readonly kind: 'ec'
  readonly data: number
  readonly parity: number
  /** The number of data parts was left out. Kept, so that what was written can be written again. */
  readonly dataByDefault: boolean
  readonly dataLabels: LabelExpr
  readonly parityLabels: LabelExpr
}

export type Placing = CopiesPlacing | EcPlacing

export const COPIES_MAX = 9
/** Of `@2`, as in MooseFS. */
export const EC_DATA_DEFAULT = 8
/** Groups and negations within one another: the parser calls itself for each. */
const DEPTH_MAX = 32

export const ANY: LabelExpr = { op: 'any' }

/** `column` counts from 1. */
export class LabelError extends Error {
  readonly column: number
  constructor(column: number, what: string) {
    super(`column ${column}: ${what}`)
    this.name = 'LabelError'
    this.column = column
  }
}

/** Undefined: the text says that nothing is defined. Throws LabelError. */
export function parsePlacing(text: string): Placing | undefined {
  if (text.length > PLACING_CHARS_MAX)
    throw new LabelError(PLACING_CHARS_MAX + 1, `longer than ${PLACING_CHARS_MAX} characters`)
  const placing = new Reader(text).placing()
  // Signs that may be left out are written out in the canonical form, which has to be readable too.
  if (placing !== undefined && printPlacing(placing).length > PLACING_CHARS_MAX)
    throw new LabelError(1, `written out in full it is longer than ${PLACING_CHARS_MAX} characters`)
  return placing
}

/** The labels of a client or a search: one clause without number, unique and mode. Throws LabelError. */
export function parseLabels(text: string): LabelExpr {
  if (text.length > PLACING_CHARS_MAX)
    throw new LabelError(PLACING_CHARS_MAX + 1, `longer than ${PLACING_CHARS_MAX} characters`)
  return new Reader(text).only()
}

export function printPlacing(placing: Placing): string {
  const unique = placing.unique === undefined ? '' : `/${printUnique(placing.unique)}`
  const mode = placing.mode === undefined ? '' : `:${placing.mode.toUpperCase()}`
  return `${placing.kind === 'copies' ? printCopies(placing) : printEc(placing)}${unique}${mode}`
}

/** Neighbours that say the same are counted. */
function printCopies({ slots }: CopiesPlacing): string {
  const clauses: { slot: LabelExpr; text: string; times: number }[] = []
  for (const slot of slots) {
    const text = printExpr(slot)
    const last = clauses.at(-1)
    if (last?.text === text) last.times++
    else clauses.push({ slot, text, times: 1 })
  }
  return clauses
    .map(({ slot, text, times }) => (times === 1 ? text : `${times}${grouped(slot, ['or', 'and'])}`))
    .join(',')
}

function printEc(ec: EcPlacing): string {
  const [data, parity] = [printExpr(ec.dataLabels), printExpr(ec.parityLabels)]
  const parts = ec.dataByDefault ? `@${ec.parity}` : `@${ec.data}+${ec.parity}`
  return data === parity ? `${parts},${data}` : `${parts},${data},${parity}`
}

export function printExpr(expr: LabelExpr): string {
  switch (expr.op) {
    case 'any':
      return '*'
    case 'label':
      return labelText(expr.label)
    case 'not':
      return `~${grouped(expr.of, ['and', 'or'])}`
    case 'and':
      return expr.all.map((one) => grouped(one, ['or', 'and'])).join('&')
    case 'or':
      return expr.all.map((one) => grouped(one, ['or'])).join('|')
  }
}

const grouped = (expr: LabelExpr, inBrackets: readonly LabelExpr['op'][]): string =>
  inBrackets.includes(expr.op) ? `(${printExpr(expr)})` : printExpr(expr)

/** Three letters in a row are a range, as MooseFS prints them. */
function printUnique(unique: Unique): string {
  if (unique.by !== 'labels') return `[${unique.by.toUpperCase()}]`
  const letters = unique.labels.filter((label) => label.length === 1)
  let text = ''
  for (let i = 0; i < letters.length; ) {
    let end = i
    while (end + 1 < letters.length && letters[end + 1]!.charCodeAt(0) === letters[end]!.charCodeAt(0) + 1) end++
    text += end - i >= 2 ? `${letters[i]}-${letters[end]}` : letters.slice(i, end + 1).join('')
    i = end + 1
  }
  return (
    text +
    unique.labels
      .filter((label) => label.length > 1)
      .map(labelText)
      .join('')
  )
}

export function matches(expr: LabelExpr, labels: ReadonlySet<string>): boolean {
  switch (expr.op) {
    case 'any':
      return true
    case 'label':
      return labels.has(expr.label)
    case 'not':
      return !matches(expr.of, labels)
    case 'and':
      return expr.all.every((one) => matches(one, labels))
    case 'or':
      return expr.all.some((one) => matches(one, labels))
  }
}

/** One expression for each part: data parts first. */
export function slotsOf(placing: Placing): readonly LabelExpr[] {
  if (placing.kind === 'copies') return placing.slots
  const { data, parity, dataLabels, parityLabels } = placing
  return [...Array<LabelExpr>(data).fill(dataLabels), ...Array<LabelExpr>(parity).fill(parityLabels)]
}

/** Every label that an expression names. */
export function labelsIn(expr: LabelExpr, into: Set<string> = new Set()): Set<string> {
  if (expr.op === 'label') into.add(expr.label)
  else if (expr.op === 'not') labelsIn(expr.of, into)
  else if (expr.op !== 'any') for (const one of expr.all) labelsIn(one, into)
  return into
}

const MODES: Readonly<Record<string, LabelMode>> = {
  S: 'strict',
  STRICT: 'strict',
  L: 'loose',
  LOOSE: 'loose',
  D: 'std',
  STD: 'std',
}

/** "strict", "S", "std" …, as after the colon. */
export const labelModeOf = (text: string): LabelMode | undefined =>
  Object.hasOwn(MODES, text.toUpperCase()) ? MODES[text.toUpperCase()] : undefined

const PLACES: Readonly<Record<string, 'ip' | 'rack' | 'site'>> = {
  I: 'ip',
  IP: 'ip',
  R: 'rack',
  RACK: 'rack',
  S: 'site',
  SITE: 'site',
}

const GROUPS = [
  ['(', ')'],
  ['[', ']'],
] as const
const EXPECTED_LABEL = "a label, '(', '[' or a negation"

/** Recursive descent; blanks may stand anywhere but within a word. */
class Reader {
  readonly #text: string
  #at = 0
  #depth = 0

  constructor(text: string) {
    this.#text = text
  }

  placing(): Placing | undefined {
    if (/^\s*[-~]\s*$/.test(this.#text)) return undefined
    const start = this.#peek()
    const what = start === '@' || start === '=' ? this.#ec() : this.#copies()
    const unique = this.#take('/') ? this.#unique() : undefined
    const mode = this.#take(':') ? this.#mode() : undefined
    this.#end(unique === undefined && mode === undefined ? "',', '/', ':' or the end" : "':' or the end", mode)
    return { ...what, unique, mode }
  }

  only(): LabelExpr {
    const expr = this.#where()
    this.#end('the end', undefined)
    return expr
  }

  #end(expected: string, mode: LabelMode | undefined): void {
    if (this.#peek() !== '') throw this.#expected(mode === undefined ? expected : 'the end')
  }

  #copies(): { kind: 'copies'; slots: LabelExpr[] } {
    const slots: LabelExpr[] = []
    do {
      this.#peek()
      const column = this.#at + 1
      const digit = /[1-9]/.test(this.#peek()) ? Number(this.#next()) : undefined
      const expr = digit !== undefined && /^[,;/]?$/.test(this.#peek()) ? ANY : this.#where(digit)
      for (let i = 0; i < (digit ?? 1); i++) slots.push(expr)
      if (slots.length > COPIES_MAX) throw new LabelError(column, `more than ${COPIES_MAX} copies`)
    } while (this.#take(',') || this.#take(';'))
    return { kind: 'copies', slots }
  }

  #ec(): Omit<EcPlacing, 'unique' | 'mode'> {
    this.#next()
    let column = this.#column()
    let count = this.#number('a number of parts')
    const dataByDefault = !this.#take('+')
    const data = dataByDefault ? EC_DATA_DEFAULT : count
    if (!dataByDefault) {
      if (data < EC_DATA_MIN || data > EC_DATA_MAX)
        throw new LabelError(column, `${data} data parts; there may be ${EC_DATA_MIN} to ${EC_DATA_MAX}`)
      column = this.#column()
      count = this.#number('a number of parity parts')
    }
    if (count < 1 || count > EC_PARITY_MAX)
      throw new LabelError(column, `${count} parity parts; there may be 1 to ${EC_PARITY_MAX}`)
    const separator = (): boolean => this.#take(',') || this.#take(';')
    const dataLabels = separator() ? this.#where() : ANY
    const parityLabels = separator() ? this.#where() : dataLabels
    return { kind: 'ec', data, parity: count, dataByDefault, dataLabels, parityLabels }
  }

  #where(afterDigit?: number): LabelExpr {
    if (this.#take('*')) return ANY
    if (!this.#startsTerm() && !this.#before('-', '~', '!'))
      throw this.#expected(
        `${EXPECTED_LABEL} or '*'${afterDigit !== undefined && this.#before(':') ? ` (like ${afterDigit}*)` : ''}`,
      )
    return this.#or()
  }

  #or(): LabelExpr {
    const all = [this.#and()]
    while (this.#take('+') || this.#take('|')) {
      if (this.#text[this.#at - 1] === '|' && this.#text[this.#at] === '|') this.#at++
      all.push(this.#and())
    }
    return joined('or', all)
  }

  #and(): LabelExpr {
    const all = [this.#not()]
    for (;;) {
      if (this.#take('*')) all.push(this.#not())
      else if (this.#take('&')) {
        if (this.#text[this.#at] === '&') this.#at++
        all.push(this.#not())
      } else if (this.#startsTerm()) all.push(this.#not())
      else return joined('and', all)
    }
  }

  #not(): LabelExpr {
    if (++this.#depth > DEPTH_MAX)
      throw new LabelError(this.#column(), `more than ${DEPTH_MAX} groups within one another`)
    try {
      if (this.#take('-') || this.#take('~') || this.#take('!')) return { op: 'not', of: this.#not() }
      for (const [open, close] of GROUPS)
        if (this.#take(open)) {
          const inside = this.#or()
          if (!this.#take(close)) throw this.#expected(`'${close}'`)
          return inside
        }
      return { op: 'label', label: this.#label(EXPECTED_LABEL) }
    } finally {
      this.#depth--
    }
  }

  #label(expected: string): string {
    const column = this.#column()
    const start = this.#peek()
    if (/[a-zA-Z]/.test(start)) return this.#next().toUpperCase()
    if (start !== '{') throw this.#expected(expected)
    const end = this.#text.indexOf('}', this.#at)
    if (end < 0) throw new LabelError(column, "a label opened with '{' has no '}'")
    const name = this.#text.slice(this.#at + 1, end)
    const kept = labelName(name)
    if (isRefusal(kept)) throw new LabelError(column, kept.detail ?? 'no label')
    if (name.length === 1) throw new LabelError(column, `{${name}}: a single letter stands without braces`)
    this.#at = end + 1
    return name
  }

  #unique(): Unique {
    if (this.#take('[')) {
      const column = this.#column()
      const word = this.#word()
      const by = Object.hasOwn(PLACES, word.toUpperCase()) ? PLACES[word.toUpperCase()] : undefined
      if (by === undefined)
        throw new LabelError(column, `expected IP, RACK or SITE but found ${quoted(word || this.#peek())}`)
      if (!this.#take(']')) throw this.#expected("']'")
      return { by }
    }
    const labels = new Set<string>()
    do {
      const column = this.#column()
      const first = this.#label("a label, '[IP]', '[RACK]' or '[SITE]'")
      labels.add(first)
      if (!this.#take('-')) continue
      const last = this.#label('the last label of the range')
      if (first.length > 1 || last.length > 1) throw new LabelError(column, 'only single letters make a range')
      const [from, to] = [first.charCodeAt(0), last.charCodeAt(0)].sort((a, b) => a - b) as [number, number]
      for (let code = from; code <= to; code++) labels.add(String.fromCharCode(code))
    } while (this.#before('{') || /[a-zA-Z]/.test(this.#peek()))
    return { by: 'labels', labels: [...labels].sort(lettersFirst) }
  }

  #mode(): LabelMode {
    const column = this.#column()
    const word = this.#word()
    const mode = labelModeOf(word)
    if (mode === undefined)
      throw new LabelError(column, `expected STRICT, STD or LOOSE but found ${quoted(word || this.#peek())}`)
    return mode
  }

  #word(): string {
    this.#peek()
    const word = /^[a-zA-Z]*/.exec(this.#text.slice(this.#at))![0]
    this.#at += word.length
    return word
  }

  #number(expected: string): number {
    this.#peek()
    const digits = /^[0-9]{1,3}/.exec(this.#text.slice(this.#at))?.[0]
    if (digits === undefined) throw this.#expected(expected)
    this.#at += digits.length
    return Number(digits)
  }

  /** The next character that is no blank, or '' at the end. */
  #peek(): string {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++
    return this.#text[this.#at] ?? ''
  }

  #column(): number {
    this.#peek()
    return this.#at + 1
  }

  #next(): string {
    const found = this.#peek()
    this.#at++
    return found
  }

  #before(...signs: readonly string[]): boolean {
    return signs.includes(this.#peek())
  }

  #startsTerm(): boolean {
    return /[a-zA-Z({[]/.test(this.#peek())
  }

  #take(sign: string): boolean {
    if (this.#peek() !== sign) return false
    this.#at++
    return true
  }

  #expected(expected: string): LabelError {
    return new LabelError(this.#column(), `expected ${expected} but found ${quoted(this.#peek())}`)
  }
}

const quoted = (found: string): string => (found === '' ? 'the end' : `'${found}'`)

/** One of a kind needs no list, and lists of one kind within one another are one list. */
function joined(op: 'and' | 'or', all: readonly LabelExpr[]): LabelExpr {
  if (all.length === 1) return all[0]!
  return { op, all: all.flatMap((one) => (one.op === op ? one.all : [one])) }
}

/** A to Z, then names by spelling: one order for the same set however it was written. */
function lettersFirst(a: string, b: string): number {
  if ((a.length === 1) !== (b.length === 1)) return a.length === 1 ? -1 : 1
  return a < b ? -1 : a > b ? 1 : 0
}
