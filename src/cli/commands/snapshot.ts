/* `holdfast snapshot create | list | cancel | delete` and `holdfast append`. */

import { Args, Flags } from '@oclif/core'
import { errno } from '../../base/errno.ts'
import { FsError } from '../../base/fault.ts'
import { formatBytes } from '../../base/units.ts'
import { hostClock } from '../../host/clock.ts'
import type { JobReport } from '../../wire/reports.ts'
import { ADMIN_STAMP, Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { ProgressLine } from '../progress.ts'
import { count, readableName, table, when } from '../render.ts'
import { stopSignal } from '../stop-signal.ts'
import { pathInside } from './file.ts'

const WATCH_EVERY_MS = 200
/** A master that is restarted goes on with its jobs; it is asked again for this long. */
const MASTER_BACK_MS = 60_000
/** Somebody wrote to the file between the question how long it is and the answer. */
const APPEND_TRIES = 5

const waitFlag = Flags.boolean({ summary: 'Wait until it is done.', default: true, allowNo: true })

interface Found {
  readonly dir: string | undefined
  readonly path?: string | undefined
}

/** The connection, not the request, is what is wrong. */
const isLoss = (error: unknown): boolean =>
  error instanceof FsError &&
  ['ECONNREFUSED', 'ECONNRESET', 'ENOTCONN', 'ETIMEDOUT', 'EHOSTUNREACH'].includes(error.code)

abstract class JobCommand extends ClusterCommand {
  /** Until `done`; Ctrl-C ends the watching, not the work. */
  protected async watch(
    found: Found,
    job: number,
    show: (job: JobReport) => string,
    done: (job: JobReport) => boolean,
  ): Promise<JobReport> {
    const signal = stopSignal()
    // Nobody knows how much there is to do, so there is no share to write into a log.
    const line = new ProgressLine(!this.jsonEnabled() && process.stderr.isTTY === true)
    let admin: Admin | undefined
    try {
      for (;;) {
        let jobs: JobReport[]
        try {
          admin ??= await this.reach(found, signal)
          jobs = await admin.call('snapshotList', {})
        } catch (error) {
          if (!isLoss(error) || admin === undefined) throw error
          admin.close()
          admin = undefined
          continue
        }
        const now = jobs.find((one) => one.job === job)
        if (now === undefined) throw new FsError('ENOENT', `the master no longer knows job ${job}`)
        line.show(show(now))
        if (done(now)) return now
        if (signal.aborted)
          throw new FsError('EINTR', `the master goes on with job ${job}; see "holdfast snapshot list"`)
        await this.pause(signal)
      }
    } finally {
      line.end()
      admin?.close()
    }
  }

  /** The master, also one that is being started again. */
  protected async reach(found: Found, signal: AbortSignal): Promise<Admin> {
    const untilMs = hostClock.monotonicMs() + MASTER_BACK_MS
    for (;;) {
      try {
        return await Admin.find(found)
      } catch (error) {
        if (!isLoss(error) || signal.aborted || hostClock.monotonicMs() > untilMs) throw error
        await this.pause(signal)
      }
    }
  }

  protected async pause(signal: AbortSignal): Promise<void> {
    await hostClock.sleep(WATCH_EVERY_MS, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
  }
}

/** What went wrong, as the error of the command that began it. */
function failed(job: JobReport, path: string): FsError | undefined {
  if (job.errno === '') return undefined
  const code = job.errno as FsError['code']
  if (code === 'ECANCELED') return new FsError(code, `snapshot ${job.job} was cancelled by hand; ${path} was not made`)
  const why = job.detail.replace(`${errno[code].text}: `, '')
  return new FsError(code, `${path} was not made${why === '' ? '' : `: ${why}`}`)
}

export class SnapshotCreate extends JobCommand {
  static override summary = 'Make a copy of a directory (or file) that shares its bytes.'
  static override description =
    'The copy shows everything as it was when the command began, whatever is changed while it is made, and appears at ' +
    'once when it is complete. Only names and attributes are copied; bytes are shared until one of the two is written to.'
  static override examples = [
    '<%= config.bin %> snapshot create mnt/projects mnt/snapshots/projects-monday',
    '<%= config.bin %> snapshot create mnt/vm.img mnt/vm-before-upgrade.img',
    '<%= config.bin %> snapshot create --dir .holdfast /docs /docs-old --no-wait --json',
  ]
  static override args = {
    source: Args.string({
      required: true,
      description: 'What to copy: in a mount, or from the root of the filesystem.',
    }),
    target: Args.string({ required: true, description: 'What the copy is called; must not exist.' }),
  }
  static override flags = { wait: waitFlag }

  async run(): Promise<JobReport | { job: number }> {
    const { args, flags } = await this.parse(SnapshotCreate)
    const found = { dir: flags.dir, path: args.source }
    const source = await pathInside(args.source)
    const target = await pathInside(args.target)
    const job = await this.#begin(found, source, target)
    if (!flags.wait) {
      this.log(`snapshot ${job} is being made: holdfast snapshot list`)
      return { job }
    }
    const now = await this.watch(
      found,
      job,
      ({ inodes, bytes }) => `${count(inodes, 'inode')} copied, ${formatBytes(bytes)} shared`,
      ({ phase, errno: code }) => phase !== 'copying' || code !== '',
    )
    const failure = failed(now, args.target)
    if (failure !== undefined) throw failure
    this.log(`${args.target}: ${count(now.inodes, 'inode')} copied, ${formatBytes(now.bytes)} shared`)
    return now
  }

  /** One is made at a time: waits for another. When the answer got lost, the list says whether it has begun. */
  async #begin(found: Found, source: string, target: string): Promise<number> {
    const signal = stopSignal()
    let admin = await Admin.find(found)
    try {
      const jobs = await admin.call('snapshotList', {})
      const last = jobs.at(-1)?.job ?? 0
      for (let told = false; ; ) {
        try {
          return (await admin.call('snapshotCreate', { stamp: ADMIN_STAMP, source, target })).job
        } catch (error) {
          if (isLoss(error)) {
            admin.close()
            admin = await this.reach(found, signal)
            const own = (await admin.call('snapshotList', {})).find(
              (job) => job.job > last && job.source === source && job.target === target,
            )
            if (own === undefined) throw error
            return own.job
          }
          if (!(error instanceof FsError) || error.code !== 'EBUSY' || signal.aborted) throw error
          if (!told && !this.jsonEnabled()) process.stderr.write(`waiting: ${error.message}\n`)
          told = true
        }
        await this.pause(signal)
      }
    } finally {
      admin.close()
    }
  }
}

export class SnapshotDelete extends JobCommand {
  static override summary = 'Delete a directory with all that is in it, without the trash.'
  static override description =
    'It is gone at once; the master frees it behind that. Meant for snapshots, and works on any directory or file: it is ' +
    'the fast form of rm -r. What is deleted so cannot be taken back from the trash.'
  static override examples = [
    '<%= config.bin %> snapshot delete mnt/snapshots/projects-monday',
    '<%= config.bin %> snapshot delete --dir .holdfast /docs-old --no-wait',
  ]
  static override args = {
    path: Args.string({ required: true, description: 'A path in a mount, or from the root of the filesystem.' }),
  }
  static override flags = { wait: waitFlag }

  async run(): Promise<JobReport | { job: number }> {
    const { args, flags } = await this.parse(SnapshotDelete)
    const found = { dir: flags.dir, path: args.path }
    const path = await pathInside(args.path)
    const { job } = await this.withMaster(found, (admin) => admin.call('treeDelete', { stamp: ADMIN_STAMP, path }))
    if (!flags.wait) {
      this.log(`${args.path} is gone; job ${job} frees it`)
      return { job }
    }
    const now = await this.watch(
      found,
      job,
      ({ inodes }) => `${count(inodes, 'inode')} deleted`,
      ({ phase }) => phase === 'over',
    )
    this.log(`${args.path}: ${count(now.inodes, 'inode')} deleted`)
    return now
  }
}

const phaseOf = ({ kind, phase, errno: code, inodes }: JobReport): string => {
  if (code === 'ECANCELED') return phase === 'over' ? 'cancelled' : 'cancelled, clearing up'
  if (code !== '') return `failed: ${errno[code as FsError['code']].text}`
  if (phase === 'over') return kind === 'delete' ? `deleted ${inodes}` : `done, ${count(inodes, 'inode')}`
  if (kind === 'delete') return `deleted ${count(inodes, 'inode')} so far`
  return phase === 'copying' ? `copied ${count(inodes, 'inode')} so far` : 'done, clearing up'
}

export class SnapshotList extends ClusterCommand {
  static override summary = 'Snapshots that are being made, trees that are being deleted, and the last that were.'
  static override examples = ['<%= config.bin %> snapshot list', '<%= config.bin %> snapshot list --json']

  async run(): Promise<JobReport[]> {
    const { flags } = await this.parse(SnapshotList)
    return this.withMaster(flags, async (admin) => {
      const jobs = await admin.call('snapshotList', {})
      this.log(
        table(jobs, [
          { title: 'JOB', value: (j) => j.job, right: true },
          { title: 'KIND', value: (j) => j.kind },
          { title: 'BEGUN', value: (j) => when(j.begunAt * 1000) },
          { title: 'STATE', value: phaseOf },
          { title: 'OF', value: (j) => readableName(j.source) },
          { title: 'AT', value: (j) => readableName(j.target) },
        ]) || 'No snapshot has been made lately.',
      )
      return jobs
    })
  }
}

export class SnapshotCancel extends ClusterCommand {
  static override summary = 'Give up a snapshot that is not complete; what was copied is freed.'
  static override examples = ['<%= config.bin %> snapshot cancel 3']
  static override args = {
    job: Args.integer({ required: true, min: 1, description: 'Its number: holdfast snapshot list.' }),
  }

  async run(): Promise<{ job: number }> {
    const { args, flags } = await this.parse(SnapshotCancel)
    return this.withMaster(flags, async (admin) => {
      await admin.call('snapshotCancel', { stamp: ADMIN_STAMP, job: args.job })
      this.log(`snapshot ${args.job} is given up`)
      return { job: args.job }
    })
  }
}

export class Append extends ClusterCommand {
  static override summary = 'Append files to a file by sharing their bytes.'
  static override description =
    'The last path is the file that becomes longer; the others are appended in their order, each where the one before ' +
    'ends. No byte is read or written, so it takes as long for a terabyte as for a megabyte.'
  static override examples = ['<%= config.bin %> append mnt/part1 mnt/part2 mnt/whole']
  static override strict = false
  static override args = {
    paths: Args.string({ required: true, description: 'SOURCE… TARGET; the target exists.' }),
  }

  async run(): Promise<{ path: string; size: number }> {
    const { raw, flags } = await this.parse(Append)
    // Not `argv`: oclif brings the same word given twice together.
    const given = raw.flatMap((token) => (token.type === 'arg' ? [token.input] : []))
    const last = given.at(-1)
    if (given.length < 2 || last === undefined) throw new FsError('EINVAL', 'name the files to append, then the target')
    return this.withMaster({ dir: flags.dir, path: last }, async (admin) => {
      const target = await pathInside(last)
      const sources = await Promise.all(given.slice(0, -1).map(pathInside))
      let { size } = await admin.call('fileInfo', { path: target })
      for (const [i, source] of sources.entries()) {
        size = await this.#append(admin, source, target, size)
        this.log(`${given[i]} appended: ${last} has ${formatBytes(size)}`)
      }
      return { path: last, size }
    })
  }

  async #append(admin: Admin, source: string, target: string, size: number): Promise<number> {
    let offset = size
    for (let tries = 1; ; tries++) {
      try {
        return (await admin.call('fileAppend', { stamp: ADMIN_STAMP, source, target, offset })).size
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'EAGAIN' || tries === APPEND_TRIES) throw error
      }
      offset = (await admin.call('fileInfo', { path: target })).size
    }
  }
}
