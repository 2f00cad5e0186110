/* `holdfast trash list | restore | purge | retention`. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { type Ino, ino } from '../../base/ids.ts'
import { formatBytes, formatDuration, parseDuration } from '../../base/units.ts'
import type { TrashEntry } from '../../wire/reports.ts'
import { ADMIN_STAMP, type Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { ProgressLine } from '../progress.ts'
import { count, nameBytes, printable, readableName, table, when } from '../render.ts'
import { stopSignal } from '../stop-signal.ts'
import { TreeWalk } from '../tree-walk.ts'
import { pathInside } from './file.ts'

/** Entries asked for at once, and inodes purged by one call (the wire's bound). */
const PAGE = 1000

async function* trashEntries(admin: Admin, match: string): AsyncGenerator<TrashEntry> {
  let cursor = ''
  do {
    const page = await admin.call('trashList', { cursor, limit: PAGE, match })
    yield* page.entries
    cursor = page.cursor
  } while (cursor !== '')
}

const matchFlag = Flags.string({ summary: 'Only paths that contain this.', default: '', helpValue: 'TEXT' })

/** A deleted file that somebody has open, as `trash list --sustained` tells of it. */
interface SustainedEntry {
  readonly ino: number
  readonly size: number
  readonly uid: number
  /** Undefined: it is not in the trash as well, so it goes with its last user. */
  readonly path: string | undefined
  readonly heldBy: readonly { readonly session: number; readonly host: string; readonly mountpoint: string }[]
}

async function sustainedEntries(admin: Admin, limit: number): Promise<{ entries: SustainedEntry[]; more: boolean }> {
  const { sessions } = await admin.call('status', {})
  const entries: SustainedEntry[] = []
  let from = ino(0)
  for (;;) {
    const wanted = { session: ADMIN_STAMP.session, of: 'sustained', sec: 0, ino: from, limit: PAGE } as const
    const { files, end } = await admin.call('deletedPage', { ...wanted, settle: from === 0 })
    for (const { attr, trash, holders } of files) {
      if (limit > 0 && entries.length === limit) return { entries, more: true }
      const heldBy = holders.map((session) => {
        const known = sessions.find((one) => one.session === session)
        return { session, host: known?.host ?? '?', mountpoint: known?.mountpoint ?? '?' }
      })
      entries.push({ ino: attr.ino, size: attr.size, uid: attr.uid, path: trash?.path, heldBy })
    }
    const last = files.at(-1)
    if (end || last === undefined) return { entries, more: false }
    from = ino(last.attr.ino + 1)
  }
}

export class TrashList extends ClusterCommand {
  static override summary = 'Deleted files that can be taken back, the next to expire first.'
  static override examples = [
    '<%= config.bin %> trash list',
    '<%= config.bin %> trash list --match docs/ --json',
    '<%= config.bin %> trash list --sustained',
  ]
  static override flags = {
    match: matchFlag,
    limit: Flags.integer({ summary: 'At most this many; 0: all.', default: 1000, min: 0 }),
    sustained: Flags.boolean({
      summary: 'Instead, files that are deleted and held open, and who holds them.',
      default: false,
      exclusive: ['match'],
    }),
  }

  async run(): Promise<TrashEntry[] | SustainedEntry[]> {
    const { flags } = await this.parse(TrashList)
    if (flags.sustained) return this.withMaster(flags, (admin) => this.#sustained(admin, flags.limit))
    return this.withMaster(flags, async (admin) => {
      const entries: TrashEntry[] = []
      let more = false
      for await (const entry of trashEntries(admin, nameBytes(flags.match))) {
        if (flags.limit > 0 && entries.length === flags.limit) {
          more = true
          break
        }
        entries.push(entry)
      }
      this.log(
        table(entries, [
          { title: 'INODE', value: (e) => e.ino, right: true },
          { title: 'DELETED', value: (e) => when(e.deletedAt * 1000) },
          { title: 'EXPIRES', value: (e) => when(e.expiresAt * 1000) },
          { title: 'SIZE', value: (e) => formatBytes(e.size), right: true },
          { title: 'PATH', value: (e) => readableName(e.path) },
        ]) || 'The trash is empty.',
      )
      if (more) this.log(`(the first ${flags.limit}; --limit 0 shows all)`)
      return entries
    })
  }

  async #sustained(admin: Admin, limit: number): Promise<SustainedEntry[]> {
    const { entries, more } = await sustainedEntries(admin, limit)
    this.log(
      table(entries, [
        { title: 'INODE', value: (e) => e.ino, right: true },
        { title: 'SIZE', value: (e) => formatBytes(e.size), right: true },
        { title: 'HELD BY', value: (e) => e.heldBy.map((at) => `${at.host}:${at.mountpoint}`).join(', ') },
        { title: 'PATH', value: (e) => (e.path === undefined ? '-' : readableName(e.path)) },
      ]) || 'No deleted file is held open.',
    )
    if (more) this.log(`(the first ${limit}; --limit 0 shows all)`)
    return entries
  }
}

/** Inode numbers or paths as `trash list` shows them → inode numbers. A path deleted several times: the latest. */
async function inodes(admin: Admin, given: readonly string[]): Promise<Ino[]> {
  const found: Ino[] = []
  for (const word of given) {
    if (/^\d+$/.test(word)) {
      found.push(ino(Number(word)))
      continue
    }
    const path = await pathInside(word)
    let latest: TrashEntry | undefined
    for await (const entry of trashEntries(admin, path))
      if (entry.path === path && entry.deletedAt >= (latest?.deletedAt ?? 0)) latest = entry
    if (latest === undefined) throw new FsError('ENOENT', `${word} is not in the trash`)
    found.push(ino(latest.ino))
  }
  return found
}

