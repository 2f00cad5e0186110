import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { PLACING_CHARS_MAX } from '../../src/base/limits.ts'
import {
  ANY,
  LabelError,
  type LabelExpr,
  labelsIn,
  matches,
  type Placing,
  parseLabels,
  parsePlacing,
  printExpr,
  printPlacing,
  slotsOf,
} from '../../src/topology/labels.ts'
import fc from '../support/properties.ts'

const vectors = JSON.parse(readFileSync(new URL('./label-vectors.json', import.meta.url), 'utf8')) as {
  accepted: [string, string][]
  refused_by_moosefs: string[]
}

const canonical = (text: string): string => printPlacing(parsePlacing(text)!)
const complaint = (text: string): string => {
  try {
    parsePlacing(text)
  } catch (error) {
    if (error instanceof LabelError) return error.message
    throw error
  }
  return 'accepted'
}

describe('the grammar of MooseFS 4', () => {
  test.each(vectors.accepted)('%s is written %s', (text, written) => expect(canonical(text)).toBe(written))

  test.each(vectors.refused_by_moosefs.filter((text) => text !== '@6+2'))('%j is refused', (text) =>
    expect(complaint(text)).toMatch(/^column \d+: /),
  )

  test('a lone - or ~ says that nothing is defined', () => {
    expect([parsePlacing('-'), parsePlacing(' ~ ')]).toEqual([undefined, undefined])
  })

  test('the case of letters and blanks mean nothing', () => {
    expect(canonical(' 2 h , h / [rack] : Strict ')).toBe('3H/[RACK]:STRICT')
  })

  test('or is weaker than and, and and weaker than not', () => {
    expect(canonical('A+BC')).toBe('A|B&C')
    expect(canonical('!(AB)+C||D&&E')).toBe('~(A&B)|C|D&E')
    expect(canonical('2AB')).toBe('2(A&B)')
  })
})

describe('what is added to it', () => {
  test.each([
    ['@6+2', '@6+2,*'],
    ['@16+4,A,B/[SITE]', '@16+4,A,B/[SITE]'],
    ['@2+1,{usb-backup}', '@2+1,{usb-backup}'],
    ['2{usb-backup}H,!{v1.0_x}/[s]:std', '2({usb-backup}&H),~{v1.0_x}/[SITE]:STD'],
    ['A/{b2}B-A{a1}:l', 'A/AB{a1}{b2}:LOOSE'],
    ['A/CXAB', 'A/A-CX'],
    ['@4+1,A,A', '@4+1,A'],
    ['@4+1:s', '@4+1,*:STRICT'],
  ])('%s is written %s', (text, written) => expect(canonical(text)).toBe(written))
})

describe('a refusal', () => {
  test.each([
    ['', "column 1: expected a label, '(', '[' or a negation or '*' but found the end"],
    ['A,', "column 3: expected a label, '(', '[' or a negation or '*' but found the end"],
    ['2:s', "column 2: expected a label, '(', '[' or a negation or '*' (like 2*) but found ':'"],
    ['A!B', "column 2: expected ',', '/', ':' or the end but found '!'"],
    ['A:x', "column 3: expected STRICT, STD or LOOSE but found 'x'"],
    ['A/[IP]/[RACK]', "column 7: expected ':' or the end but found '/'"],
    ['A:s:s', "column 4: expected the end but found ':'"],
    ['A/[HOST]', "column 4: expected IP, RACK or SITE but found 'HOST'"],
    ['A,9B', 'column 3: more than 9 copies'],
    ['@17+1', 'column 2: 17 data parts; there may be 2 to 16'],
    ['@8+9,A,B,C', 'column 4: 9 parity parts; there may be 1 to 4'],
    ['@4+1,A,B,C', "column 9: expected ',', '/', ':' or the end but found ','"],
    ['@x', "column 2: expected a number of parts but found 'x'"],
    ['(A', "column 3: expected ')' but found the end"],
    [
      'A{USB}',
      'column 2: "USB" is no label: a long name is of lower-case letters, digits, "-", "_" and ".", and begins with a letter or digit',
    ],
    ['{h}', 'column 1: {h}: a single letter stands without braces'],
    ['{usb', "column 1: a label opened with '{' has no '}'"],
    ['A/{aa}-{bb}', 'column 3: only single letters make a range'],
    [`${'('.repeat(40)}A`, 'column 33: more than 32 groups within one another'],
    ['A'.repeat(PLACING_CHARS_MAX + 1), `column 1001: longer than ${PLACING_CHARS_MAX} characters`],
    ['A'.repeat(600), `column 1: written out in full it is longer than ${PLACING_CHARS_MAX} characters`],
  ])('of %j says where and what was expected', (text, says) => {
    expect(complaint(text)).toBe(says)
  })

  test('is all that strange text gets: no other error, no endless work', () => {
    const sign = fc.constantFrom(...'AbZ{}usb-2.@=+&|*!~()[]/:,; 0129IPRACKSITE')
    fc.assert(
      fc.property(fc.array(sign, { maxLength: 60 }), (signs) => {
        complaint(signs.join(''))
      }),
      { numRuns: 3000 },
    )
  })
})

