/* `holdfast disk list | drain | add | remove`. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { type DiskId, diskId, type NodeId } from '../../base/ids.ts'
import type { DiskReport } from '../../wire/reports.ts'
import { ADMIN_STAMP } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { type DrainResult, drainFlags, watchDrain } from '../drain-progress.ts'
import { LABEL_DANGERS, labelFlags, shownLabels, wantedLabels } from '../labels.ts'
import { answerDangers, type LabelTrial, labelDangers, labelTrial, trialLine } from '../trials.ts'
import { findNode } from './node.ts'
import { renderDisks } from './status.ts'

const diskArg = Args.string({ required: true, description: 'Number of the disk (holdfast disk list), or NODE:PATH.' })

/** The disk that a person means. */
export function findDisk(wanted: string, disks: readonly DiskReport[]): DiskReport {
  const byNumber = disks.find((d) => String(d.disk) === wanted)
  const found = byNumber ?? disks.find((d) => `${d.nodeName}:${d.path}` === wanted)
  if (found === undefined) throw new FsError('ENOENT', `no disk "${wanted}" (see holdfast disk list)`)
  return found
}

export class DiskList extends ClusterCommand {
  static override summary = 'Every disk with its state and space.'
  static override examples = ['<%= config.bin %> disk list', '<%= config.bin %> disk list --json']

  async run(): Promise<DiskReport[]> {
    const { flags } = await this.parse(DiskList)
    return this.withMaster(flags, async (admin) => {
      const disks = await admin.call('diskList', {})
      this.log(renderDisks(disks) || 'No disk has registered yet.')
      return disks
    })
  }
}

export class DiskDrain extends ClusterCommand {
  static override summary = 'Move everything off a disk, so that it can be removed.'
  static override description =
    'Shows how far it is until nothing is left. Ctrl-C ends the watching, not the draining: the master goes on, and ' +
    'nothing is deleted from the disk before its copy elsewhere is verified. --stop ends the draining, also of a disk that ' +
    'is drained because of its errors, and gives the disk back. Refused while something on the disk wants more copies than ' +
    'the other chunkservers could hold.'
  static override examples = [
    '<%= config.bin %> disk drain 3',
    '<%= config.bin %> disk drain chunkserver-1:/srv/disk2 --no-watch',
    '<%= config.bin %> disk drain 3 --stop',
  ]
  static override args = { disk: diskArg }
  static override flags = drainFlags

  async run(): Promise<DrainResult & { disk: number }> {
    const { args, flags } = await this.parse(DiskDrain)
    return this.withMaster(flags, async (admin) => {
      const { disk } = findDisk(args.disk, await admin.call('diskList', {}))
      const find = (disks: DiskReport[]): DiskReport => findDisk(String(disk), disks)
      const wish = { stamp: ADMIN_STAMP, disk: diskId(disk), drain: !flags.stop, force: flags.force }
      await admin.call('diskDrain', wish)
      if (flags.stop) this.log(`Disk ${disk} is no longer drained; what has moved stays where it is now.`)
      else if (flags.watch) {
        const then = `"holdfast disk remove ${disk}"`
        const words = { what: `disk ${disk}`, command: `holdfast disk drain ${disk}`, then }
        await watchDrain(admin, (disks) => [find(disks)], words, { show: !this.jsonEnabled() })
        this.log(`Disk ${disk} is empty: holdfast disk remove ${disk}`)
      }
      const { draining, toMove } = find(await admin.call('diskList', {}))
      return { disk, draining, toMove }
    })
  }
}

export class DiskLabel extends ClusterCommand {
  static override summary = 'Give a disk labels of its own, beside those of its chunkserver.'
  static override description =
    'Labels set here hold instead of those in the configuration of its chunkserver, until --clear. A label is a letter ' +
    `A to Z, or a name like usb-backup. ${LABEL_DANGERS}`
  static override examples = [
    '<%= config.bin %> disk label 3 usb-backup',
    '<%= config.bin %> disk label chunkserver-1:/srv/disk2 --add B',
    '<%= config.bin %> disk label 3 --clear',
  ]
  static override strict = false
  static override args = { disk: diskArg, labels: Args.string({ description: 'The labels that it shall have.' }) }
  static override flags = labelFlags

  async run(): Promise<DiskReport & { trial?: LabelTrial }> {
    const { args, argv, flags } = await this.parse(DiskLabel)
    return this.withMaster(flags, async (admin) => {
      const disk = findDisk(args.disk, await admin.call('diskList', {}))
      const labels = wantedLabels(disk.labels, (argv as string[]).slice(1), flags)
      const wish = { disk: diskId(disk.disk), labels }
      const log = (text: string): void => this.log(text)
      if (flags['dry-run']) {
        const said = (then: readonly string[]): string =>
          `Disk ${disk.disk} would have: ${shownLabels(then)}, beside those of ${disk.nodeName}.`
        const trial = await labelTrial(admin, wish, said, trialLine(this.jsonEnabled()), log)
        answerDangers(trial.dangers, { dry: true, force: flags.force }, log)
        return { ...disk, trial }
      }
      answerDangers(await labelDangers(admin, wish), { dry: false, force: flags.force }, log)
      await admin.call('diskLabel', { stamp: ADMIN_STAMP, disk: diskId(disk.disk), labels })
      const now = findDisk(String(disk.disk), await admin.call('diskList', {}))
      this.log(
        `Disk ${now.disk}: ${shownLabels(now.labels)}${now.labelsSet ? '' : ' (from the configuration)'}, beside those of ${now.nodeName}.`,
      )
      return now
    })
  }
}

export class DiskAdd extends ClusterCommand {
  static override summary = 'Give a chunkserver a further directory to store chunks in.'
  static override description =
    'SPEC is a line as in the configuration: PATH [SPACE]. The chunkserver remembers it over restarts.'
  static override examples = ['<%= config.bin %> disk add chunkserver-1 "/srv/disk2 -10%"']
  static override args = {
    node: Args.string({ required: true, description: 'Name or number of the chunkserver.' }),
    spec: Args.string({ required: true, description: 'PATH [SPACE], one argument.' }),
  }

  async run(): Promise<{ disk: DiskId }> {
    const { args, flags } = await this.parse(DiskAdd)
    return this.withMaster(flags, async (admin) => {
      const node = findNode(args.node, await admin.call('nodeList', {}))
      const { disk } = await admin.call('diskAdd', { node: node.node as NodeId, spec: args.spec })
      this.log(`Disk ${disk} of ${node.name} is in use.`)
      return { disk }
    })
  }
}

export class DiskRemove extends ClusterCommand {
  static override summary = 'Forget a disk. Refused while it holds the only copy of anything.'
  static override examples = ['<%= config.bin %> disk remove 3']
  static override args = { disk: diskArg }
  static override flags = {
    force: Flags.boolean({
      summary: 'Also when data is lost by it (the disk burned, and so did its other copies).',
      default: false,
    }),
  }

  async run(): Promise<{ disk: number; removed: true }> {
    const { args, flags } = await this.parse(DiskRemove)
    return this.withMaster(flags, async (admin) => {
      const disk = findDisk(args.disk, await admin.call('diskList', {}))
      await admin.call('diskRemove', { stamp: ADMIN_STAMP, disk: diskId(disk.disk), force: flags.force })
      this.log(`Disk ${disk.disk} (${disk.nodeName}:${disk.path}) is forgotten; its files were left as they are.`)
      return { disk: disk.disk, removed: true }
    })
  }
}
