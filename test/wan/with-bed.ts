/*
 * Tests that need a bed: skipped with the reason in their title where there can be none, and failing there when nothing
 * may be skipped (HOLDFAST_NO_SKIP).
 */

import { describe } from 'vitest'
import { whyNoBed } from './bed.ts'

export function describeOnBed(title: string, body: () => void): void {
  const why = process.env.HOLDFAST_NO_SKIP ? undefined : whyNoBed()
  if (why === undefined) describe(title, body)
  else describe.skip(`${title} (no test bed on this machine: ${why})`, body)
}
