/* `holdfast class list | show | create | modify | clone | rename | delete | import`. */

import { readFile } from 'node:fs/promises'
import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { formatBytes } from '../../base/units.ts'
import { formatHours } from '../../topology/class-times.ts'
import { COPIES_MAX } from '../../topology/labels.ts'
import {
  classWith,
  parseClassLine,
  printClass,
  type StorageClass,
  writeClass,
  wrongWithName,
} from '../../topology/storage-class.ts'
import type { BehindReport, ClassesReport, ClassReport } from '../../wire/reports.ts'
import { ADMIN_STAMP, type Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import {
  classFlags,
  type Explained,
  explained,
  findClass,
  flagsTyped,
  meaningOf,
  placesOf,
  placingsOf,
  renderExplained,
  typed,
} from '../classes.ts'
import { overhead, printable, table } from '../render.ts'
import {
  answerDangers,
  classDangers,
  dryRun,
  forced,
  type Moving,
  movesOfClass,
  renderMoves,
  trialLine,
} from '../trials.ts'
import { renderBehind } from './status.ts'

const nameArg = Args.string({ required: true, description: 'Name of the class.' })
interface Shown extends ClassReport {
  /** What makes this class: the words after `holdfast class create`. */
  readonly line: string
}

interface Listed extends Shown {
  readonly chunks: number
  readonly logicalBytes: number
  readonly rawBytes: number
  /** A store of before is still being counted. */
  readonly counting: boolean
}

/** What was made or changed, or with --dry-run would be. */
interface Made extends Shown {
  readonly changed: boolean
  readonly explained: readonly Explained[]
  /** What it makes worse for data that is there. */
  readonly dangers: readonly string[]
  /** With --dry-run, of a class that there is: what would be copied. */
  readonly moves?: Moving
}

const shown = (report: ClassReport, meaning: StorageClass): Shown => ({ ...report, line: printClass(meaning) })

interface Wish {
  /** 0: a new one. */
  readonly classId: number
  readonly inodes: number | null
  readonly dry: boolean
  readonly force?: boolean
  /** It keeps as many copies as the setting says, whatever that will be. */
  readonly bySetting?: boolean
}

/** Says what a class will mean, and stores it unless it is only being tried. */
async function put(
  admin: Admin,
  meaning: StorageClass,
  { classId, inodes, dry, force = false, bySetting = false }: Wish,
  report: ClassesReport,
  log: (text: string) => void,
): Promise<Made> {
  const places = await placesOf(admin)
  const found = explained(placingsOf(meaning), places)
  const dangers = classDangers(classId, meaning, report, places)
  const text = { ...writeClass(meaning), ...(bySetting ? { keep: '' } : {}) }
  if (!dry) answerDangers(dangers, { dry, force }, log)
  const number = dry ? classId : (await admin.call('classSet', { stamp: ADMIN_STAMP, classId, text })).classId
  log(printable(`${dry ? 'would be' : 'is'}: ${printClass(meaning)}`))
  for (const one of found) if (dry || one.report?.possible === false) log(renderExplained(one, places))
  const moves = dry && classId !== 0 ? await movesOfClass(admin, classId, text, trialLine(false)) : undefined
  if (moves !== undefined) log(renderMoves(moves))
  if (dry) answerDangers(dangers, { dry, force }, log)
  return {
    classId: number,
    ...text,
    inodes,
    line: printClass(meaning),
    changed: !dry,
    explained: found,
    dangers,
    ...(moves === undefined ? {} : { moves }),
  }
}

export class ClassList extends ClusterCommand {
  static override summary = 'Every storage class.'
  static override examples = ['<%= config.bin %> class list', '<%= config.bin %> class list --lines > classes.txt']
  static override flags = {
    lines: Flags.boolean({ summary: 'One line each, as `class import` reads it.', default: false }),
  }

  async run(): Promise<Listed[]> {
    const { flags } = await this.parse(ClassList)
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const usage = new Map(report.usage.classes.map((one) => [one.classId, one]))
      const classes = report.classes.map((one) => {
        const { chunks = 0, logicalBytes = 0, rawBytes = 0 } = usage.get(one.classId) ?? {}
        const held = { chunks, logicalBytes, rawBytes, counting: report.usage.counting }
        return { ...shown(one, meaningOf(one, report)), ...held }
      })
      if (flags.lines) for (const { line } of classes) this.log(printable(line))
      else
        this.log(
          table(classes, [
            { title: 'NAME', value: (c) => c.name },
            { title: 'CREATE', value: (c) => c.create || '-' },
            { title: 'KEEP', value: (c) => c.keep || `${report.copies}* (setting)` },
            { title: 'ARCHIVE', value: (c) => c.archive || '-' },
            {
              title: 'AFTER',
              value: (c) => (c.archive === '' ? '-' : `${formatHours(c.archiveAfterMs)} ${c.archiveBy}`),
            },
            { title: 'TRASH', value: (c) => c.trash || '-' },
            { title: 'MODE', value: (c) => c.defaultMode },
            { title: 'FILES', value: (c) => c.inodes ?? 'the rest', right: true },
            { title: 'LOGICAL', value: (c) => (c.counting ? 'counting' : formatBytes(c.logicalBytes)), right: true },
            { title: 'RAW', value: (c) => (c.counting ? 'counting' : formatBytes(c.rawBytes)), right: true },
            { title: 'OVERHEAD', value: (c) => (c.counting ? '' : overhead(c.rawBytes, c.logicalBytes)), right: true },
          ]),
        )
      return classes
    })
  }
}

