/* `holdfast mount PATH` and `umount PATH`: a further mount in the background, without writing a file for it. */

import { Args, Flags } from '@oclif/core'
import { BaseCommand, ClusterCommand } from '../base.ts'
import { durationOf } from './trash.ts'

export class Mount extends ClusterCommand {
  static override summary = 'Mount a cluster at a directory, in the background.'
  static override description =
    'The cluster is found as by every command; --master names one directly. For a mount that outlives reboots use `run mount` under systemd.'
  static override examples = [
    '<%= config.bin %> mount --dir .holdfast mnt2',
    '<%= config.bin %> mount --master 10.1.0.1:9460 /mnt/holdfast --read-only',
    '<%= config.bin %> mount --dir .holdfast mnt3 --prefer ssd,H',
    '<%= config.bin %> mount --on-disconnect error --on-disconnect-after 30s /mnt/holdfast',
    '<%= config.bin %> mount --meta /mnt/holdfast-meta',
  ]
  static override args = { path: Args.string({ required: true, description: 'Where; made when missing.' }) }
  static override flags = {
    master: Flags.string({ summary: 'Address of the master.', helpValue: 'HOST:PORT', exclusive: ['dir'] }),
    door: Flags.option({
      options: ['fuse', 'fuse-native'] as const,
      default: 'fuse',
      summary: 'How the kernel is spoken to.',
    })(),
    prefer: Flags.string({
      summary: 'Labels of the disks to read from first, in order, like A,B.',
      helpValue: 'LABELS',
    }),
    rack: Flags.string({ summary: 'The rack that it is in.', helpValue: 'NAME' }),
    site: Flags.string({ summary: 'The site of that rack.', helpValue: 'NAME' }),
    'read-only': Flags.boolean({ summary: 'Refuse every change.', default: false }),
    meta: Flags.boolean({
      summary: 'Show what is deleted instead: the trash, and files held open (root).',
      default: false,
    }),
    'on-disconnect': Flags.option({
      options: ['wait', 'error'] as const,
      default: 'error',
      summary: 'What operations do that need a server which is away: wait until it is back, or fail after a time.',
    })(),
    'on-disconnect-after': Flags.string({
      summary: 'That time, like 30s; 5 min without it.',
      helpValue: 'DURATION',
    }),
    'op-log': Flags.string({ summary: 'Write one JSON line per operation to this file.', helpValue: 'FILE' }),
  }

  async run(): Promise<{ mountpoint: string; pid: number; log: string }> {
    const { args, flags } = await this.parse(Mount)
    const after = flags['on-disconnect-after']
    const { mountInBackground } = await import('../mounting.ts')
    const mounted = await mountInBackground(args.path, {
      dir: flags.dir,
      master: flags.master,
      door: flags.door,
      readOnly: flags['read-only'],
      prefer: flags.prefer?.split(',') ?? [],
      rack: flags.rack ?? '',
      site: flags.site ?? '',
      meta: flags.meta,
      onDisconnect: flags['on-disconnect'],
      onDisconnectMs: after === undefined ? undefined : durationOf(after),
      opLog: flags['op-log'],
    })
    this.log(`Mounted at ${mounted.mountpoint} (process ${mounted.pid}); its log is ${mounted.log}`)
    return mounted
  }
}

export class Umount extends BaseCommand {
  static override summary = 'Unmount a directory; everything written is brought to the chunkservers first.'
  static override examples = ['<%= config.bin %> umount mnt2']
  static override args = { path: Args.string({ required: true, description: 'The mount point.' }) }

  async run(): Promise<{ mountpoint: string }> {
    const { args } = await this.parse(Umount)
    const { unmountPath } = await import('../mounting.ts')
    const mountpoint = await unmountPath(args.path)
    this.log(`Unmounted ${mountpoint}`)
    return { mountpoint }
  }
}
