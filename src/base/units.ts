/*
 * Sizes and durations as people write and read them. Sizes take 1024-steps for KiB … and 1000-steps for kB …; a bare
 * letter (k, M, G, T, P) is the 1000-step as in the disk list. Pure; refuses what it does not understand with undefined,
 * so that the caller can name file and key.
 */

const SIZE = /^\s*(\d+(?:\.\d+)?)\s*(?:(k|K|M|G|T|P|E)(i)?)?B?\s*$/
const STEPS = ['k', 'M', 'G', 'T', 'P', 'E']

/** "64 MiB", "1.5G", "4096" → bytes. */
export function parseBytes(text: string): number | undefined {
  const match = SIZE.exec(text)
  if (match === null) return undefined
  const power = match[2] === undefined ? 0 : STEPS.indexOf(match[2] === 'K' ? 'k' : match[2]) + 1
  const bytes = Math.round(Number(match[1]) * (match[3] === 'i' ? 1024 : 1000) ** power)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Three significant digits, 1024-steps: "0 B", "64.0 MiB", "1.50 TiB". */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  let value = bytes
  let unit = 'B'
  for (const step of ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']) {
    if (value < 1023.5) break
    value /= 1024
    unit = step
  }
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`
}

const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** "30s", "10 min", "1h30m", "7d" → milliseconds. A bare number is refused: nobody could say of what. */
export function parseDuration(text: string): number | undefined {
  const rest = text.trim()
  if (!/^(\d+(\.\d+)?\s*(ms|min|s|m|h|d|w)\s*)+$/.test(rest)) return rest === '0' ? 0 : undefined
  let total = 0
  for (const [, count, unit] of rest.matchAll(/(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)/g))
    total += Number(count) * (DURATION_MS[unit!] ?? 0)
  return Number.isSafeInteger(Math.round(total)) ? Math.round(total) : undefined
}

/** The two largest units: "250 ms", "42 s", "1 h 5 min", "3 d 2 h". */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  let seconds = Math.round(ms / 1000)
  const parts: string[] = []
  for (const [size, unit] of [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ] as const) {
    const count = Math.floor(seconds / size)
    seconds -= count * size
    if (count > 0) parts.push(`${count} ${unit}`)
    if (parts.length === 2) break
  }
  return parts.join(' ')
}
