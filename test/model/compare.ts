/*
 * The same operations on two filesystems, compared step by step and at the end. A difference is shrunk: operations are
 * left out, as many as possible, while the two still differ. What is reported is the seed and the shortest list found.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Random } from '../../src/base/world.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { generate, type Operation, type Outcome, type Profile, said } from './operations.ts'

export interface Ran {
  readonly outcomes: readonly Outcome[]
  /** The whole filesystem afterwards, once for each way to it. */
  readonly trees: readonly Record<string, unknown>[]
}

export interface Runner {
  /** Begins with an empty directory each time. */
  run(operations: readonly Operation[]): Promise<Ran>
  stop(): Promise<void>
}

/** Operations of one list: long enough to build something, short enough to be shrunk. */
const LIST = 150
/** Tries while shrinking; each runs a part of the list on both sides. */
const SHRINK_TRIES = 150

/** How many operations in all; `usual` unless HOLDFAST_MODEL_OPS says otherwise. */
export const operationsOf = (usual: number): number =>
  process.env.HOLDFAST_MODEL_OPS === undefined ? usual : Number(process.env.HOLDFAST_MODEL_OPS)

/** Throws with the seed and the shrunk list when the two ever differ. */
export async function compareRunners(
  model: Runner,
  subject: Runner,
  options: { seed: number; operations: number; profile: Profile },
): Promise<void> {
  const { seed, operations, profile } = options
  for (let list = 0; list * LIST < operations; list++) {
    const random: Random = seededRandom(seed + list * 7919)
    const all = generate(random, Math.min(LIST, operations - list * LIST), profile)
    const difference = await differ(model, subject, all)
    if (difference === undefined) continue
    const { shortest, last } = await shrink(model, subject, all, difference)
    throw new Error(
      // Where accidents happen meanwhile, what the short list shows may be another difference, or one that comes and goes.
      `seed ${seed} (HOLDFAST_SEED), list ${list}: ${difference}\nshrunk: ${last}\n` +
        `${shortest.length} of ${all.length} operations:\n${shortest.map(said).join('\n')}`,
    )
  }
}

async function differ(model: Runner, subject: Runner, operations: readonly Operation[]): Promise<string | undefined> {
  const [wanted, actual] = await Promise.all([model.run(operations), subject.run(operations)])
  for (const [i, operation] of operations.entries())
    if (!isDeepStrictEqual(wanted.outcomes[i], actual.outcomes[i]))
      return `${said(operation)} answered ${JSON.stringify(actual.outcomes[i])}, wanted ${JSON.stringify(wanted.outcomes[i])}`
  const [tree] = wanted.trees
  for (const [way, found] of actual.trees.entries())
    for (const name of new Set([...Object.keys(tree!), ...Object.keys(found)]))
      if (!isDeepStrictEqual(tree![name], found[name]))
        return `in the end, seen through way ${way}, ${name} is ${JSON.stringify(found[name])}, wanted ${JSON.stringify(tree![name])}`
  return undefined
}

/** Leaves out ever smaller parts while a difference remains. A part that no longer differs (or by chance did) stays in. */
async function shrink(
  model: Runner,
  subject: Runner,
  all: readonly Operation[],
  difference: string,
): Promise<{ shortest: readonly Operation[]; last: string }> {
  let shortest = all
  let last = difference
  let tries = 0
  for (let size = Math.ceil(all.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < shortest.length && tries < SHRINK_TRIES; ) {
      const without = [...shortest.slice(0, at), ...shortest.slice(at + size)]
      tries++
      const still = await differ(model, subject, without)
      if (still === undefined) at += size
      else {
        shortest = without
        last = still
      }
    }
  }
  return { shortest, last }
}
