/* `holdfast run ROLE --config FILE`: what systemd and the local supervisor start. */

import { Args, Flags } from '@oclif/core'
import { NODE_CONFIG_FILE } from '../../config/load.ts'
import { ROLES } from '../../config/tables.ts'
import { BaseCommand } from '../base.ts'

export class Run extends BaseCommand {
  static override summary = 'Run one role in the foreground, configured by a TOML file.'
  static override description =
    'Logs JSON lines to standard error (or the file in [log]). SIGTERM stops it in order. Keys are listed in docs/config.md; unknown ones are refused.'
  static override examples = [
    '<%= config.bin %> run master --config /etc/holdfast/master.toml',
    '<%= config.bin %> run mount',
  ]
  static override args = {
    role: Args.string({ required: true, options: [...ROLES], description: 'Which role.' }),
  }
  static override flags = {
    config: Flags.string({ summary: 'The TOML file.', default: NODE_CONFIG_FILE, helpValue: 'FILE' }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Run)
    const { runRole } = await import('../role.ts')
    await runRole(args.role, flags.config)
  }
}
