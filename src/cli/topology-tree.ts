/* Measured places as people read them: sites with their racks with their nodes, and how each is known; every distance. */

import type { KnownBy, TopologyNode, TopologyReport } from '../wire/reports-mesh.ts'
import { table } from './render.ts'

const BY: Readonly<Record<KnownBy, string>> = {
  declared: 'its configuration says so',
  address: 'by its address',
  node: 'said of the node',
  measured: 'measured',
  '': 'not known yet',
}

export function formatTopology({ number, auto, siteMs, rackMs, everyMs, nodes, mounts }: TopologyReport): string {
  const isMesh = nodes.some(({ node }) => node !== '')
  const lines = [
    !isMesh
      ? 'There is no mesh: nothing is measured.'
      : `Map ${number}: nodes of a site are within ${siteMs} ms of each other, of a rack within ${rackMs} ms; ` +
        `${auto ? `looked at every ${everyMs / 1000} s` : 'changed by hand only (holdfast topology apply)'}.`,
  ]
  for (const [site, inSite] of grouped(nodes, (node) => node.site)) {
    lines.push(site === '' ? 'not placed' : `site ${site}`)
    for (const [rack, inRack] of grouped(inSite, (node) => node.rack)) {
      if (site !== '') lines.push(rack === '' ? '  no rack' : `  rack ${rack}`)
      for (const node of inRack) lines.push(`    ${node.name}  ${node.ip}  ${how(node)}`)
    }
  }
  const names = new Map(nodes.map(({ node, name }) => [node, name]))
  for (const { mountpoint, node, site, rack } of mounts)
    lines.push(
      `mount ${mountpoint}${node === '' ? '' : ` of ${names.get(node) ?? node}`}: ${[site || 'nowhere', rack].filter(Boolean).join('|')}`,
    )
  return lines.join('\n')
}

function how({ node, siteBy, rackBy, rounds }: TopologyNode): string {
  if (siteBy === '' && rackBy === '' && node === '') return 'nobody says'
  if (siteBy === '' && rackBy === '') return `${BY['']}, ${rounds} rounds of probes`
  return siteBy === rackBy ? BY[siteBy] : `site: ${BY[siteBy]}, rack: ${BY[rackBy]}`
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): [string, T[]][] {
  const groups = new Map<string, T[]>()
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item])
  // What is not placed comes last.
  return [...groups].sort(([x], [y]) => (x === '' ? 1 : y === '' ? -1 : x < y ? -1 : 1))
}

export function formatMatrix({ nodes: all, matrix }: TopologyReport): string {
  const nodes = all.filter(({ node }) => node !== '')
  const cell = (ms: number | null | undefined): string =>
    ms === null || ms === undefined ? '?' : ms === 0 ? '-' : ms < 10 ? ms.toFixed(1) : String(Math.round(ms))
  return table(
    nodes.map((node, row) => ({ node, row })),
    [
      { title: 'ms', value: ({ node }) => node.name },
      ...nodes.map(({ name }, column) => ({
        ...{ title: name, right: true },
        value: ({ row }: { row: number }) => cell(matrix[row]?.[column]),
      })),
    ],
  )
}

export function formatProposal({ auto, proposal }: TopologyReport): string {
  const { version, changes, waiting } = proposal
  if (version === 0) return 'Nothing was compared yet; the first evaluation comes within its interval.'
  if (changes.length === 0) return 'Places are as they were measured.'
  const lines = changes.map(({ name, site, rack, toSite, toRack }) =>
    site === '' ? `+ ${name}  ${toSite}|${toRack}` : `~ ${name}  ${site}|${rack} -> ${toSite}|${toRack}`,
  )
  for (const { change, rounds } of waiting) lines.push(`waited for since ${rounds} evaluations: ${change}`)
  lines.push(
    auto
      ? `Holds when it was found five times in a row. At once: holdfast topology apply --version ${version}`
      : `Holds when you say so: holdfast topology apply --version ${version}`,
  )
  return lines.join('\n')
}
