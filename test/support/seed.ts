/*
 * Where the random tests begin. The same numbers each time, so that a landing is judged by what it changes;
 * HOLDFAST_SEED=random looks for what nobody has met yet, HOLDFAST_SEED=n repeats it.
 */

const USUAL = 20_261_121

export const seedOf = (): number => {
  const asked = process.env.HOLDFAST_SEED
  if (asked === undefined || asked === '') return USUAL
  if (asked === 'random') return RANDOM
  const seed = Number(asked)
  if (!Number.isInteger(seed) || seed < 0) throw new Error(`HOLDFAST_SEED is "${asked}": a whole number, or "random"`)
  return seed
}

/** One for the whole process. */
const RANDOM = Math.floor(Math.random() * 2 ** 31)