export class ClassShow extends ClusterCommand {
  static override summary = 'One storage class and what it means on the disks there are.'
  static override examples = ['<%= config.bin %> class show hdd3x']
  static override args = { name: nameArg }

  async run(): Promise<Shown & { explained: Explained[]; behind: BehindReport['rows'] }> {
    const { args, flags } = await this.parse(ClassShow)
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const found = findClass(args.name, report)
      const meaning = meaningOf(found, report)
      const places = await placesOf(admin)
      const placings = explained(placingsOf(meaning), places)
      this.log(printable(printClass(meaning)))
      if (found.description !== '') this.log(printable(found.description))
      this.log(
        found.inodes === null ? 'What has no other class has this one.' : `Files and directories: ${found.inodes}.`,
      )
      for (const one of placings) this.log(renderExplained(one, places))
      const { behind } = await admin.call('status', {})
      const rows = behind.rows.filter(({ classId }) => classId === found.classId)
      if (rows.length > 0) this.log(`\n${renderBehind({ ...behind, rows })}`)
      return { ...shown(found, meaning), explained: placings, behind: rows }
    })
  }
}

export class ClassCreate extends ClusterCommand {
  static override summary = 'Make storage classes.'
  static override description =
    'The flags are those of mfsscadmin create. Labels: 2H,S is two copies on disks labelled H and one on S; H+S either, ' +
    'HS both, !H without, * any; /[RACK], /[SITE], /[IP] or /A-C: what no two copies may share; :s, :d, :l at the end is the ' +
    'mode; @4+1,H is erasure coding; longer labels stand in braces: {usb-backup}.'
  static override examples = [
    '<%= config.bin %> class create -C I -K S,S/[RACK] ssdonly',
    '<%= config.bin %> class create -C 2I -K H,H/[RACK]:s -A @4+1,H/[IP]:s -d 1 hddec',
    '<%= config.bin %> class create -K 2{usb-backup}/[SITE] away --dry-run',
  ]
  static override strict = false
  static override args = { name: nameArg }
  static override flags = { ...classFlags, 'dry-run': dryRun }

  async run(): Promise<Made[]> {
    const { argv, flags } = await this.parse(ClassCreate)
    const made = (argv as string[]).map((name) => typed(() => classWith(name, flagsTyped(flags))))
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const taken = made.find((one) => report.classes.some(({ name }) => name === one.name))
      if (taken !== undefined)
        throw new FsError('EEXIST', `there is a storage class "${taken.name}" (see class modify)`)
      const done: Made[] = []
      const wish = { classId: 0, inodes: 0, dry: flags['dry-run'] }
      for (const one of made) done.push(await put(admin, one, wish, report, (text) => this.log(text)))
      return done
    })
  }
}

