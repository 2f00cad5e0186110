/* `holdfast bench PATH`: a quick look at what a mount delivers, through the kernel like any program. */

import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../base.ts'
import { table } from '../render.ts'

export interface BenchLine {
  readonly name: string
  readonly value: number
  readonly unit: string
}

export class Bench extends BaseCommand {
  static override summary = 'A short benchmark in a directory: one large file, many small ones.'
  static override description =
    'Works in a fresh directory below PATH and removes it afterwards (its files go to the trash if there is one). ' +
    'Reads may come from the cache of the kernel; npm run bench measures with cold caches and compares.'
  static override examples = [
    '<%= config.bin %> bench mnt',
    '<%= config.bin %> bench mnt --size 1024 --files 5000 --json',
  ]
  static override args = {
    path: Args.string({ required: true, description: 'A directory in a mount (any filesystem works).' }),
  }
  static override flags = {
    size: Flags.integer({ summary: 'MiB of the large file.', default: 256, min: 1, max: 1_048_576 }),
    files: Flags.integer({ summary: 'How many small files (4 KiB).', default: 1000, min: 1, max: 10_000_000 }),
    writers: Flags.integer({ summary: 'Small files written at the same time.', default: 8, min: 1, max: 256 }),
  }

  async run(): Promise<{ path: string; lines: BenchLine[] }> {
    const { args, flags } = await this.parse(Bench)
    const { runBench } = await import('../bench.ts')
    const lines = await runBench(args.path, flags, (name) => {
      if (!this.jsonEnabled()) process.stderr.write(`… ${name}\n`)
    })
    this.log(
      table(lines, [
        { title: 'WORKLOAD', value: (l) => l.name },
        { title: 'RESULT', value: (l) => l.value, right: true },
        { title: '', value: (l) => l.unit },
      ]),
    )
    return { path: args.path, lines }
  }
}
