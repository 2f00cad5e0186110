/* `holdfast quota set | get | list | delete`. */

import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { ino } from '../../base/ids.ts'
import { formatBytes, formatDuration, parseBytes } from '../../base/units.ts'
import type { QuotaLimitReport, QuotaReport } from '../../wire/reports.ts'
import { ADMIN_STAMP } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { readableName, table } from '../render.ts'
import { pathInside } from './file.ts'
import { durationOf } from './trash.ts'

/** Quotas asked for at once. */
const PAGE = 1000

const KINDS = ['inodes', 'length', 'raw'] as const
type Kind = (typeof KINDS)[number]
const MEANS: Readonly<Record<Kind, string>> = {
  inodes: 'inodes',
  length: 'sum of the sizes of files',
  raw: 'bytes on disks, all copies',
}

const dirArg = Args.string({
  required: true,
  description: 'A directory in a mount, or from the root of the filesystem.',
})

const limitFlag = (kind: Kind, soft: boolean) =>
  Flags.string({
    summary: `${soft ? 'Soft' : 'Hard'} limit: ${MEANS[kind]}; none: no limit.`,
    helpValue: kind === 'inodes' ? 'NUMBER' : 'SIZE',
  })

/** What was typed as a limit: undefined as it was, 0 none. */
function limitOf(typed: string | undefined): number | undefined {
  if (typed === undefined) return undefined
  if (typed === 'none') return 0
  const n = parseBytes(typed)
  if (n === undefined || n === 0)
    throw new FsError('EINVAL', `"${typed}" is no limit; write it like 10GiB, 500M, 20000, or none`)
  return n
}

export class QuotaSet extends ClusterCommand {
  static override summary = 'Limit what is in a directory and below.'
  static override description =
    'Limits that are not named stay as they are. A new quota of a directory with something in it is counted first; until ' +
    'that is done it refuses nothing. What is beyond a limit already stays; nothing more comes in.'
  static override examples = [
    '<%= config.bin %> quota set mnt/people/ann --length 10GiB --soft-length 8GiB --grace 7d',
    '<%= config.bin %> quota set mnt/build --inodes 200000',
    '<%= config.bin %> quota set mnt/people/ann --soft-length none',
  ]
  static override args = { path: dirArg }
  static override flags = {
    inodes: limitFlag('inodes', false),
    length: limitFlag('length', false),
    raw: limitFlag('raw', false),
    'soft-inodes': limitFlag('inodes', true),
    'soft-length': limitFlag('length', true),
    'soft-raw': limitFlag('raw', true),
    grace: Flags.string({
      summary: 'How long soft limits may be exceeded, like 12h (default 7d).',
      helpValue: 'TIME',
    }),
  }

  async run(): Promise<QuotaReport[]> {
    const { args, flags } = await this.parse(QuotaSet)
    const of = (kind: Kind) => ({ soft: limitOf(flags[`soft-${kind}`]), hard: limitOf(flags[kind]) })
    const limits = { inodes: of('inodes'), length: of('length'), raw: of('raw') }
    const graceMs = flags.grace === undefined ? undefined : durationOf(flags.grace)
    return this.withMaster({ dir: flags.dir, path: args.path }, async (admin) => {
      const path = await pathInside(args.path)
      await admin.call('quotaSet', { stamp: ADMIN_STAMP, path, ...limits, graceMs })
      const quotas = await admin.call('quotaGet', { path })
      this.log(renderQuotas(quotas.slice(0, 1)))
      return quotas.slice(0, 1)
    })
  }
}

export class QuotaGet extends ClusterCommand {
  static override summary = 'The quotas in which a file or directory counts, the nearest first.'
  static override examples = ['<%= config.bin %> quota get mnt/people/ann/thesis.tex']
  static override args = { path: Args.string({ required: true, description: 'A file or directory.' }) }

  async run(): Promise<QuotaReport[]> {
    const { args, flags } = await this.parse(QuotaGet)
    return this.withMaster({ dir: flags.dir, path: args.path }, async (admin) => {
      const quotas = await admin.call('quotaGet', { path: await pathInside(args.path) })
      this.log(renderQuotas(quotas) || `${args.path} counts in no quota.`)
      return quotas
    })
  }
}

export class QuotaList extends ClusterCommand {
  static override summary = 'All quotas, with what is used of them.'
  static override examples = ['<%= config.bin %> quota list', '<%= config.bin %> quota list --exceeded --json']
  static override flags = {
    exceeded: Flags.boolean({ summary: 'Only those over a soft limit or at a hard one.', default: false }),
  }

  async run(): Promise<QuotaReport[]> {
    const { flags } = await this.parse(QuotaList)
    return this.withMaster(flags, async (admin) => {
      const quotas: QuotaReport[] = []
      let cursor = 0
      do {
        const page = await admin.call('quotaList', { cursor: ino(cursor), limit: PAGE })
        quotas.push(...page.quotas.filter(({ exceeded }) => exceeded || !flags.exceeded))
        cursor = page.cursor
      } while (cursor !== 0)
      quotas.sort((a, b) => (a.path < b.path ? -1 : 1))
      this.log(renderQuotas(quotas) || (flags.exceeded ? 'No quota is exceeded.' : 'There are no quotas.'))
      return quotas
    })
  }
}

export class QuotaDelete extends ClusterCommand {
  static override summary = 'Limit a directory no more.'
  static override examples = ['<%= config.bin %> quota delete mnt/people/ann']
  static override args = { path: dirArg }

  async run(): Promise<{ path: string }> {
    const { args, flags } = await this.parse(QuotaDelete)
    return this.withMaster({ dir: flags.dir, path: args.path }, async (admin) => {
      await admin.call('quotaDelete', { stamp: ADMIN_STAMP, path: await pathInside(args.path) })
      this.log(`${args.path}: no quota of its own any more`)
      return { path: args.path }
    })
  }
}

/** A row for each limit. */
export function renderQuotas(quotas: readonly QuotaReport[], nowMs: number = Date.now()): string {
  const rows = quotas.flatMap((quota) => {
    const limited = KINDS.filter((kind) => quota[kind].soft > 0 || quota[kind].hard > 0)
    return limited.map((kind) => ({ quota, kind, limit: quota[kind] }))
  })
  const amount = (kind: Kind, n: number): string => (kind === 'inodes' ? String(n) : formatBytes(n))
  return table(rows, [
    { title: 'DIRECTORY', value: (r) => readableName(r.quota.path) },
    { title: 'LIMITS', value: (r) => r.kind },
    { title: 'USED', value: (r) => amount(r.kind, r.limit.used), right: true },
    { title: 'SOFT', value: (r) => (r.limit.soft === 0 ? '-' : amount(r.kind, r.limit.soft)), right: true },
    { title: 'HARD', value: (r) => (r.limit.hard === 0 ? '-' : amount(r.kind, r.limit.hard)), right: true },
    { title: 'STATE', value: (r) => stateOf(r.quota, r.limit, nowMs) },
  ])
}

function stateOf({ state, walked }: QuotaReport, limit: QuotaLimitReport, nowMs: number): string {
  if (state === 'waiting') return 'waiting to be counted'
  if (state === 'counting') return `counting, ${walked} names so far`
  if (state === 'leaving') return 'being taken away'
  if (limit.hard > 0 && limit.used >= limit.hard) return 'used up'
  if (limit.overSince === 0) return 'in force'
  const leftMs = limit.refusesFrom * 1000 - nowMs
  return leftMs <= 0 ? 'over the soft limit, grace is over' : `over the soft limit, ${formatDuration(leftMs)} left`
}
