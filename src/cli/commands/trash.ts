/* `holdfast trash list | restore | purge | retention`. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { type Ino, ino } from '../../base/ids.ts'
import { formatBytes, formatDuration, parseDuration } from '../../base/units.ts'
import type { TrashEntry } from '../../wire/reports.ts'
import { ADMIN_STAMP, type Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { count, nameBytes, readableName, table, when } from '../render.ts'
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

export class TrashList extends ClusterCommand {
  static override summary = 'Deleted files that can be taken back, the next to expire first.'
  static override examples = ['<%= config.bin %> trash list', '<%= config.bin %> trash list --match docs/ --json']
  static override flags = {
    match: matchFlag,
    limit: Flags.integer({ summary: 'At most this many; 0: all.', default: 1000, min: 0 }),
  }

  async run(): Promise<TrashEntry[]> {
    const { flags } = await this.parse(TrashList)
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
        const { path } = await admin.call('trashRestore', { stamp: ADMIN_STAMP, ino: node, path: to })
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

export class TrashRetention extends ClusterCommand {
  static override summary = 'How long a file (or what is made in a directory) stays in the trash.'
  static override examples = [
    '<%= config.bin %> trash retention mnt/docs 7d',
    '<%= config.bin %> trash retention mnt/tmp 0',
  ]
  static override args = {
    path: Args.string({ required: true, description: 'A file or directory.' }),
    time: Args.string({ required: true, description: 'Like 30min, 24h, 7d; 0: no trash.' }),
  }

  async run(): Promise<{ path: string; retentionMs: number }> {
    const { args, flags } = await this.parse(TrashRetention)
    const retentionMs = durationOf(args.time)
    return this.withMaster({ dir: flags.dir, path: args.path }, async (admin) => {
      await admin.call('trashRetention', { stamp: ADMIN_STAMP, path: await pathInside(args.path), retentionMs })
      this.log(
        `${args.path}: ${retentionMs === 0 ? 'deleted at once' : `kept ${formatDuration(retentionMs)} after deletion`}`,
      )
      return { path: args.path, retentionMs }
    })
  }
}

export function durationOf(typed: string): number {
  const ms = parseDuration(typed)
  if (ms === undefined) throw new FsError('EINVAL', `"${typed}" is no time; write it like 30s, 10min, 24h, 7d, or 0`)
  return ms
}
