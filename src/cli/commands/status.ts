/* `holdfast status`: the whole cluster on one page. */

import { formatBytes, formatDuration } from '../../base/units.ts'
import { labelText } from '../../topology/label-names.ts'
import type { BehindReport, NodeReport, StatusReport } from '../../wire/reports.ts'
import { ClusterCommand } from '../base.ts'
import { bar, count, overhead, readableName, table, when } from '../render.ts'

export class Status extends ClusterCommand {
  static override summary = 'Roles, versions, capacity, how safe the chunks are, running work.'
  static override examples = ['<%= config.bin %> status', '<%= config.bin %> status --dir /srv/holdfast --json']

  async run(): Promise<StatusReport> {
    const { flags } = await this.parse(Status)
    return this.withMaster(flags, async (admin) => {
      const status = await admin.call('status', {})
      this.log(renderStatus(status))
      return status
    })
  }
}

/** Empty when nothing is behind. */
export function renderBehind({ nowSec, atLeast, rows }: BehindReport): string {
  const shown = table(rows, [
    { title: 'BEHIND AT SITE', value: (r) => r.site ?? '(any of several)' },
    { title: 'CLASS', value: (r) => readableName(r.class) },
    { title: 'CHUNKS', value: (r) => r.chunks, right: true },
    { title: 'BYTES', value: (r) => (atLeast ? '>' : '') + formatBytes(r.bytes), right: true },
    { title: 'OLDEST WRITTEN', value: (r) => `${formatDuration(Math.max(0, nowSec - r.oldestSec) * 1000)} ago` },
  ])
  return shown
}

