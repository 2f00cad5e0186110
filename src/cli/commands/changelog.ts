/* `holdfast changelog tail`: the commands as they were applied, newest last. */

import { Flags } from '@oclif/core'
import { hostClock } from '../../host/clock.ts'
import type { ChangelogRow } from '../../wire/reports.ts'
import { ClusterCommand } from '../base.ts'
import { readableName, when } from '../render.ts'
import { stopSignal } from '../stop-signal.ts'

const FOLLOW_EVERY_MS = 500
const PAGE = 1000

export class ChangelogTail extends ClusterCommand {
  static override summary = 'The last commands of the changelog; with --follow also those to come.'
  static override description = 'With --follow and --json each command is one line of JSON.'
  static override examples = ['<%= config.bin %> changelog tail -n 50', '<%= config.bin %> changelog tail --follow']
  static override flags = {
    lines: Flags.integer({ char: 'n', summary: 'How many.', default: 20, min: 0, max: 4096 }),
    offline: Flags.boolean({
      summary: 'Read the files of a stopped local cluster.',
      default: false,
      exclusive: ['follow'],
    }),
    follow: Flags.boolean({ char: 'f', summary: 'Wait for more until Ctrl-C.', default: false }),
  }

  async run(): Promise<ChangelogRow[] | undefined> {
    const { flags } = await this.parse(ChangelogTail)
    if (flags.offline) {
      const { findCluster } = await import('../find.ts')
      const { changelogOffline } = await import('../check/offline.ts')
      const { rows } = await changelogOffline(await findCluster(flags), Math.max(1, flags.lines))
      for (const row of rows) this.log(renderRow(row))
      return rows
    }
    return this.withMaster(flags, async (admin) => {
      const page = await admin.call('changelogPage', { from: 0, limit: Math.max(1, flags.lines) })
      const rows = flags.lines === 0 ? [] : page.rows
      if (!flags.follow) {
        for (const row of rows) this.log(renderRow(row))
        return rows
      }
      const show = (row: ChangelogRow): void =>
        void process.stdout.write(`${this.jsonEnabled() ? JSON.stringify(row) : renderRow(row)}\n`)
      rows.forEach(show)
      const signal = stopSignal()
      let from = page.last + 1
      while (!signal.aborted) {
        const next = await admin.call('changelogPage', { from, limit: PAGE })
        next.rows.forEach(show)
        from = Math.max(from, (next.rows.at(-1)?.index ?? 0) + 1)
        if (next.rows.length > 0) continue
        await hostClock.sleep(FOLLOW_EVERY_MS, { signal }).catch((error: unknown) => {
          if (!signal.aborted) throw error
        })
      }
      return undefined
    })
  }
}

export function renderRow(row: ChangelogRow): string {
  const time = when(row.time.sec * 1000)
  const who = row.session === 0 ? 'master' : `s${row.session}#${row.seq}`
  const fields = Object.entries(row.fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(
      ([key, value]) =>
        `${key}=${typeof value === 'string' ? JSON.stringify(readableName(value)) : JSON.stringify(value)}`,
    )
    .join(' ')
  return `${row.index} ${time} ${who} ${row.kind}${row.errno === '' ? '' : ` [${row.errno}]`} ${fields}`
}