export class ClassModify extends ClusterCommand {
  static override summary = 'Change storage classes; what is not said stays.'
  static override description =
    'Refused without --force where data of the class would find no place any more, or be kept once that is kept twice.'
  static override examples = [
    '<%= config.bin %> class modify -K 3H hddonly --dry-run',
    '<%= config.bin %> class modify -A - hddec',
  ]
  static override strict = false
  static override args = { name: nameArg }
  static override flags = { ...classFlags, 'dry-run': dryRun, force: forced }

  async run(): Promise<Made[]> {
    const { argv, flags } = await this.parse(ClassModify)
    const wanted = flagsTyped(flags)
    if (Object.values(wanted).every((value) => value === undefined))
      throw new FsError('EINVAL', 'nothing to change; see holdfast class modify --help')
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const changes = (argv as string[]).map((name) => {
        const found = findClass(name, report)
        // Of the default class, -K - gives the setting its say again.
        const unsaid = found.inodes === null && /^[-~]$/.test(wanted.K ?? '')
        const said = unsaid ? { ...wanted, K: `${Math.min(report.copies, COPIES_MAX)}` } : wanted
        const bySetting = unsaid || (found.keep === '' && wanted.K === undefined)
        const meaning = typed(() => classWith(name, said, meaningOf(found, report)))
        const { classId, inodes } = found
        return { meaning, wish: { classId, inodes, dry: flags['dry-run'], force: flags.force, bySetting } }
      })
      const done: Made[] = []
      for (const { meaning, wish } of changes)
        done.push(await put(admin, meaning, wish, report, (text) => this.log(text)))
      return done
    })
  }
}

export class ClassClone extends ClusterCommand {
  static override summary = 'Make storage classes like another.'
  static override examples = ['<%= config.bin %> class clone hddonly hdd-for-mail']
  static override strict = false
  static override args = { from: nameArg, name: Args.string({ required: true, description: 'Names of the new ones.' }) }
  static override flags = { 'dry-run': dryRun }

  async run(): Promise<Made[]> {
    const { argv, flags } = await this.parse(ClassClone)
    const [from, ...names] = argv as string[]
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const meaning = meaningOf(findClass(from!, report), report)
      const done: Made[] = []
      for (const name of names) {
        if (report.classes.some((one) => one.name === name)) throw new FsError('EEXIST', `storage class "${name}"`)
        const wish = { classId: 0, inodes: 0, dry: flags['dry-run'] }
        done.push(await put(admin, { ...meaning, name }, wish, report, (text) => this.log(text)))
      }
      return done
    })
  }
}

export class ClassRename extends ClusterCommand {
  static override summary = 'Give a storage class another name.'
  static override examples = ['<%= config.bin %> class rename hdd3x triple']
  static override args = { name: nameArg, to: Args.string({ required: true, description: 'The new name.' }) }
  static override flags = { 'dry-run': dryRun }

  async run(): Promise<{ classId: number; name: string; changed: boolean }> {
    const { args, flags } = await this.parse(ClassRename)
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const { classId } = findClass(args.name, report)
      const dry = flags['dry-run']
      if (dry) {
        const wrong = wrongWithName(args.to)
        if (wrong !== undefined) throw new FsError('EINVAL', wrong)
        if (report.classes.some((one) => one.name === args.to && one.classId !== classId))
          throw new FsError('EEXIST', `a storage class is called '${args.to}'`)
      } else await admin.call('classRename', { stamp: ADMIN_STAMP, classId, name: args.to })
      this.log(printable(`${args.name} ${dry ? 'would be' : 'is'} called ${args.to}`))
      if (dry) this.log('would copy nothing')
      return { classId, name: args.to, changed: !dry }
    })
  }
}