const whichArg = Args.string({ required: true, description: 'Inode numbers or paths, as `trash list` shows them.' })

export class TrashRestore extends ClusterCommand {
  static override summary = 'Give deleted files their names back.'
  static override examples = [
    '<%= config.bin %> trash restore 4711',
    '<%= config.bin %> trash restore mnt/docs/plan.txt',
    '<%= config.bin %> trash restore 4711 --to mnt/plan-old.txt',
  ]
  static override strict = false
  static override args = { which: whichArg }
  static override flags = { to: Flags.string({ summary: 'Another name (one file only).', helpValue: 'PATH' }) }

  async run(): Promise<{ ino: number; path: string }[]> {
    const { argv, flags } = await this.parse(TrashRestore)
    const given = argv as string[]
    if (flags.to !== undefined && given.length > 1) throw new FsError('EINVAL', '--to takes one file')
    return this.withMaster({ dir: flags.dir, path: flags.to ?? given[0] }, async (admin) => {
      const to = flags.to === undefined ? undefined : await pathInside(flags.to)
      const restored: { ino: number; path: string }[] = []
      for (const node of await inodes(admin, given)) {
        const { path } = await admin.call('trashRestore', { stamp: ADMIN_STAMP, ino: node, path: to, name: undefined })
        restored.push({ ino: node, path })
        this.log(`restored ${readableName(path)}`)
      }
      return restored
    })
  }
}

export class TrashPurge extends ClusterCommand {
  static override summary = 'Delete from the trash for good.'
  static override examples = ['<%= config.bin %> trash purge 4711', '<%= config.bin %> trash purge --all --match /tmp/']
  static override strict = false
  static override args = { which: Args.string({ required: false, description: whichArg.description ?? '' }) }
  static override flags = {
    all: Flags.boolean({ summary: 'Everything (that --match matches).', default: false }),
    match: matchFlag,
  }

  async run(): Promise<{ purged: number }> {
    const { argv, flags } = await this.parse(TrashPurge)
    const given = argv as string[]
    if (flags.all === given.length > 0) throw new FsError('EINVAL', 'name inodes or paths, or give --all')
    return this.withMaster({ dir: flags.dir, path: given[0] }, async (admin) => {
      const doomed: Ino[] = flags.all ? [] : await inodes(admin, given)
      if (flags.all) for await (const entry of trashEntries(admin, nameBytes(flags.match))) doomed.push(ino(entry.ino))
      let purged = 0
      for (let i = 0; i < doomed.length; i += PAGE)
        purged += (await admin.call('trashPurge', { stamp: ADMIN_STAMP, inos: doomed.slice(i, i + PAGE) })).purged
      this.log(`purged ${count(purged, 'file')}`)
      return { purged }
    })
  }
}

interface RetentionResult {
  readonly path: string
  readonly retentionMs: number
  readonly changed: number
  readonly left: number
}

export class TrashRetention extends ClusterCommand {
  static override summary = 'How long a file (or what is made in a directory) stays in the trash.'
  static override description =
    'Without a time it is shown. What is made in a directory has its retention; with -r everything in it gets the new one, ' +
    'and Ctrl-C ends the walk: what has been changed stays. Files that are in the trash already keep their time.'
  static override examples = [
    '<%= config.bin %> trash retention mnt/docs 7d -r',
    '<%= config.bin %> trash retention mnt/tmp 0',
    '<%= config.bin %> trash retention mnt/docs',
  ]
  static override args = {
    path: Args.string({ required: true, description: 'A file or directory.' }),
    time: Args.string({ required: false, description: 'Like 30min, 24h, 7d; 0: no trash; default: as the cluster.' }),
  }
  static override flags = {
    recursive: Flags.boolean({ char: 'r', summary: 'Also everything below the directory.', default: false }),
  }

  async run(): Promise<RetentionResult> {
    const { args, flags } = await this.parse(TrashRetention)
    const { time } = args
    const wanted = time === undefined || time === 'default' ? undefined : durationOf(time)
    if (time === undefined && flags.recursive)
      throw new FsError('EINVAL', '-r: give the time that everything is to have')
    return this.withMaster({ dir: flags.dir, path: args.path }, async (admin) => {
      const inside = await pathInside(args.path)
      const wish = { stamp: ADMIN_STAMP, retentionMs: wanted }
      const walk = new TreeWalk(
        admin,
        (where) => admin.call('retentionOf', { ...wish, ...where }),
        new ProgressLine(flags.recursive && !this.jsonEnabled()),
      )
      if (time !== undefined) {
        try {
          if (flags.recursive) await walk.tree(inside, stopSignal())
          else await walk.one(inside)
        } finally {
          walk.line.end()
        }
      }
      const { trashRetentionMs: retentionMs } = await admin.call('fileInfo', { path: inside })
      const says = retentionMs === 0 ? 'deleted at once' : `kept ${formatDuration(retentionMs)} after deletion`
      this.log(printable(`${args.path}: ${says}`))
      const { changed, left } = walk
      if (flags.recursive) this.log(`${changed} changed, ${left} left as they are`)
      return { path: args.path, retentionMs, changed, left }
    })
  }
}

export function durationOf(typed: string): number {
  const ms = parseDuration(typed)
  if (ms === undefined) throw new FsError('EINVAL', `"${typed}" is no time; write it like 30s, 10min, 24h, 7d, or 0`)
  return ms
}
