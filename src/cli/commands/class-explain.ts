/* `holdfast class explain`: what labels mean, before anything is stored. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { type LabelMode, type Placing, parsePlacing } from '../../topology/labels.ts'
import { type ClassMode, classWith, parseClassLine } from '../../topology/storage-class.ts'
import type { Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { type Explained, explained, meaningOf, placesOf, placingsOf, renderExplained, typed } from '../classes.ts'

type Placings = { placing: Placing; mode: LabelMode; for: ClassMode[] }[]

export class ClassExplain extends ClusterCommand {
  static override summary = 'What labels mean on the disks there are: who satisfies them, and what may be lost.'
  static override description =
    'Takes an expression (2H/[RACK]:s), the flags of a class in quotes (after --), or the name of a class. Says for each ' +
    'clause which disks it allows, whether all copies find a place now, and which single disk, node, rack or site could not ' +
    'be lost.'
  static override examples = [
    "<%= config.bin %> class explain '2H,S/[RACK]:s'",
    "<%= config.bin %> class explain -- '-C I -K S,S/[RACK]'",
    "<%= config.bin %> class explain '@4+1,H/[IP]' --dry-run",
    '<%= config.bin %> class explain hddec',
  ]
  static override args = {
    what: Args.string({ required: true, description: 'An expression, the flags of a class, or its name.' }),
  }
  static override flags = {
    'dry-run': Flags.boolean({
      summary: 'Only read the labels and write them in full; no cluster is asked.',
      default: false,
    }),
  }

  async run(): Promise<Explained[]> {
    const { args, flags } = await this.parse(ClassExplain)
    if (flags['dry-run']) {
      const found = explained(
        typed(() => placingsIn(args.what)),
        undefined,
      )
      for (const one of found) this.log(renderExplained(one, undefined))
      return found
    }
    return this.withMaster(flags, async (admin) => {
      const placings = (await placingsNamed(admin, args.what)) ?? typed(() => placingsIn(args.what))
      const places = await placesOf(admin)
      const found = explained(placings, places)
      for (const one of found) this.log(renderExplained(one, places))
      return found
    })
  }
}

/** A class of that name comes before an expression that reads like it. */
async function placingsNamed(admin: Admin, name: string): Promise<Placings | undefined> {
  const report = await admin.call('classList', {})
  const found = report.classes.find((one) => one.name === name)
  return found === undefined ? undefined : placingsOf(meaningOf(found, report))
}

function placingsIn(text: string): Placings {
  if (/^\s*-[A-Za-z]\s/.test(text)) {
    const { names, flags } = parseClassLine(text)
    return placingsOf(classWith(names[0] ?? 'class', flags))
  }
  const placing = parsePlacing(text)
  if (placing === undefined) throw new FsError('EINVAL', `'${text}' says that nothing is defined`)
  return [{ placing, mode: placing.mode ?? 'std', for: [] }]
}
