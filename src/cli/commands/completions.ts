/* `holdfast completions SHELL`: a script made from the command table; nothing is fetched or cached. */

import { Args } from '@oclif/core'
import { BaseCommand } from '../base.ts'
import { completionScript, SHELLS, type Shell } from '../completion.ts'

export class Completions extends BaseCommand {
  static override summary = 'Print a completion script for bash, zsh or fish.'
  static override examples = [
    'source <(<%= config.bin %> completions bash)',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of zsh
    '<%= config.bin %> completions zsh > "${fpath[1]}/_holdfast"',
    '<%= config.bin %> completions fish > ~/.config/fish/completions/holdfast.fish',
  ]
  static override args = { shell: Args.string({ required: true, options: [...SHELLS], description: 'Which shell.' }) }

  async run(): Promise<{ shell: string; script: string }> {
    const { args } = await this.parse(Completions)
    const words = this.config.commands
      .filter((command) => !command.hidden)
      .map((command) => ({
        words: command.id.split(':'),
        summary: command.summary ?? '',
        flags: Object.values(command.flags).map((flag) => ({
          name: flag.name,
          summary: flag.summary ?? '',
          options: (flag.type === 'option' && flag.options) || [],
        })),
        args: Object.values(command.args).flatMap((arg) => arg.options ?? []),
      }))
    const script = completionScript(args.shell as Shell, words)
    if (!this.jsonEnabled()) process.stdout.write(script)
    return { shell: args.shell, script }
  }
}
