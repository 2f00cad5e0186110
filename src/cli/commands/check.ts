/* `holdfast check`: does what the disks hold agree with the metadata, and the metadata with itself? */

import { Flags } from '@oclif/core'
import { errno } from '../../base/errno.ts'
import { ClusterCommand } from '../base.ts'
import type { CheckReport } from '../check/compare.ts'
import { count } from '../render.ts'

/** Findings shown to people; --json has all. */
const SHOWN_MAX = 200

export class Check extends ClusterCommand {
  static override summary = 'Compare the metadata with itself and with what the disks hold. Changes nothing.'
  static override description =
    'A running cluster is asked; a stopped local one (--dir) is read from its files. Ends with exit code ' +
    `${errno.EIO.exit} when there are errors. Warnings are what repair will mend by itself.`
  static override examples = [
    '<%= config.bin %> check',
    '<%= config.bin %> check --deep',
    '<%= config.bin %> check --offline --dir .holdfast',
  ]
  static override flags = {
    deep: Flags.boolean({ summary: 'Also read every block and compare checksums.', default: false }),
    offline: Flags.boolean({
      summary: 'Read the files of a stopped local cluster (default when it does not run).',
      allowNo: true,
    }),
  }

  async run(): Promise<CheckReport> {
    const { flags } = await this.parse(Check)
    const say = (sentence: string): void => {
      if (!this.jsonEnabled()) process.stderr.write(`… ${sentence}\n`)
    }
    const { findCluster } = await import('../find.ts')
    const address = await findCluster(flags)
    let offline = flags.offline ?? false
    if (flags.offline === undefined && address.dir !== undefined) {
      const { localStatus } = await import('../local/status.ts')
      offline = (await localStatus(address.dir)).phase === 'stopped'
    }
    let report: CheckReport
    if (offline) {
      const { checkOffline } = await import('../check/offline.ts')
      report = await checkOffline(address, flags, say)
    } else {
      const { checkOnline } = await import('../check/online.ts')
      report = await this.withMaster(flags, (admin) => checkOnline(admin, flags, say))
    }
    this.log(renderCheck(report))
    if (report.errors > 0) process.exitCode = errno.EIO.exit
    return report
  }
}

export function renderCheck(r: CheckReport): string {
  const shown = r.findings.slice(0, SHOWN_MAX).map((f) => `${f.severity.toUpperCase()}  ${f.what}`)
  if (r.findings.length > SHOWN_MAX) shown.push(`(${r.findings.length - SHOWN_MAX} more; --json has all)`)
  const verdict =
    r.errors > 0
      ? `${count(r.errors, 'error')}, ${count(r.warnings, 'warning')}`
      : r.warnings > 0
        ? `no errors, ${count(r.warnings, 'warning')}`
        : 'clean'
  return [
    ...shown,
    `${r.mode} check: ${verdict}; ${count(r.records, 'record')}, ${count(r.chunks, 'chunk')}, ${r.goodCopies} of ${r.copies} copies ${r.deep ? 'read and ' : ''}good`,
  ].join('\n')
}
