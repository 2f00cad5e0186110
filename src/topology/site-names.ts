/*
 * What measured groups are called. A group keeps the name of the old group that most of its nodes come from, so a name that an
 * operator has given stays with the group that kept its majority; what is new gets the next free number. A
 * name that somebody has declared for a node is the name of the group that the node is in.
 */

import { type Result, refuse } from '../base/fault.ts'

const NAME_CHARS_MAX = 64

export interface Naming {
  /** The name the node's group had; undefined: it had none. */
  readonly old: (node: number) => string | undefined
  /** What is declared for the node. */
  readonly pinned: (node: number) => string | undefined
  /** Before the number of a new name: "s" or "r". */
  readonly letter: string
  /** The highest number that was ever given. */
  readonly last: number
}

/** A name for each group, all different but for those that are declared; and the highest number given now. */
export function nameGroups(groups: readonly (readonly number[])[], naming: Naming): { names: string[]; last: number } {
  const names: (string | undefined)[] = groups.map((group) =>
    group.map(naming.pinned).find((name) => name !== undefined),
  )
  const taken = new Set(names.filter((name) => name !== undefined))
  const claims: { group: number; name: string; nodes: number }[] = []
  for (const [group, nodes] of groups.entries()) {
    const counts = new Map<string, number>()
    for (const node of nodes) {
      const name = naming.old(node)
      if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    for (const [name, count] of counts) claims.push({ group, name, nodes: count })
  }
  claims.sort((a, b) => b.nodes - a.nodes || a.group - b.group || (a.name < b.name ? -1 : 1))
  // A name that another group is about to lose is not free yet: people would take the new group for the old one.
  const known = new Set([...taken, ...claims.map((claim) => claim.name)])
  for (const { group, name } of claims) {
    if (names[group] !== undefined || taken.has(name)) continue
    names[group] = name
    taken.add(name)
  }
  let { last } = naming
  const fresh = (): string => {
    do last++
    while (known.has(`${naming.letter}${last}`))
    return `${naming.letter}${last}`
  }
  return { names: names.map((name) => name ?? fresh()), last }
}

/** Whether people may call a group so; `used`: names of others. A refusal says what is wrong. */
export function checkName(name: string, used: (name: string) => boolean): Result<string> {
  if (name === '' || name.length > NAME_CHARS_MAX || /[\s|#]/.test(name))
    return refuse('EINVAL', `"${name}" is no name: 1 to ${NAME_CHARS_MAX} characters without blanks, "|" and "#"`)
  if (used(name)) return refuse('EEXIST', `"${name}" is the name of another`)
  return { ok: name }
}
