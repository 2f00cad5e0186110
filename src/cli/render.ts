/* Tables, bars and small phrases for people. Pure: values in, text out; nothing here knows what a cluster is. */

export interface Column<R> {
  readonly title: string
  readonly value: (row: R) => string | number
  /** Numbers and sizes read better on the right. */
  readonly right?: boolean
}

/** Columns two spaces apart, no lines: easy to read, easy to cut with awk. Empty: no text at all. */
export function table<R>(rows: readonly R[], columns: readonly Column<R>[]): string {
  if (rows.length === 0) return ''
  const cells = [columns.map((c) => c.title), ...rows.map((row) => columns.map((c) => printable(String(c.value(row)))))]
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => width(line[i]!))))
  return cells
    .map((line) =>
      line
        .map((cell, i) => {
          const space = ' '.repeat(widths[i]! - width(cell))
          return columns[i]!.right ? space + cell : cell + space
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Code points, not UTF-16 units; wide glyphs are rare in host names and paths. */
const width = (text: string): number => [...text].length

/** Control characters of a name must not reach the terminal: they could move the cursor or change colours. */
export const printable = (text: string): string =>
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)

/** A byte string (latin1) as people wrote it: UTF-8 where it is, otherwise escaped bytes. */
export function readableName(bytes: string): string {
  const raw = Uint8Array.from(bytes, (c) => c.charCodeAt(0))
  try {
    return printable(new TextDecoder('utf-8', { fatal: true }).decode(raw))
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return bytes.replaceAll(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
  }
}

/** The other way: what a person typed as the bytes of a name. */
export const nameBytes = (typed: string): string =>
  Array.from(new TextEncoder().encode(typed), (byte) => String.fromCharCode(byte)).join('')

/** `[#######-------]  50 %` */
export function bar(fraction: number, cells = 30): string {
  const share = Number.isFinite(fraction) ? Math.min(1, Math.max(0, fraction)) : 0
  const full = Math.floor(share * cells)
  return `[${'#'.repeat(full)}${'-'.repeat(cells - full)}] ${String(Math.floor(share * 100)).padStart(3)} %`
}

/** Raw bytes per logical one: 2.00 for two copies, 1.25 for 4+1; nothing of nothing. */
export const overhead = (rawBytes: number, logicalBytes: number): string =>
  logicalBytes === 0 ? '-' : (rawBytes / logicalBytes).toFixed(2)

/** "1 file", "3 files". */
export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`

/** A wall clock time in the local zone, to the second. */
export function when(ms: number): string {
  const date = new Date(ms)
  const two = (n: number): string => String(n).padStart(2, '0')
  return (
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  )
}