const anyLabel = fc.constantFrom('A', 'B', 'C', 'Z', 'usb', 'usb-backup')
/** As the parser makes them: lists of two and more, none of a kind directly within its own. */
const { anyExpr } = fc.letrec<{ anyExpr: LabelExpr }>((tie) => ({
  anyExpr: fc.oneof(
    { depthSize: 'small' },
    anyLabel.map((label): LabelExpr => ({ op: 'label', label })),
    tie('anyExpr').map((of): LabelExpr => ({ op: 'not', of })),
    ...(['and', 'or'] as const).map((op) =>
      fc
        .array(tie('anyExpr'), { minLength: 2, maxLength: 3 })
        .map((all): LabelExpr => ({ op, all: all.flatMap((one) => (one.op === op ? one.all : [one])) })),
    ),
  ),
}))
const anyWhere = fc.oneof(fc.constant(ANY), anyExpr)
const anyEnding = fc.record({
  unique: fc.constantFrom(
    undefined,
    { by: 'ip' } as const,
    { by: 'rack' } as const,
    { by: 'site' } as const,
    { by: 'labels', labels: ['A', 'B', 'C', 'X', 'ssd', 'usb'] } as const,
    { by: 'labels', labels: ['A', 'B'] } as const,
  ),
  mode: fc.constantFrom(undefined, 'loose', 'std', 'strict'),
})
const anyPlacing: fc.Arbitrary<Placing> = fc.oneof(
  fc
    .tuple(fc.array(anyWhere, { minLength: 1, maxLength: 9 }), anyEnding)
    .map(([slots, ending]) => ({ kind: 'copies', slots, ...ending }) as Placing),
  fc
    .tuple(
      fc.record({
        data: fc.integer({ min: 2, max: 16 }),
        parity: fc.integer({ min: 1, max: 4 }),
        dataLabels: anyWhere,
        parityLabels: anyWhere,
      }),
      anyEnding,
    )
    .map(([ec, ending]) => ({ kind: 'ec', dataByDefault: false, ...ec, ...ending }) as Placing),
)

describe('the canonical form', () => {
  test('says what was parsed', () => {
    fc.assert(
      fc.property(anyPlacing, (placing) => {
        const text = printPlacing(placing)
        fc.pre(text.length <= PLACING_CHARS_MAX)
        expect(parsePlacing(text)).toEqual(placing)
      }),
      { numRuns: 1000 },
    )
  })
})

/** The canonical form of an expression as JavaScript: an evaluator that shares nothing with ours but the text. */
function byJavaScript(text: string, labels: ReadonlySet<string>): boolean {
  const code = text
    .replaceAll(/\{([^}]*)\}|([A-Z])/g, (_, long?: string, letter?: string) => ` ${labels.has((long ?? letter)!)} `)
    .replaceAll('&', '&&')
    .replaceAll('|', '||')
    .replaceAll('~', '!')
  return new Function(`return ${code}`)() as boolean
}

describe('evaluation', () => {
  test('agrees with the same expression written in JavaScript', () => {
    fc.assert(
      fc.property(anyExpr, fc.uniqueArray(anyLabel), (expr, labels) => {
        const set = new Set(labels)
        expect(matches(expr, set)).toBe(byJavaScript(printExpr(expr), set))
      }),
      { numRuns: 1000 },
    )
  })

  test('* is any disk, also one without labels', () => {
    expect(matches(parseLabels('*'), new Set())).toBe(true)
    expect(matches(parseLabels('!A'), new Set())).toBe(true)
    expect(matches(parseLabels('A'), new Set())).toBe(false)
  })

  test('the slots of erasure coding are its data parts and then its parity parts', () => {
    expect(slotsOf(parsePlacing('@2+1,A,B')!).map(printExpr)).toEqual(['A', 'A', 'B'])
    expect(slotsOf(parsePlacing('2A,B')!).map(printExpr)).toEqual(['A', 'A', 'B'])
    expect([...labelsIn(parseLabels('A(B+!{usb})'))]).toEqual(['A', 'B', 'usb'])
  })
})
