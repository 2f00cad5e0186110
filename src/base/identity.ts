/*
 * Who a node has proved to be, and how its certificate says so: URIs beside its addresses in the subject's alternative
 * names, `holdfast:cluster:ID`, `holdfast:node:ID` and one `holdfast:role:ROLE` for each of its roles. The authority of
 * the cluster signs nothing else, and the words are of a plain alphabet, so that no value can pretend to be another name.
 */

/** What a node may say that it is in its hello; the roles are those of wire/call-row.ts. */
export interface Identity {
  readonly cluster: string
  readonly node: string
  readonly roles: readonly string[]
}

/** Letters, digits, `-`, `_` and `.`: no comma, quote, colon or blank that a list of names could be cut at. */
const WORD = /^[A-Za-z0-9._-]{1,64}$/

/** As URIs of the alternative names. Throws RangeError for a word that does not fit. */
export function identityUris({ cluster, node, roles }: Identity): string[] {
  for (const word of [cluster, node, ...roles])
    if (!WORD.test(word)) throw new RangeError(`${JSON.stringify(word)} cannot stand in a certificate`)
  return [`holdfast:cluster:${cluster}`, `holdfast:node:${node}`, ...roles.map((role) => `holdfast:role:${role}`)]
}

/**
 * From the alternative names as OpenSSL prints them (`URI:…, IP Address:…`). Undefined when a name is missing, stands
 * twice, or could be two: a certificate that says something else than we write was not made by us.
 */
export function identityFrom(alternativeNames: string): Identity | undefined {
  // Quoted by Node where a value holds what could end it.
  if (alternativeNames.includes('"')) return undefined
  const found = { cluster: [] as string[], node: [] as string[], role: [] as string[] }
  for (const name of alternativeNames.split(', ')) {
    const match = /^URI:holdfast:(cluster|node|role):(.*)$/.exec(name)
    if (match === null) continue
    if (!WORD.test(match[2]!)) return undefined
    found[match[1] as keyof typeof found].push(match[2]!)
  }
  if (found.cluster.length !== 1 || found.node.length !== 1) return undefined
  return { cluster: found.cluster[0]!, node: found.node[0]!, roles: found.role }
}
