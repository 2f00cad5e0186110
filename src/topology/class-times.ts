/*
 * Times as MooseFS 4 writes them in storage classes: a bare number is hours (`36`), a number with a point may have a unit
 * (`1.5d`), whole weeks, days and hours stand side by side (`1w2d3h`). Undefined for anything else.
 */

const UNITS = [
  ['w', 168],
  ['d', 24],
  ['h', 1],
] as const

const HOUR_MS = 3_600_000

export function parseHours(text: string): number | undefined {
  const single = /^(\d{1,9}(?:\.\d{1,4})?)([hdw]?)$/i.exec(text)
  if (single !== null) {
    const hours = UNITS.find(([unit]) => unit === single[2]!.toLowerCase())?.[1] ?? 1
    return Math.round(Number(single[1]) * hours * HOUR_MS)
  }
  const parts = /^(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,9})h)?$/i.exec(text)
  if (text === '' || parts === null) return undefined
  return UNITS.reduce((sum, [, hours], i) => sum + Number(parts[i + 1] ?? 0) * hours * HOUR_MS, 0)
}

/** What parseHours reads back. To a ten-thousandth of an hour, as it reads. */
export function formatHours(ms: number): string {
  if (ms % HOUR_MS !== 0) return `${Number((ms / HOUR_MS).toFixed(4))}h`
  let left = ms / HOUR_MS
  let text = ''
  for (const [unit, hours] of UNITS) {
    const count = Math.floor(left / hours)
    left -= count * hours
    if (count > 0) text += `${count}${unit}`
  }
  return text === '' ? '0' : text
}
