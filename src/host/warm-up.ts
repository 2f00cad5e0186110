/*
 * How soon V8 optimises. A role runs the same few paths for weeks, and what its first ten thousand operations are measured
 * by is how long they run interpreted: with less than a third of the default budget before a function is optimised, the second and
 * third three thousand random reads of a new mount were 25 and 14 % faster, the first were not (one run each way). V8
 * versions other than the one this was measured on keep their default.
 */

import { setFlagsFromString } from 'node:v8'

/** The default of V8 11.3 is 66 KiB of executed bytecode. */
const INTERRUPT_BUDGET_BYTES = 20_000

export function optimiseSoon(): void {
  // Only where the flag is known to exist; an unknown one would be complained about on standard error.
  if (process.versions.v8.startsWith('11.')) setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET_BYTES}`)
}
