/*
 * Patterns of names as the shell has them: * for any chars, ? for one, [a-z] and [!a-z] for one of a set, \ before a char
 * that means itself. The whole name has to match; a name has no slashes, so * needs no rule for them.
 */

/** Why it is no pattern; undefined: it is one. */
export function wrongWithGlob(glob: string): string | undefined {
  if (glob === '') return 'it is empty'
  for (let i = 0; i < glob.length; i++) {
    if (glob[i] === '\\') {
      if (++i === glob.length) return 'a \\ at the end stands before nothing'
      continue
    }
    if (glob[i] !== '[') continue
    const end = endOfSet(glob, i)
    if (end < 0) return `the [ at column ${i + 1} is not closed`
    i = end
  }
  return undefined
}

/** At most one step back per char of the name: after a later *, an earlier one need not be tried again. */
export function matchesGlob(glob: string, name: string): boolean {
  let g = 0
  let n = 0
  let starAt = -1
  let starName = 0
  while (n < name.length) {
    if (glob[g] === '*') {
      starAt = g++
      starName = n
      continue
    }
    const next = g < glob.length ? one(glob, g, name[n]!) : -1
    if (next >= 0) {
      g = next
      n++
    } else if (starAt >= 0) {
      g = starAt + 1
      n = ++starName
    } else return false
  }
  while (glob[g] === '*') g++
  return g === glob.length
}

/** Where the pattern goes on when the part at `g` takes the char; -1: it does not. */
function one(glob: string, g: number, char: string): number {
  switch (glob[g]) {
    case '?':
      return g + 1
    case '\\':
      return glob[g + 1] === char ? g + 2 : -1
    case '[': {
      const end = endOfSet(glob, g)
      return end >= 0 && inSet(glob, g, end, char) ? end + 1 : -1
    }
    default:
      return glob[g] === char ? g + 1 : -1
  }
}

const isNegated = (glob: string, open: number): boolean => glob[open + 1] === '!' || glob[open + 1] === '^'

/** A ] that stands first is a member. */
function endOfSet(glob: string, open: number): number {
  return glob.indexOf(']', open + (isNegated(glob, open) ? 3 : 2))
}

function inSet(glob: string, open: number, end: number, char: string): boolean {
  const negated = isNegated(glob, open)
  let found = false
  for (let i = open + (negated ? 2 : 1); i < end; i++) {
    if (glob[i + 1] === '-' && i + 2 < end) {
      found ||= glob[i]! <= char && char <= glob[i + 2]!
      i += 2
    } else found ||= glob[i] === char
  }
  return found !== negated
}