export class ClassDelete extends ClusterCommand {
  static override summary = 'Delete storage classes that nothing has.'
  static override examples = ['<%= config.bin %> class delete hdd3x']
  static override strict = false
  static override args = { name: nameArg }
  static override flags = { 'dry-run': dryRun }

  async run(): Promise<{ deleted: string[] }> {
    const { argv, flags } = await this.parse(ClassDelete)
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const found = (argv as string[]).map((name) => findClass(name, report))
      if (flags['dry-run']) {
        for (const one of found) this.log(printable(`${one.name} ${whetherDeleted(one, report)}`))
        return { deleted: [] }
      }
      for (const { classId, name } of found) {
        await admin.call('classDelete', { stamp: ADMIN_STAMP, classId })
        this.log(printable(`${name} deleted`))
      }
      return { deleted: found.map(({ name }) => name) }
    })
  }
}

/** A class that can be deleted is nobody's, so nothing is copied. */
function whetherDeleted({ classId, inodes }: ClassReport, { patterns }: ClassesReport): string {
  const pattern = patterns.find((one) => one.classId === classId)
  if (inodes === null) return 'could not be deleted: it is the default class'
  if (inodes > 0)
    return `could not be deleted: ${inodes} files and directories have it, those in the trash too (class set gives them another)`
  if (pattern !== undefined) return `could not be deleted: pattern ${pattern.number} gives it`
  return 'would be deleted; would copy nothing'
}

export class ClassImport extends ClusterCommand {
  static override summary = 'Make storage classes from lines as `class list --lines` or mfsscadmin scripts have them.'
  static override description =
    'A line is the flags and names of one `class create`; `mfsscadmin create` may stand in front, # begins a comment. All ' +
    'lines are read before anything is changed.'
  static override examples = [
    '<%= config.bin %> class import classes.txt',
    '<%= config.bin %> class import - < classes.txt',
  ]
  static override args = { file: Args.string({ required: true, description: 'The file; - for standard input.' }) }
  static override flags = {
    replace: Flags.boolean({
      char: 'r',
      summary: 'Change classes that exist; without it they are an error.',
      default: false,
    }),
    'dry-run': Flags.boolean({ char: 'n', summary: 'Read and explain; change nothing.', default: false }),
    force: forced,
  }

  async run(): Promise<Made[]> {
    const { args, flags } = await this.parse(ClassImport)
    const meanings = classesIn(await readFile(args.file === '-' ? '/dev/stdin' : args.file, 'utf8'))
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('classList', {})
      const known = new Map(report.classes.map((one) => [one.name, one]))
      const taken = meanings.find(({ name }) => known.has(name))
      if (taken !== undefined && !flags.replace)
        throw new FsError('EEXIST', `there is a storage class "${taken.name}" (--replace changes it)`)
      const done: Made[] = []
      for (const meaning of meanings) {
        const { classId, inodes } = known.get(meaning.name) ?? { classId: 0, inodes: 0 }
        const wish = { classId, inodes, dry: flags['dry-run'], force: flags.force }
        done.push(await put(admin, meaning, wish, report, (text) => this.log(text)))
      }
      return done
    })
  }
}

export function classesIn(text: string): StorageClass[] {
  const found: StorageClass[] = []
  for (const [at, raw] of text.split('\n').entries()) {
    const line = raw.trim().replace(/^(?:mfsscadmin(?:\s+-M\s+\S+)?\s+create|holdfast\s+class\s+create)\s/, '')
    if (line === '' || line.startsWith('#')) continue
    try {
      const { names, flags } = typed(() => parseClassLine(line))
      if (names.length === 0) throw new FsError('EINVAL', 'it names no class')
      for (const name of names) {
        if (found.some((one) => one.name === name)) throw new FsError('EINVAL', `"${name}" is named twice`)
        found.push(typed(() => classWith(name, flags)))
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      throw new FsError('EINVAL', `line ${at + 1}: ${error.message}`, { cause: error })
    }
  }
  return found
}