export function renderStatus(s: StatusReport): string {
  const used = s.totalBytes === 0 ? 0 : s.usedBytes / s.totalBytes
  const held = s.sustained === 0 ? '' : `, ${s.sustained} deleted and held open`
  const parts = [
    [
      `cluster ${s.cluster}, version ${s.version}, up ${formatDuration(s.uptimeSeconds * 1000)}, ${s.settings.copies} ${s.settings.copies === 1 ? 'copy' : 'copies'}`,
      `space   ${bar(used)}  ${formatBytes(s.usedBytes)} of ${formatBytes(s.totalBytes)} used, ${formatBytes(s.availableBytes)} available, ${formatBytes(s.reservedBytes)} kept aside`,
      `files   ${count(s.files, 'file')}, ${s.directories} ${s.directories === 1 ? 'directory' : 'directories'}, ${formatBytes(s.logicalBytes)}; ${s.trashed} in the trash${held}`,
      `chunks  ${chunkHealth(s.chunks)}`,
      ...(s.quotas.set === 0 ? [] : [`quotas  ${quotaWords(s.quotas)}`]),
    ].join('\n'),
    table(s.nodes, [
      { title: 'CHUNKSERVER', value: (n) => n.name },
      { title: 'ADDRESS', value: (n) => `${n.host}:${n.port}` },
      { title: 'VERSION', value: (n) => n.version },
      {
        title: 'STATE',
        value: nodeState,
      },
    ]),
    renderUsage(s.usage),
    renderBehind(s.behind),
    renderDisks(s.disks),
    table(s.sessions, [
      { title: 'MOUNT', value: (m) => `${m.host}:${m.mountpoint}` },
      { title: 'VERSION', value: (m) => m.version },
      { title: 'STATE', value: (m) => (m.connected ? 'connected' : `away ${formatDuration(m.idleSeconds * 1000)}`) },
      { title: 'OPEN', value: (m) => m.openFiles, right: true },
      { title: 'LOCKS', value: (m) => m.locks, right: true },
    ]),
    table(
      s.work.filter((w) => w.state !== 'idle' || w.lastError !== ''),
      [
        { title: 'WORK', value: (w) => w.name },
        { title: 'STATE', value: (w) => w.state },
        { title: 'QUEUED', value: (w) => w.queued, right: true },
        { title: 'PROGRESS', value: (w) => w.progress },
        { title: 'LAST ERROR', value: (w) => w.lastError },
      ],
    ),
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}

function quotaWords({ set, exceeded, counting }: StatusReport['quotas']): string {
  const rest = [
    exceeded > 0 ? `${exceeded} EXCEEDED` : 'none exceeded',
    ...(counting > 0 ? [`${counting} being counted`] : []),
  ]
  return `${set} set, ${rest.join(', ')}`
}

/** What each class holds, and what its safety costs. Those that nothing has are left to `class list`. */
function renderUsage({ classes, counting, deletedBytes }: StatusReport['usage']): string {
  const used = classes.filter(({ inodes, chunks }) => inodes === null || inodes > 0 || chunks > 0)
  const lines = [
    table(used, [
      { title: 'CLASS', value: (c) => c.name },
      { title: 'FILES', value: (c) => c.inodes ?? 'the rest', right: true },
      { title: 'LOGICAL', value: (c) => formatBytes(c.logicalBytes), right: true },
      { title: 'RAW', value: (c) => formatBytes(c.rawBytes), right: true },
      { title: 'OVERHEAD', value: (c) => overhead(c.rawBytes, c.logicalBytes), right: true },
    ]),
    counting ? '(still counting: these are too small)' : '',
    deletedBytes > 0 ? `(${formatBytes(deletedBytes)} of deleted chunks are still on disks)` : '',
  ]
  return lines.filter((line) => line !== '').join('\n')
}

function chunkHealth(c: StatusReport['chunks']): string {
  const words: [number, string][] = [
    [c.lost, c.lostBytes > 0 ? `LOST (${formatBytes(c.lostBytes)} of files; \`holdfast check\` names them)` : 'LOST'],
    [c.endangered, 'endangered (one copy left)'],
    [c.under, 'under'],
    [c.over, 'over'],
    [c.safe, 'safe'],
    [c.open, 'being written'],
  ]
  const shown = words.filter(([n, word]) => n > 0 || word === 'safe').map(([n, word]) => `${n} ${word}`)
  return shown.join(', ')
}

const time = (seconds: number): string => formatDuration(seconds * 1000)

/** "away 3 min, copied elsewhere in 7 min" */
export function nodeState(n: NodeReport): string {
  const maintenance = n.maintenanceLeftSeconds > 0 ? `, in maintenance for ${time(n.maintenanceLeftSeconds)}` : ''
  if (n.connected) return `connected${maintenance}`
  const next = n.graceLeftSeconds > 0 ? `copied elsewhere in ${time(n.graceLeftSeconds)}` : 'being copied elsewhere'
  return `away ${time(Math.max(1, n.awaySeconds))}${maintenance}, ${next}`
}

export function renderDisks(disks: StatusReport['disks']): string {
  return table(disks, [
    { title: 'DISK', value: (d) => d.disk, right: true },
    { title: 'ON', value: (d) => d.nodeName },
    { title: 'PATH', value: (d) => readableName(d.path) },
    { title: 'STATE', value: diskState },
    { title: 'USED', value: (d) => formatBytes(d.usedBytes), right: true },
    { title: 'AVAILABLE', value: (d) => formatBytes(d.availableBytes), right: true },
    { title: 'CHUNKS', value: (d) => d.chunks, right: true },
    { title: 'LABELS', value: (d) => d.labels.map(labelText).join(' ') },
    { title: 'SCRUB', value: (d) => scrubbed(d) },
    { title: 'ERRORS', value: (d) => (d.error === '' ? d.errors : `${d.errors} (${d.error})`) },
  ])
}

/** "draining (12 left, 4 min)", with what else is to be said of it. */
function diskState(d: StatusReport['disks'][number]): string {
  if (!d.draining) return d.state
  const time = d.drainSecondsLeft === null || d.toMove === 0 ? '' : `, ${formatDuration(d.drainSecondsLeft * 1000)}`
  const state = d.state === 'ok' ? '' : `${d.state}, `
  return `${state}draining${d.drainedForErrors ? ' for its errors' : ''} (${d.toMove} left${time})`
}

/** How far the present round is; what one found damaged is worth a word even when it is repaired. */
function scrubbed({ chunks, scrub }: StatusReport['disks'][number]): string {
  if (scrub === null) return ''
  const share = Math.min(99, Math.floor((scrub.chunks / Math.max(1, chunks)) * 100))
  const damaged = scrub.damaged === 0 ? '' : `, ${scrub.damaged} damaged`
  const late = scrub.lateSeconds === 0 ? '' : `, BEHIND its ${scrub.days} days`
  return `${scrub.finished ? 'done' : `${share} %`} since ${when(scrub.startedMs).slice(0, 10)}${late}${damaged}`
}
