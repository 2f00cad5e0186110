import { describe, expect, it } from 'vitest'
import { formatBytes, formatDuration, parseBytes, parseDuration } from '../../src/base/units.ts'

describe('units', () => {
  it('read sizes with 1000- and 1024-steps', () => {
    expect(parseBytes('64 MiB')).toBe(64 * 1024 * 1024)
    expect(parseBytes('1.5kB')).toBe(1500)
    expect(parseBytes('2G')).toBe(2e9)
    expect(parseBytes('4096')).toBe(4096)
    for (const wrong of ['', '-1', '5 X', '1 MiB 2', 'MiB', '9999999E']) expect(parseBytes(wrong)).toBeUndefined()
  })
  it('show sizes with three digits', () => {
    expect(formatBytes(0)).toBe('0 B')
    expect(formatBytes(1023)).toBe('1023 B')
    expect(formatBytes(1536)).toBe('1.50 KiB')
    expect(formatBytes(64 * 1024 * 1024)).toBe('64.0 MiB')
    expect(formatBytes(1024 * 1024 - 1)).toBe('1.00 MiB')
  })
  it('read durations and refuse bare numbers', () => {
    expect(parseDuration('1h30m')).toBe(5_400_000)
    expect(parseDuration('7 d')).toBe(604_800_000)
    expect(parseDuration('250ms')).toBe(250)
    expect(parseDuration('0')).toBe(0)
    for (const wrong of ['', '5', 'h', '1 fortnight', '-1s']) expect(parseDuration(wrong)).toBeUndefined()
  })
  it('show the two largest units', () => {
    expect(formatDuration(250)).toBe('250 ms')
    expect(formatDuration(42_000)).toBe('42 s')
    expect(formatDuration(3_900_000)).toBe('1 h 5 min')
    expect(formatDuration(86_400_000)).toBe('1 d')
  })
})
