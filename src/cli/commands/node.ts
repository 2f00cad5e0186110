/* `holdfast node list | show | label | drain | grace | maintenance | remove`. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import type { NodeId } from '../../base/ids.ts'
import { formatDuration } from '../../base/units.ts'
import type { DiskReport, NodeReport } from '../../wire/reports.ts'
import { ADMIN_STAMP } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { type DrainResult, drainFlags, watchDrain } from '../drain-progress.ts'
import { LABEL_DANGERS, labelFlags, shownLabels, wantedLabels } from '../labels.ts'
import { table } from '../render.ts'
import { answerDangers, type LabelTrial, labelDangers, labelTrial, trialLine } from '../trials.ts'
import { nodeState, renderDisks } from './status.ts'
import { durationOf } from './trash.ts'

export const nodeArg = Args.string({
  required: true,
  description: 'Name or number of the chunkserver (holdfast node list).',
})

/** The chunkserver that a person means: names come first, unless it is known to be a number. */
export function findNode(wanted: string, nodes: readonly NodeReport[], byNumber = false): NodeReport {
  const named = byNumber ? [] : nodes.filter((n) => n.name === wanted)
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

const time = (seconds: number): string => formatDuration(seconds * 1000)

const renderNodes = (nodes: readonly NodeReport[]): string =>
  table(nodes, [
    { title: 'NODE', value: (n) => n.node, right: true },
    { title: 'NAME', value: (n) => n.name },
    { title: 'ADDRESS', value: (n) => `${n.host}:${n.port}` },
    { title: 'SITE', value: (n) => n.site || '-' },
    { title: 'RACK', value: (n) => n.rack || '-' },
    { title: 'LABELS', value: (n) => shownLabels(n.labels) + (n.labelsSet ? ' (set)' : '') },
    { title: 'GRACE', value: (n) => time(n.graceSeconds) + (n.graceSet ? ' (set)' : '') },
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

export class NodeLabel extends ClusterCommand {
  static override summary = 'Give a chunkserver labels, from now on and without a restart.'
  static override description =
    'Labels set here hold instead of those of its configuration, also when it is started again, until --clear. They count ' +
    `for all of its disks. A label is a letter A to Z, or a name like usb-backup. ${LABEL_DANGERS}`
  static override examples = [
    '<%= config.bin %> node label chunkserver-1 H',
    '<%= config.bin %> node label chunkserver-1 H usb-backup',
    '<%= config.bin %> node label chunkserver-1 --add I --remove H',
    '<%= config.bin %> node label chunkserver-1 --remove H --dry-run',
    '<%= config.bin %> node label chunkserver-1 --clear',
  ]
  static override strict = false
  static override args = { node: nodeArg, labels: Args.string({ description: 'The labels that it shall have.' }) }
  static override flags = labelFlags

  async run(): Promise<NodeReport & { trial?: LabelTrial }> {
    const { args, argv, flags } = await this.parse(NodeLabel)
    return this.withMaster(flags, async (admin) => {
      const node = findNode(args.node, await admin.call('nodeList', {}))
      const labels = wantedLabels(node.labels, (argv as string[]).slice(1), flags)
      const wish = { node: node.node as NodeId, labels }
      const log = (text: string): void => this.log(text)
      if (flags['dry-run']) {
        const said = (then: readonly string[]): string => `${node.name} would have: ${shownLabels(then)}`
        const trial = await labelTrial(admin, wish, said, trialLine(this.jsonEnabled()), log)
        answerDangers(trial.dangers, { dry: true, force: flags.force }, log)
        return { ...node, trial }
      }
      answerDangers(await labelDangers(admin, wish), { dry: false, force: flags.force }, log)
      await admin.call('nodeLabel', { stamp: ADMIN_STAMP, node: node.node as NodeId, labels })
      const now = findNode(String(node.node), await admin.call('nodeList', {}), true)
      this.log(`${now.name}: ${shownLabels(now.labels)}${now.labelsSet ? '' : ' (from its configuration)'}`)
      return now
    })
  }
}

export class NodeDrain extends ClusterCommand {
  static override summary = 'Move everything off all disks of a chunkserver, so that it can be removed.'
  static override description =
    'As "disk drain" for each of its disks. Ctrl-C ends the watching, not the draining. Refused while something on it wants ' +
    'more copies than the other chunkservers could hold.'
  static override examples = [
    '<%= config.bin %> node drain chunkserver-3',
    '<%= config.bin %> node drain chunkserver-3 --no-watch',
    '<%= config.bin %> node drain chunkserver-3 --stop',
  ]
  static override args = { node: nodeArg }
  static override flags = drainFlags

  async run(): Promise<DrainResult & { node: number; disks: number[] }> {
    const { args, flags } = await this.parse(NodeDrain)
    return this.withMaster(flags, async (admin) => {
      const { node, name } = findNode(args.node, await admin.call('nodeList', {}))
      const find = (disks: DiskReport[]): DiskReport[] => disks.filter((d) => d.node === node)
      const wish = { stamp: ADMIN_STAMP, node: node as NodeId, drain: !flags.stop, force: flags.force }
      await admin.call('nodeDrain', wish)
      if (flags.stop) this.log(`${name} is no longer drained; what has moved stays where it is now.`)
      else if (flags.watch) {
        const then = `stop it and "holdfast node remove ${name}"`
        await watchDrain(
          admin,
          find,
          { what: name, command: `holdfast node drain ${name}`, then },
          {
            show: !this.jsonEnabled(),
          },
        )
        this.log(`${name} is empty: stop it, then holdfast node remove ${name}`)
      }
      const disks = find(await admin.call('diskList', {}))
      const toMove = disks.reduce((sum, d) => sum + d.toMove, 0)
      return { node, disks: disks.map((d) => d.disk), draining: disks.some((d) => d.draining), toMove }
    })
  }
}

export class NodeGrace extends ClusterCommand {
  static override summary = 'How long a chunkserver that is away is waited for before its chunks are copied elsewhere.'
  static override description =
    'A machine that often sleeps may be given a day, one that must not be missed a minute. Chunks with one copy left of ' +
    'several never wait for it.'
  static override examples = [
    '<%= config.bin %> node grace chunkserver-2 24h',
    '<%= config.bin %> node grace chunkserver-2 default',
  ]
  static override args = {
    node: nodeArg,
    time: Args.string({ required: true, description: 'Like 10min; "default": the setting of the cluster.' }),
  }

  async run(): Promise<NodeReport> {
    const { args, flags } = await this.parse(NodeGrace)
    const graceMs = args.time === 'default' ? undefined : durationOf(args.time)
    return this.withMaster(flags, async (admin) => {
      const { node } = findNode(args.node, await admin.call('nodeList', {}))
      await admin.call('nodeGrace', { stamp: ADMIN_STAMP, node: node as NodeId, graceMs })
      const now = findNode(String(node), await admin.call('nodeList', {}), true)
      this.log(`${now.name} is waited for ${time(now.graceSeconds)}${now.graceSet ? '' : ', as all'}.`)
      return now
    })
  }
}

export class NodeMaintenance extends ClusterCommand {
  static override summary = 'Let a chunkserver be away for a time without its chunks being copied elsewhere.'
  static override description =
    'It ends by itself when the time is over; whoever is still away then is missed at once. What is endangered (one copy ' +
    'left of several) is copied all the same.'
  static override examples = [
    '<%= config.bin %> node maintenance chunkserver-2 on --for 2h',
    '<%= config.bin %> node maintenance chunkserver-2 off',
  ]
  static override args = {
    node: nodeArg,
    state: Args.string({ required: true, description: 'on or off.', options: ['on', 'off'] }),
  }
  static override flags = {
    for: Flags.string({ summary: 'How long at most, like 2h; at most 30 days. Needed with "on".', helpValue: 'TIME' }),
  }

  async run(): Promise<NodeReport> {
    const { args, flags } = await this.parse(NodeMaintenance)
    if ((args.state === 'on') !== (flags.for !== undefined))
      throw new FsError('EINVAL', args.state === 'on' ? 'how long? say --for 2h' : '--for belongs to "on"')
    const forMs = flags.for === undefined ? 0 : durationOf(flags.for)
    if (args.state === 'on' && forMs === 0) throw new FsError('EINVAL', 'a maintenance lasts some time')
    return this.withMaster(flags, async (admin) => {
      const { node } = findNode(args.node, await admin.call('nodeList', {}))
      await admin.call('nodeMaintenance', { stamp: ADMIN_STAMP, node: node as NodeId, forMs })
      const now = findNode(String(node), await admin.call('nodeList', {}), true)
      this.log(
        now.maintenanceLeftSeconds === 0
          ? `${now.name} is not in maintenance.`
          : `${now.name} is in maintenance for ${time(now.maintenanceLeftSeconds)}; it ends by itself.`,
      )
      return now
    })
  }
}

export class NodeRemove extends ClusterCommand {
  static override summary = 'Forget a chunkserver that is away, and its disks.'
  static override description =
    'Refused while one of its disks holds the only copy of anything, and while it is connected.'
  static override examples = ['<%= config.bin %> node remove chunkserver-3']
  static override args = { node: nodeArg }
  static override flags = {
    force: Flags.boolean({
      summary: 'Also when data is lost by it (the machine burned, and so did the other copies).',
      default: false,
    }),
  }

  async run(): Promise<{ node: number; removed: true }> {
    const { args, flags } = await this.parse(NodeRemove)
    return this.withMaster(flags, async (admin) => {
      const { node, name } = findNode(args.node, await admin.call('nodeList', {}))
      await admin.call('nodeRemove', { stamp: ADMIN_STAMP, node: node as NodeId, force: flags.force })
      this.log(`${name} is forgotten; should it come back, it is a new chunkserver.`)
      return { node, removed: true }
    })
  }
}
