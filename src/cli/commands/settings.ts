/* `holdfast settings show | set`: what holds for the whole cluster; kept in the changelog, not in files. */

import { Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { formatBytes, formatDuration, parseBytes } from '../../base/units.ts'
import { labelText } from '../../topology/label-names.ts'
import type { StatusReport } from '../../wire/reports.ts'
import { ADMIN_STAMP } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { table } from '../render.ts'
import { durationOf } from './trash.ts'

const rateText = (bytesPerSecond: number): string =>
  bytesPerSecond === 0 ? 'no bound' : `${formatBytes(bytesPerSecond)}/s`

function render(settings: StatusReport['settings']): string {
  const { moving } = settings
  const rows: [string, string, string][] = [
    ['copies', String(settings.copies), 'chunkservers that hold each chunk'],
    [
      'grace',
      formatDuration(settings.graceMs),
      'a chunkserver may be away this long before its chunks are copied again',
    ],
    [
      'trash-retention',
      formatDuration(settings.trashRetentionMs),
      'deleted files of new directories are kept this long',
    ],
    [
      'backup-labels',
      settings.backupLabels.map(labelText).join(' ') || '-',
      'disks with one of them are read from only when no other copy can be read',
    ],
    ['session-timeout', formatDuration(settings.sessionTimeoutMs), 'a mount unheard of this long has lost its locks'],
    ['rebalance', moving.rebalance ? 'on' : 'off', 'disks are filled alike'],
    ['rebalance-threshold', `${moving.rebalancePercent} %`, 'it begins where disks differ by more'],
    ['disk-rate', rateText(moving.diskBytesPerSecond), 'of what is moved in the background from and to one disk'],
    ['node-rate', rateText(moving.nodeBytesPerSecond), 'the same of one chunkserver'],
    ['sites-rate', rateText(moving.sitesBytesPerSecond), 'the same between two sites'],
  ]
  return table(rows, [
    { title: 'SETTING', value: (r) => r[0] },
    { title: 'VALUE', value: (r) => r[1], right: true },
    { title: 'MEANS', value: (r) => r[2] },
  ])
}

export class SettingsShow extends ClusterCommand {
  static override summary = 'The settings of the cluster.'
  static override examples = ['<%= config.bin %> settings show']

  async run(): Promise<StatusReport['settings']> {
    const { flags } = await this.parse(SettingsShow)
    return this.withMaster(flags, async (admin) => {
      const { settings } = await admin.call('status', {})
      this.log(render(settings))
      return settings
    })
  }
}

export class SettingsSet extends ClusterCommand {
  static override summary = 'Change settings of the cluster.'
  static override examples = [
    '<%= config.bin %> settings set --copies 3',
    '<%= config.bin %> settings set --trash-retention 7d',
    '<%= config.bin %> settings set --backup-labels usb-backup',
    '<%= config.bin %> settings set --rebalance off',
    '<%= config.bin %> settings set --sites-rate 2MiB',
  ]
  static override flags = {
    copies: Flags.integer({ summary: 'Copies of each chunk; existing chunks follow.', min: 1, max: 64 }),
    grace: Flags.string({ summary: 'Like 10min.', helpValue: 'TIME' }),
    'trash-retention': Flags.string({ summary: 'Like 24h; 0: no trash.', helpValue: 'TIME' }),
    'backup-labels': Flags.string({
      summary: 'Labels of disks that are read from only when nothing else is left, like B,usb-backup; "" for none.',
      helpValue: 'LABELS',
    }),
    'session-timeout': Flags.string({ summary: 'Like 30s.', helpValue: 'TIME' }),
    rebalance: Flags.string({ summary: 'Whether disks are filled alike.', options: ['on', 'off'] }),
    'rebalance-threshold': Flags.integer({
      summary: 'It begins where disks differ by more percent.',
      helpValue: 'PERCENT',
      min: 1,
      max: 100,
    }),
    'disk-rate': Flags.string({
      summary: 'Of what is moved in the background, per disk and second, like 50MiB; 0: no bound.',
      helpValue: 'BYTES',
    }),
    'node-rate': Flags.string({ summary: 'The same per chunkserver.', helpValue: 'BYTES' }),
    'sites-rate': Flags.string({ summary: 'The same between each two sites.', helpValue: 'BYTES' }),
  }

  async run(): Promise<StatusReport['settings']> {
    const { flags } = await this.parse(SettingsSet)
    const time = (typed: string | undefined): number | undefined =>
      typed === undefined ? undefined : durationOf(typed)
    const moving = {
      rebalance: flags.rebalance === undefined ? undefined : flags.rebalance === 'on',
      rebalancePercent: flags['rebalance-threshold'],
      diskBytesPerSecond: rateOf(flags['disk-rate']),
      nodeBytesPerSecond: rateOf(flags['node-rate']),
      sitesBytesPerSecond: rateOf(flags['sites-rate']),
    }
    const moves = Object.values(moving).some((value) => value !== undefined)
    const change = {
      moving: moves ? moving : undefined,
      copies: flags.copies,
      graceMs: time(flags.grace),
      trashRetentionMs: time(flags['trash-retention']),
      sessionTimeoutMs: time(flags['session-timeout']),
      backupLabels: flags['backup-labels']?.split(',').filter((label) => label.trim() !== ''),
    }
    if (Object.values(change).every((value) => value === undefined))
      throw new FsError('EINVAL', 'nothing to set; see holdfast settings set --help')
    return this.withMaster(flags, async (admin) => {
      await admin.call('settingsSet', { stamp: ADMIN_STAMP, ...change })
      const { settings } = await admin.call('status', {})
      this.log(render(settings))
      return settings
    })
  }
}

function rateOf(typed: string | undefined): number | undefined {
  if (typed === undefined) return undefined
  const bytes = parseBytes(typed.replace(/\/s$/, ''))
  if (bytes === undefined) throw new FsError('EINVAL', `"${typed}" is not a number of bytes, like 50MiB`)
  return bytes
}
