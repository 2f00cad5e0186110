/* `holdfast file info PATH…`: what a file is made of and where every copy lies. */

import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import { Args } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { parseMountInfo } from '../../fuse/mounts.ts'
import type { CopyReport, FileChunkReport, FileReport } from '../../wire/reports.ts'
import { ClusterCommand } from '../base.ts'
import { count, nameBytes, printable, readableName, table } from '../render.ts'

/**
 * A path of this machine as the path inside the filesystem. A path that lies in no Holdfast mount is taken as already
 * being one from the filesystem's root.
 */
export async function pathInside(path: string): Promise<string> {
  const { mountOf, realDirectory } = await import('../find.ts')
  const mount = mountOf(path, parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1')))
  if (mount === undefined) {
    if (!path.startsWith('/')) throw new FsError('EINVAL', `${path} lies in no Holdfast mount`)
    return nameBytes(path)
  }
  const inside = relative(mount.mountpoint, nameBytes(realDirectory(path)))
  return `/${inside}`
}

export class FileInfo extends ClusterCommand {
  static override summary = 'Extents and chunks of files, the place of every copy and part, and what is still missing.'
  static override examples = [
    '<%= config.bin %> file info mnt/movie.mkv',
    '<%= config.bin %> file info --dir .holdfast /docs/a.txt',
  ]
  static override strict = false
  static override args = {
    path: Args.string({ required: true, description: 'Paths in a mount, or from the root of the filesystem.' }),
  }

  async run(): Promise<FileReport[]> {
    const { argv, flags } = await this.parse(FileInfo)
    const given = argv as string[]
    return this.withMaster({ dir: flags.dir, path: given[0] }, async (admin) => {
      const reports: FileReport[] = []
      for (const path of given) {
        const report = await admin.call('fileInfo', { path: await pathInside(path) })
        reports.push(report)
        this.log(`${reports.length > 1 ? '\n' : ''}${renderFile(report)}`)
      }
      return reports
    })
  }
}

/** Rows shown to people; a database has a hundred thousand extents, and --json has all of them. */
const ROWS_MAX = 50
/** Of its chunks, each copy or part: those of a page of chunks in eight parts. */
const PLACES_MAX = 400

interface PlaceRow {
  readonly chunk: string
  readonly what: string
  /** Undefined: no disk has it. */
  readonly at: CopyReport | undefined
}

function placesOf({ chunk, copies, parts }: FileChunkReport): PlaceRow[] {
  const rows: PlaceRow[] = copies.map((at) => ({ chunk, what: 'copy', at }))
  for (const { kind, part, copies: holders } of parts) {
    const what = `${kind} ${part} of ${parts.length}`
    if (holders.length === 0) rows.push({ chunk, what, at: undefined })
    for (const at of holders) rows.push({ chunk, what, at })
  }
  if (rows.length === 0) rows.push({ chunk, what: 'copy', at: undefined })
  return rows
}

const readableNow = (at: CopyReport | undefined): string =>
  at === undefined ? 'no' : at.readable ? 'yes' : at.connected ? 'no: incomplete or damaged' : 'no: away'

export function renderFile(f: FileReport): string {
  const head = [
    readableName(f.path),
    `  ${f.type}, inode ${f.ino}, ${formatBytes(f.size)} (${formatBytes(f.used)} stored), ${f.copiesWanted} ${f.copiesWanted === 1 ? 'copy' : 'copies'} wanted, class ${printable(f.class)}, ` +
      `trash ${f.trashRetentionMs === 0 ? 'off' : formatDuration(f.trashRetentionMs)}`,
    `  ${count(f.extents.length, 'extent')} in ${count(f.chunks.length, 'chunk')}`,
  ].join('\n')
  const extents = table(f.extents.slice(0, ROWS_MAX), [
    { title: 'OFFSET', value: (e) => e.offset, right: true },
    { title: 'LENGTH', value: (e) => e.length, right: true },
    { title: 'CHUNK', value: (e) => e.chunk },
    { title: 'AT', value: (e) => e.chunkOffset, right: true },
    ...(f.extents.some((e) => e.lost > 0)
      ? [{ title: 'LOST AT THE END', value: (e: FileReport['extents'][number]) => e.lost, right: true }]
      : []),
  ])
  const shown = f.chunks.slice(0, ROWS_MAX)
  const chunks = table(shown, [
    { title: 'CHUNK', value: (c) => c.chunk },
    { title: 'STATE', value: (c) => c.state },
    { title: 'CLASS', value: (c) => c.class },
    { title: 'PHASE', value: (c) => c.phase },
    { title: 'LENGTH', value: (c) => formatBytes(c.length), right: true },
    { title: 'LIVE', value: (c) => formatBytes(c.liveBytes), right: true },
    { title: 'FORM', value: (c) => (c.ec === null ? 'copies' : `${c.ec.data}+${c.ec.parity}`) },
    { title: 'READABLE', value: (c) => `${c.there} of ${c.wanted}` },
    { title: 'MISSING', value: (c) => c.missing.join('; ') },
  ])
  const places = table(shown.flatMap((chunk) => placesOf(chunk)).slice(0, PLACES_MAX), [
    { title: 'CHUNK', value: (p) => p.chunk },
    { title: 'WHAT', value: (p) => p.what },
    { title: 'DISK', value: (p) => p.at?.disk ?? '', right: true },
    { title: 'ON', value: (p) => (p.at === undefined ? 'NOWHERE' : readableName(`${p.at.nodeName}:${p.at.path}`)) },
    { title: 'RACK', value: (p) => p.at?.rack ?? '' },
    { title: 'SITE', value: (p) => p.at?.site ?? '' },
    { title: 'READ', value: (p) => readableNow(p.at) },
  ])
  const sites = table(f.sites, [
    { title: 'SITE', value: (s) => s.site },
    { title: 'THERE', value: (s) => formatBytes(s.bytes), right: true },
    {
      title: 'STATE',
      value: (s) => {
        if (s.missingBytes === 0) return 'complete'
        return s.wanted ? `${formatBytes(s.missingBytes)} not there` : 'not wanted there by its class'
      },
    },
  ])
  const more =
    Math.max(f.extents.length, f.chunks.length) > ROWS_MAX ? `(the first ${ROWS_MAX} are shown; --json has all)` : ''
  return [head, sites, extents, chunks, places, more].filter((part) => part !== '').join('\n\n')
}
