/* `holdfast class set | get`: the class of files and directories; `holdfast pattern …`: of what is made from now on. */

import { Args, Flags } from '@oclif/core'
import type { Candidate } from '../../topology/assign.ts'
import { dangersOf } from '../../topology/danger.ts'
import type { ClassesReport, ClassReport, PatternReport } from '../../wire/reports.ts'
import { ADMIN_STAMP, type Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { type Explained, explained, findClass, meaningOf, placesOf, placingsOf, renderExplained } from '../classes.ts'
import { ProgressLine } from '../progress.ts'
import { nameBytes, printable, readableName, table } from '../render.ts'
import { stopSignal } from '../stop-signal.ts'
import { TreeWalk } from '../tree-walk.ts'
import { answerDangers, dryRun, forced, type Moving, movesOfGiven, renderMoves } from '../trials.ts'
import { pathInside } from './file.ts'

interface SetResult {
  readonly changed: number
  readonly left: number
  /** It was only tried: what would change, be copied, and be worse. */
  readonly dry?: true
  readonly moves?: Moving
  readonly dangers?: readonly string[]
  readonly explained?: readonly Explained[]
}

export class ClassSet extends ClusterCommand {
  static override summary = 'Give files and directories a storage class.'
  static override description =
    'What is made in a directory has its class. Data moves in the background; reading and writing go on. Ctrl-C ends a ' +
    'recursive walk; what has been changed stays. Refused without --force where data would find no place, or be kept once that ' +
    'is kept twice. --dry-run counts chunks that other files share as if those had the class, too.'
  static override examples = [
    '<%= config.bin %> class set hddec mnt/films -r',
    '<%= config.bin %> class set default mnt/docs -r --from hddec',
  ]
  static override strict = false
  static override args = {
    class: Args.string({ required: true, description: 'Name of the class.' }),
    path: Args.string({ required: true, description: 'Paths in a mount, or from the root of the filesystem.' }),
  }
  static override flags = {
    recursive: Flags.boolean({ char: 'r', summary: 'Also everything below directories.', default: false }),
    from: Flags.string({ summary: 'Only what has this class now.', helpValue: 'CLASS' }),
    'dry-run': dryRun,
    force: forced,
  }

  async run(): Promise<SetResult> {
    const { argv, flags } = await this.parse(ClassSet)
    const [name, ...paths] = argv as string[]
    const { recursive, force, 'dry-run': dry } = flags
    return this.withMaster({ dir: flags.dir, path: paths[0] }, async (admin) => {
      const report = await admin.call('classList', {})
      const given = findClass(name!, report)
      const { classId } = given
      const onlyFrom = flags.from === undefined ? undefined : findClass(flags.from, report).classId
      const inside: string[] = []
      for (const path of paths) inside.push(await pathInside(path))
      const places = await placesOf(admin)
      const dangers = await givenDangers(admin, given, inside, {
        report,
        disks: places.candidates,
        onlyFrom,
        recursive,
      })
      const line = new ProgressLine((recursive || dry) && !this.jsonEnabled())
      const stop = stopSignal()
      if (dry) {
        const trial = await movesOfGiven(admin, inside, { classId, onlyFrom, recursive }, line, stop)
        const { changed, left, ...moves } = trial
        this.log(`${changed} would change, ${left} would be left as they are`)
        const placings = explained(placingsOf(meaningOf(given, report)), places)
        for (const one of placings) this.log(renderExplained(one, places))
        this.log(renderMoves(moves))
        answerDangers(dangers, { dry, force }, (text) => this.log(text))
        return { changed, left, dry, moves, dangers, explained: placings }
      }
      answerDangers(dangers, { dry, force }, (text) => this.log(text))
      const wish = { stamp: ADMIN_STAMP, classId, onlyFrom }
      const walk = new TreeWalk(admin, (where) => admin.call('classOf', { ...wish, ...where }), line)
      try {
        for (const path of inside)
          if (recursive) await walk.tree(path, stop)
          else await walk.one(path)
      } finally {
        walk.line.end()
      }
      this.log(`${walk.changed} changed, ${walk.left} left as they are`)
      return { changed: walk.changed, left: walk.left }
    })
  }
}

/** Beside the class that the paths have now, or that --from names. A directory by itself has no data. */
async function givenDangers(
  admin: Admin,
  given: ClassReport,
  paths: readonly string[],
  {
    report,
    disks,
    onlyFrom,
    recursive,
  }: {
    readonly report: ClassesReport
    readonly disks: readonly Candidate[]
    readonly onlyFrom: number | undefined
    readonly recursive: boolean
  },
): Promise<string[]> {
  const found = new Set<string>()
  for (const path of paths) {
    const { type, classId } = await admin.call('classGet', { path })
    if (type === 'dir' && !recursive) continue
    const before = report.classes.find((one) => one.classId === (onlyFrom ?? classId)) ?? report.classes[0]!
    const [was, is] = [before, given].map((one) => ({ meaning: meaningOf(one, report), disks }))
    for (const what of dangersOf(was!, is!)) found.add(what)
  }
  return [...found]
}

interface GetResult {
  readonly path: string
  readonly class: string
}

export class ClassGet extends ClusterCommand {
  static override summary = 'The storage class of files and directories.'
  static override examples = ['<%= config.bin %> class get mnt/films mnt/docs']
  static override strict = false
  static override args = {
    path: Args.string({ required: true, description: 'Paths in a mount, or from the root of the filesystem.' }),
  }

  async run(): Promise<GetResult[]> {
    const { argv, flags } = await this.parse(ClassGet)
    const paths = argv as string[]
    return this.withMaster({ dir: flags.dir, path: paths[0] }, async (admin) => {
      const found: GetResult[] = []
      for (const path of paths) {
        const { name } = await admin.call('classGet', { path: await pathInside(path) })
        found.push({ path, class: name })
        this.log(printable(`${path}: ${name}`))
      }
      return found
    })
  }
}

// ---- patterns

export class PatternList extends ClusterCommand {
  static override summary = 'Which names and owners give what is made a storage class.'
  static override examples = ['<%= config.bin %> pattern list']

  async run(): Promise<(PatternReport & { class: string })[]> {
    const { flags } = await this.parse(PatternList)
    return this.withMaster(flags, async (admin) => {
      const { patterns, classes } = await admin.call('classList', {})
      const names = new Map(classes.map((one) => [one.classId, one.name]))
      const found = patterns.map((one) => ({ ...one, class: names.get(one.classId) ?? String(one.classId) }))
      this.log(
        table(found, [
          { title: 'PATTERN', value: (p) => p.number, right: true },
          { title: 'NAMES', value: (p) => readableName(p.glob) },
          { title: 'USER', value: (p) => p.uid ?? 'any', right: true },
          { title: 'GROUP', value: (p) => p.gid ?? 'any', right: true },
          { title: 'PRIORITY', value: (p) => p.priority, right: true },
          { title: 'CLASS', value: (p) => p.class },
        ]) || 'There are no patterns.',
      )
      return found
    })
  }
}

export class PatternAdd extends ClusterCommand {
  static override summary = 'Give what is made from now on a storage class by its name or owner.'
  static override description =
    'For files and directories, whatever their directory has. Of several patterns that match, the highest priority counts, ' +
    'then the oldest.'
  static override examples = [
    "<%= config.bin %> pattern add '*.mp4' films",
    "<%= config.bin %> pattern add '*' scratch --uid 1001 --priority 5",
  ]
  static override args = {
    names: Args.string({ required: true, description: 'The whole name, with * ? and [sets].' }),
    class: Args.string({ required: true, description: 'Name of the class.' }),
  }
  static override flags = {
    uid: Flags.integer({ summary: 'Only of this user.', min: 0 }),
    gid: Flags.integer({ summary: 'Only of this group.', min: 0 }),
    priority: Flags.integer({ summary: 'The higher counts.', default: 0, min: 0 }),
  }

  async run(): Promise<{ number: number }> {
    const { args, flags } = await this.parse(PatternAdd)
    return this.withMaster(flags, async (admin) => {
      const { classId } = findClass(args.class, await admin.call('classList', {}))
      const { uid, gid, priority } = flags
      const pattern = { glob: nameBytes(args.names), uid, gid, priority, classId }
      const reply = await admin.call('patternSet', { stamp: ADMIN_STAMP, number: 0, pattern })
      this.log(printable(`pattern ${reply.number}: ${args.names} is of ${args.class}`))
      return reply
    })
  }
}

export class PatternRemove extends ClusterCommand {
  static override summary = 'Remove a pattern; what was made by it stays as it is.'
  static override examples = ['<%= config.bin %> pattern remove 4']
  static override args = {
    number: Args.integer({ required: true, description: 'Number of the pattern (holdfast pattern list).', min: 1 }),
  }

  async run(): Promise<{ removed: number }> {
    const { args, flags } = await this.parse(PatternRemove)
    return this.withMaster(flags, async (admin) => {
      await admin.call('patternDelete', { stamp: ADMIN_STAMP, number: args.number })
      this.log(`pattern ${args.number} removed`)
      return { removed: args.number }
    })
  }
}
