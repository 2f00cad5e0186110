/* `holdfast node list | show | label`, `holdfast topology reload`. */

import { Args, Flags } from '@oclif/core'
import { FsError, unwrap } from '../../base/fault.ts'
import type { NodeId } from '../../base/ids.ts'
import { formatDuration } from '../../base/units.ts'
import { labelNames, labelText } from '../../topology/label-names.ts'
import type { DiskReport, NodeReport } from '../../wire/reports.ts'
import { ADMIN_STAMP } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { table } from '../render.ts'
import { renderDisks } from './status.ts'

export const nodeArg = Args.string({
  required: true,
  description: 'Name or number of the chunkserver (holdfast node list).',
})

/** The chunkserver that a person means. */
export function findNode(wanted: string, nodes: readonly NodeReport[]): NodeReport {
  const named = nodes.filter((n) => n.name === wanted)
  if (named.length > 1)
    throw new FsError(
      'EINVAL',
      `several chunkservers are called "${wanted}"; say which by number: ${named.map((n) => n.node).join(', ')}`,
    )
  const found = named[0] ?? nodes.find((n) => String(n.node) === wanted)
  if (found === undefined)
    throw new FsError(
      'ENOENT',
      `no chunkserver "${wanted}"; there are ${nodes.map((n) => n.name).join(', ') || 'none'}`,
    )
  return found
}

export const nodeState = (n: NodeReport): string =>
  n.connected
    ? 'connected'
    : `away ${formatDuration(n.awaySeconds * 1000)}, grace ${formatDuration(n.graceLeftSeconds * 1000)}`

export const shownLabels = (labels: readonly string[]): string => labels.map(labelText).join(' ') || '-'

const renderNodes = (nodes: readonly NodeReport[]): string =>
  table(nodes, [
    { title: 'NODE', value: (n) => n.node, right: true },
    { title: 'NAME', value: (n) => n.name },
    { title: 'ADDRESS', value: (n) => `${n.host}:${n.port}` },
    { title: 'SITE', value: (n) => n.site || '-' },
    { title: 'RACK', value: (n) => n.rack || '-' },
    { title: 'LABELS', value: (n) => shownLabels(n.labels) + (n.labelsSet ? ' (set)' : '') },
    { title: 'VERSION', value: (n) => n.version },
    { title: 'STATE', value: nodeState },
  ])

export class NodeList extends ClusterCommand {
  static override summary = 'Every chunkserver: where it stands, its labels, whether it is there.'
  static override examples = ['<%= config.bin %> node list', '<%= config.bin %> node list --json']

  async run(): Promise<NodeReport[]> {
    const { flags } = await this.parse(NodeList)
    return this.withMaster(flags, async (admin) => {
      const nodes = await admin.call('nodeList', {})
      this.log(renderNodes(nodes) || 'No chunkserver has registered yet.')
      return nodes
    })
  }
}

export class NodeShow extends ClusterCommand {
  static override summary = 'One chunkserver and its disks.'
  static override examples = ['<%= config.bin %> node show chunkserver-1']
  static override args = { node: nodeArg }

  async run(): Promise<NodeReport & { disks: DiskReport[] }> {
    const { args, flags } = await this.parse(NodeShow)
    return this.withMaster(flags, async (admin) => {
      const node = findNode(args.node, await admin.call('nodeList', {}))
      const disks = (await admin.call('diskList', {})).filter((d) => d.node === node.node)
      this.log(`${renderNodes([node])}\n\n${renderDisks(disks) || 'It has no disks.'}`)
      return { ...node, disks }
    })
  }
}

/** What `label` commands take beside what they are for. */
export const labelFlags = {
  add: Flags.string({ summary: 'A further label (may be given several times).', multiple: true, helpValue: 'LABEL' }),
  remove: Flags.string({ summary: 'A label less (likewise).', multiple: true, helpValue: 'LABEL' }),
  clear: Flags.boolean({ summary: 'The labels of the configuration hold again.', default: false }),
}

/** The list that shall hold from now on; undefined: that of the configuration. */
export function wantedLabels(
  now: readonly string[],
  typed: readonly string[],
  { add = [], remove = [], clear }: { add?: string[] | undefined; remove?: string[] | undefined; clear: boolean },
): string[] | undefined {
  const ways = [typed.length > 0, add.length + remove.length > 0, clear].filter(Boolean).length
  if (ways === 0)
    throw new FsError('EINVAL', 'no label given; LABELS set them, --add and --remove change them, --clear')
  if (ways > 1) throw new FsError('EINVAL', 'either LABELS, or --add and --remove, or --clear')
  if (clear) return undefined
  if (typed.length > 0)
    return unwrap(labelNames(typed.flatMap((word) => word.split(',')).filter((word) => word !== '')))
  const without = new Set(unwrap(labelNames(remove)))
  const absent = [...without].filter((label) => !now.includes(label))
  if (absent.length > 0) throw new FsError('EINVAL', `it has no label ${absent.map(labelText).join(', ')}`)
  return unwrap(labelNames([...now.filter((label) => !without.has(label)), ...add]))
}

export class NodeLabel extends ClusterCommand {
  static override summary = 'Give a chunkserver labels, from now on and without a restart.'
  static override description =
    'Labels set here hold instead of those of its configuration, also when it is started again, until --clear. They count ' +
    'for all of its disks. A label is a letter A to Z, or a name like usb-backup.'
  static override examples = [
    '<%= config.bin %> node label chunkserver-1 H',
    '<%= config.bin %> node label chunkserver-1 H usb-backup',
    '<%= config.bin %> node label chunkserver-1 --add I --remove H',
    '<%= config.bin %> node label chunkserver-1 --clear',
  ]
  static override strict = false
  static override args = { node: nodeArg, labels: Args.string({ description: 'The labels that it shall have.' }) }
  static override flags = labelFlags

  async run(): Promise<NodeReport> {
    const { args, argv, flags } = await this.parse(NodeLabel)
    return this.withMaster(flags, async (admin) => {
      const node = findNode(args.node, await admin.call('nodeList', {}))
      const labels = wantedLabels(node.labels, (argv as string[]).slice(1), flags)
      await admin.call('nodeLabel', { stamp: ADMIN_STAMP, node: node.node as NodeId, labels })
      const now = findNode(String(node.node), await admin.call('nodeList', {}))
      this.log(`${now.name}: ${shownLabels(now.labels)}${now.labelsSet ? '' : ' (from its configuration)'}`)
      return now
    })
  }
}

export class TopologyReload extends ClusterCommand {
  static override summary = "Read the master's topology file again: racks and sites by address."
  static override examples = ['<%= config.bin %> topology reload']

  async run(): Promise<{ rules: number }> {
    const { flags } = await this.parse(TopologyReload)
    return this.withMaster(flags, async (admin) => {
      const { rules } = await admin.call('topologyReload', {})
      this.log(`${rules} ${rules === 1 ? 'rule' : 'rules'} read; holdfast node list shows what follows from them.`)
      return { rules }
    })
  }
}
