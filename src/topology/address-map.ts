/*
 * Which rack and site an address belongs to, in the syntax of MooseFS's mfstopology.cfg: one rule per line, an address and a
 * path; of several rules that match, the last one holds.
 *
 *   ADDRESS   *   A   A/BITS   A/MASK   A-B        A and B both IPv4, or both IPv6
 *   PATH      RACK   or   SITE|RACK                 further elements belong to the rack's name
 *   # begins a comment
 *
 * Pure: text and addresses are arguments. An address that is no number (a host name) is matched by `*` alone.
 */

import { type Result, refuse } from '../base/fault.ts'

export interface Region {
  readonly rack?: string
  readonly site?: string
}

export interface AddressMap {
  regionOf(address: string): Region
  readonly rules: number
}

/** A range of addresses of one family; both ends belong to it. */
interface Range {
  readonly family: 4 | 6
  readonly first: bigint
  readonly last: bigint
}
interface Rule {
  /** undefined: every address. */
  readonly range: Range | undefined
  readonly region: Region
}

/** A cluster has hundreds of networks at most; every lookup walks them once, and its answer is kept. */
const RULES_MAX = 10_000
const NAME_CHARS_MAX = 64

const NOWHERE: Region = {}
export const EMPTY_MAP: AddressMap = { regionOf: () => NOWHERE, rules: 0 }

/** A refusal names the line (from 1) and what was expected. */
export function parseAddressMap(text: string): Result<AddressMap> {
  const rules: Rule[] = []
  for (const [i, raw] of text.split('\n').entries()) {
    const line = raw.replace(/#.*$/, '').trim()
    if (line === '') continue
    const wrong = (what: string): Result<never> => refuse('EINVAL', `line ${i + 1}: ${what}`)
    const words = line.split(/\s+/)
    if (words.length !== 2) return wrong(`expected ADDRESS PATH, found "${line}"`)
    const [address, path] = words as [string, string]
    const range = address === '*' ? undefined : rangeOf(address)
    if (typeof range === 'string') return wrong(range)
    const region = regionFrom(path)
    if (typeof region === 'string') return wrong(region)
    if (rules.length === RULES_MAX) return wrong(`more than ${RULES_MAX} rules`)
    rules.push({ range, region })
  }
  const found = new Map<string, Region>()
  return {
    ok: {
      rules: rules.length,
      regionOf: (address) => {
        let region = found.get(address)
        if (region === undefined) {
          region = look(rules, address)
          // One entry per host that was ever asked for; strangers cannot ask.
          found.set(address, region)
        }
        return region
      },
    },
  }
}

function look(rules: readonly Rule[], address: string): Region {
  const number = numberOf(address)
  const matches = ({ range }: Rule): boolean =>
    range === undefined ||
    (number !== undefined &&
      range.family === number.family &&
      range.first <= number.value &&
      number.value <= range.last)
  return rules.findLast(matches)?.region ?? NOWHERE
}

function regionFrom(path: string): Region | string {
  const elements = path.split('|')
  if (elements.some((element) => element === '')) return `"${path}" has an empty element; expected RACK or SITE|RACK`
  if (elements.some((element) => element.length > NAME_CHARS_MAX))
    return `"${path}" has an element of more than ${NAME_CHARS_MAX} characters`
  if (elements.length === 1) return { rack: path }
  const [site, ...rack] = elements
  const name = rack.join('|')
  return name.length > NAME_CHARS_MAX
    ? `"${path}": the rack's name has more than ${NAME_CHARS_MAX} characters`
    : { site: site!, rack: name }
}

function rangeOf(text: string): Range | string {
  const [from, to, more] = text.split('-')
  if (to !== undefined) {
    const first = numberOf(from!)
    const last = numberOf(to)
    if (first === undefined || last === undefined || more !== undefined)
      return `"${text}": expected two addresses with "-" between them`
    if (first.family !== last.family) return `"${text}": IPv4 and IPv6 in one range`
    if (first.value > last.value) return `"${text}": the range ends before it begins`
    return { family: first.family, first: first.value, last: last.value }
  }
  const [address, mask, rest] = text.split('/')
  const base = numberOf(address!)
  if (base === undefined || rest !== undefined)
    return `"${text}": expected *, an address, ADDRESS/BITS, ADDRESS/MASK or FROM-TO`
  const width = base.family === 4 ? 32n : 128n
  const bits = mask === undefined ? width : bitsOf(mask, base.family)
  if (bits === undefined) return `"${text}": expected 0 to ${width} bits or a mask after "/", found "${mask}"`
  const rows = width - bits
  const first = (base.value >> rows) << rows
  return { family: base.family, first, last: first | ((1n << rows) - 1n) }
}

/** `24` or `255.255.255.0`, whose ones all come before its zeros. */
function bitsOf(mask: string, family: 4 | 6): bigint | undefined {
  const width = family === 4 ? 32n : 128n
  if (/^\d{1,3}$/.test(mask)) return BigInt(mask) <= width ? BigInt(mask) : undefined
  const number = numberOf(mask)
  if (number === undefined || number.family !== family) return undefined
  for (let bits = 0n; bits <= width; bits++) {
    const rest = width - bits
    if (number.value === (1n << width) - 1n - ((1n << rest) - 1n)) return bits
  }
  return undefined
}

interface AddressNumber {
  readonly family: 4 | 6
  readonly value: bigint
}

/** The number of an IPv4 or IPv6 address; an IPv4 address in IPv6 form (::ffff:1.2.3.4) is the IPv4 address. */
export function numberOf(address: string): AddressNumber | undefined {
  const text = address.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '')
  const four = quad(text)
  if (four !== undefined) return { family: 4, value: four }
  if (!text.includes(':')) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const groups = halves.map((half) => (half === '' ? [] : groupsOf(half)))
  if (groups.some((group) => group === undefined)) return undefined
  const [head, tail] = groups as number[][]
  const known = head!.length + (tail?.length ?? 0)
  if (tail === undefined ? known !== 8 : known > 7) return undefined
  const all = [...head!, ...Array.from({ length: 8 - known }, () => 0), ...(tail ?? [])]
  const value = all.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n)
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffff_ffffn } : { family: 6, value }
}

function groupsOf(half: string): number[] | undefined {
  const words = half.split(':')
  const groups: number[] = []
  for (const [i, word] of words.entries()) {
    const four = i === words.length - 1 ? quad(word) : undefined
    if (four !== undefined) groups.push(Number(four >> 16n), Number(four & 0xffffn))
    else if (/^[0-9a-f]{1,4}$/i.test(word)) groups.push(Number.parseInt(word, 16))
    else return undefined
  }
  return groups
}

function quad(text: string): bigint | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number)
  if (parts === undefined || parts.some((part) => part > 255)) return undefined
  return parts.reduce((sum, part) => (sum << 8n) | BigInt(part), 0n)
}
