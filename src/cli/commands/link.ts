/* `holdfast link show | limit`: what is copied between sites in the background, and how much of the line it may take. */

import { Args, Flags } from '@oclif/core'
import { FsError, unwrap } from '../../base/fault.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { formatRate, formatTimeOfDay, parseRate, parseTimeOfDay } from '../../topology/rate-windows.ts'
import type { LinkReport, LinksReport } from '../../wire/reports-mesh.ts'
import { ADMIN_STAMP } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { table } from '../render.ts'

const rateText = (bytesPerSecond: number): string => (bytesPerSecond === 0 ? 'nothing' : formatRate(bytesPerSecond))
const hours = ({ from, to }: { from: number; to: number }): string => `${formatTimeOfDay(from)}-${formatTimeOfDay(to)}`

const WHY: Readonly<Record<LinkReport['limitedBy'], string>> = {
  limit: 'limit of this pair',
  hours: 'limit of these hours',
  setting: 'sites-rate of the settings',
  line: 'what the line carries',
  mounts: 'mounts use the line',
  start: 'copies begin with it',
  nothing: 'no limit',
}

function limitsOf({ alwaysBytesPerSecond, windows }: LinkReport): string {
  const always = alwaysBytesPerSecond === null ? [] : [`${rateText(alwaysBytesPerSecond)} always`]
  return (
    [...always, ...windows.map((window) => `${rateText(window.bytesPerSecond)} ${hours(window)}`)].join(', ') || '-'
  )
}

const orNone = (bytesPerSecond: number): string => (bytesPerSecond === 0 ? '-' : formatRate(bytesPerSecond))
/** What is measured is nearer to the truth than what was ordered. */
const nowOf = ({ line, bytesPerSecond }: LinkReport): number => line?.backgroundBytesPerSecond ?? bytesPerSecond

/** What the rate of a line follows from, in one sentence. */
function measured({ a, b, line }: LinkReport): string[] {
  if (line === null) return []
  const { baseMs, queueMs, foregroundBytesPerSecond: mounts, carriesBytesPerSecond: carries } = line
  const words = [
    `a round trip of ${Math.round(baseMs)} ms`,
    queueMs === null ? 'no echo comes back now' : `${Math.round(queueMs)} ms of queue now`,
    mounts === 0 ? 'mounts do not use it' : `mounts use ${formatRate(mounts)}`,
    carries === null ? 'not seen full yet' : `seen to carry ${formatRate(carries)}`,
  ]
  return [`${a} - ${b}: ${words.join(', ')}.`]
}

function render({ nowSec, minute, zone, links, more }: LinksReport): string {
  const rows = table(links, [
    { title: 'SITES', value: (l) => `${l.a} - ${l.b}` },
    { title: 'NOW', value: (l) => orNone(nowOf(l)), right: true },
    { title: 'COPYING', value: (l) => l.running, right: true },
    { title: 'WAITING', value: (l) => (l.waiting === 0 ? '-' : formatBytes(l.waitingBytes)), right: true },
    {
      title: 'MAY',
      value: (l) => (l.limitBytesPerSecond === null ? 'any' : rateText(l.limitBytesPerSecond)),
      right: true,
    },
    { title: 'WHY', value: (l) => WHY[l.limitedBy] },
    { title: 'SET', value: limitsOf },
  ])
  const errors = links.flatMap(({ a, b, errors }) =>
    errors.map(({ atSec, what }) => `${a} - ${b}, ${formatDuration(Math.max(0, nowSec - atSec) * 1000)} ago: ${what}`),
  )
  return [
    rows,
    ...(more > 0 ? [`... and ${more} pairs more`] : []),
    ...links.flatMap(measured),
    `It is ${formatTimeOfDay(minute)} by the master's clock (${zone}).`,
    ...(errors.length > 0 ? ['', 'Last errors:', ...errors.map((line) => `  ${line}`)] : []),
  ].join('\n')
}

export class LinkShow extends ClusterCommand {
  static override summary = 'Every pair of sites: what is copied between them in the background, what may be, and why.'
  static override description =
    'NOW is the mean of the last 30 s, of the last 5 s where the line is measured: between sites of a mesh, while something is copied. Then MAY ' +
    'follows from the round trip and its queue, from what is lost, and from what mounts send. WAITING is what is planned and has to wait for its turn; what is not planned yet is not in it.'
  static override examples = ['<%= config.bin %> link show', '<%= config.bin %> link show --json']

  async run(): Promise<LinksReport> {
    const { flags } = await this.parse(LinkShow)
    return this.withMaster(flags, async (admin) => {
      const report = await admin.call('linkShow', {})
      this.log(report.links.length === 0 ? 'There is only one site.' : render(report))
      return report
    })
  }
}

export class LinkLimit extends ClusterCommand {
  static override summary = 'Limit what is copied in the background between two sites, always or at some hours.'
  static override description =
    'It holds at once, also for copies under way, for both directions together, instead of sites-rate (holdfast settings), and is kept until --clear. Of ' +
    'several limits that hold at an hour the lowest counts. 0Mbit: nothing is copied then, whatever is missing. What mounts ' +
    'read and write is never limited.'
  static override examples = [
    '<%= config.bin %> link limit home cabin 40Mbit',
    '<%= config.bin %> link limit home cabin 5Mbit --from 08:00 --to 23:00',
    '<%= config.bin %> link limit home cabin --from 08:00 --to 23:00 --clear',
    '<%= config.bin %> link limit home cabin --clear',
  ]
  static override args = {
    a: Args.string({ required: true, description: 'A site.' }),
    b: Args.string({ required: true, description: 'Another site.' }),
    rate: Args.string({ description: 'Like 40Mbit or 5MB/s.' }),
  }
  static override flags = {
    from: Flags.string({
      summary: "Only from this time of day on, by the master's clock.",
      helpValue: 'HH:MM',
      dependsOn: ['to'],
    }),
    to: Flags.string({
      summary: 'Until this time; over midnight when it is earlier.',
      helpValue: 'HH:MM',
      dependsOn: ['from'],
    }),
    clear: Flags.boolean({ summary: 'No longer: all limits of the pair, or that of these hours.' }),
  }

  async run(): Promise<LinkReport | undefined> {
    const { args, flags } = await this.parse(LinkLimit)
    const { a, b, rate } = args
    if ((rate === undefined) !== (flags.clear === true))
      throw new FsError('EINVAL', 'either a rate like 40Mbit, or --clear')
    const bytesPerS = rate === undefined ? undefined : unwrap(parseRate(rate))
    const { from, to } = flags
    const window =
      from === undefined || to === undefined
        ? undefined
        : { from: unwrap(parseTimeOfDay(from)), to: unwrap(parseTimeOfDay(to)) }
    return this.withMaster(flags, async (admin) => {
      const known = await admin.call('nodeList', {})
      for (const site of [a, b])
        if (!known.some((node) => node.site === site))
          this.log(`No chunkserver is at a site "${site}" now; the limit holds when one is.`)
      await admin.call('linkLimit', { stamp: ADMIN_STAMP, a, b, bytesPerS, window })
      const { links } = await admin.call('linkShow', {})
      const link = links.find((one) => (one.a === a && one.b === b) || (one.a === b && one.b === a))
      if (link === undefined) this.log(`${a} - ${b}: no limit`)
      else {
        const may = link.limitBytesPerSecond === null ? 'any rate' : rateText(link.limitBytesPerSecond)
        this.log(`${link.a} - ${link.b}: ${limitsOf(link)}; now ${may} (${WHY[link.limitedBy]})`)
      }
      return link
    })
  }
}
