/* `holdfast topology show | diff | apply | auto | rename | pin | reload`: where things stand, measured or said. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { LIMIT_US_MAX } from '../../wire/mesh-shapes.ts'
import type { TopologyReport } from '../../wire/reports-mesh.ts'
import type { Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { formatMatrix, formatProposal, formatTopology } from '../topology-tree.ts'

const shown = (admin: Admin, matrix = false): Promise<TopologyReport> => admin.call('topologyShow', { matrix })

export class TopologyShow extends ClusterCommand {
  static override summary = 'Sites and racks of the nodes of the mesh, and how each place is known.'
  static override examples = ['<%= config.bin %> topology show', '<%= config.bin %> topology show --matrix']
  static override flags = {
    matrix: Flags.boolean({ summary: 'How far the nodes are from each other, in milliseconds there and back.' }),
  }

  async run(): Promise<TopologyReport> {
    const { flags } = await this.parse(TopologyShow)
    return this.withMaster(flags, async (admin) => {
      const report = await shown(admin, flags.matrix)
      this.log(flags.matrix ? formatMatrix(report) : formatTopology(report))
      return report
    })
  }
}

export class TopologyDiff extends ClusterCommand {
  static override summary = 'What measuring proposes against what holds.'
  static override examples = ['<%= config.bin %> topology diff']

  async run(): Promise<TopologyReport['proposal']> {
    const { flags } = await this.parse(TopologyDiff)
    return this.withMaster(flags, async (admin) => {
      const report = await shown(admin)
      this.log(formatProposal(report))
      return report.proposal
    })
  }
}

export class TopologyApply extends ClusterCommand {
  static override summary = 'Take what measuring proposes, without waiting for five equal evaluations.'
  static override examples = ['<%= config.bin %> topology apply --version 1234567']
  static override flags = {
    version: Flags.integer({ summary: 'Of the proposal, as holdfast topology diff shows it.', required: true, min: 1 }),
  }

  async run(): Promise<TopologyReport> {
    const { flags } = await this.parse(TopologyApply)
    return this.withMaster(flags, async (admin) => {
      await admin.call('topologyApply', { version: flags.version })
      const report = await shown(admin)
      this.log(formatTopology(report))
      return report
    })
  }
}

export class TopologyAuto extends ClusterCommand {
  static override summary = 'Whether measured places hold by themselves, and how near a site and a rack are.'
  static override examples = [
    '<%= config.bin %> topology auto off',
    '<%= config.bin %> topology auto on --site 12 --rack 2',
  ]
  static override args = {
    state: Args.string({ required: true, options: ['on', 'off'], description: 'on: without being asked.' }),
  }
  static override flags = {
    site: Flags.string({ summary: 'Nodes of a site are at most so many milliseconds apart.', helpValue: 'MS' }),
    rack: Flags.string({ summary: 'The same of a rack. Below 1 probes measure themselves.', helpValue: 'MS' }),
  }

  async run(): Promise<TopologyReport> {
    const { args, flags } = await this.parse(TopologyAuto)
    const siteUs = microseconds(flags.site)
    const rackUs = microseconds(flags.rack)
    return this.withMaster(flags, async (admin) => {
      await admin.call('topologySet', { auto: args.state === 'on', siteUs, rackUs })
      const report = await shown(admin)
      this.log(formatTopology(report))
      return report
    })
  }
}

function microseconds(typed: string | undefined): number | undefined {
  if (typed === undefined) return undefined
  const us = /^\d+(?:\.\d+)?(?:ms)?$/.test(typed) ? Math.round(Number.parseFloat(typed) * 1000) : 0
  if (us === 0 || us > LIMIT_US_MAX)
    throw new FsError('EINVAL', `"${typed}": expected milliseconds, more than 0 and at most ${LIMIT_US_MAX / 1000}`)
  return us
}

export class TopologyRename extends ClusterCommand {
  static override summary = 'Another name for a measured site; it stays with the nodes.'
  static override examples = [
    '<%= config.bin %> topology rename s1 home',
    '<%= config.bin %> topology rename r2 cellar --rack',
  ]
  static override args = {
    old: Args.string({ required: true, description: 'As holdfast topology show has it.' }),
    new: Args.string({ required: true, description: 'At most 64 characters, without blanks, "|" and "#".' }),
  }
  static override flags = { rack: Flags.boolean({ summary: 'It is a rack.' }) }

  async run(): Promise<TopologyReport> {
    const { args, flags } = await this.parse(TopologyRename)
    return this.withMaster(flags, async (admin) => {
      await admin.call('topologyRename', { level: flags.rack ? 'rack' : 'site', from: args.old, to: args.new })
      const report = await shown(admin)
      this.log(formatTopology(report))
      return report
    })
  }
}

export class TopologyPin extends ClusterCommand {
  static override summary =
    'Say where a node of the mesh stands, whatever is measured; without site and rack: measure it again.'
  static override description =
    'What its chunkserver declares, and what the topology file says of its address, comes before that.'
  static override examples = [
    '<%= config.bin %> topology pin nas --site home --rack cellar',
    '<%= config.bin %> topology pin nas',
  ]
  static override args = { node: Args.string({ required: true, description: 'Name or id of a node of the mesh.' }) }
  static override flags = {
    site: Flags.string({ summary: 'Its site.' }),
    rack: Flags.string({ summary: 'Its rack.' }),
  }

  async run(): Promise<TopologyReport> {
    const { args, flags } = await this.parse(TopologyPin)
    return this.withMaster(flags, async (admin) => {
      const { nodes } = await shown(admin)
      const found = nodes.find(({ node, name }) => node !== '' && (name === args.node || node === args.node))
      if (found === undefined)
        throw new FsError(
          'ENOENT',
          `no node "${args.node}"; there are ${nodes.map((n) => n.name).join(', ') || 'none'}`,
        )
      await admin.call('topologyPin', { node: found.node, site: flags.site, rack: flags.rack })
      const report = await shown(admin)
      this.log(formatTopology(report))
      return report
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
