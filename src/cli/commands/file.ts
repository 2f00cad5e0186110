/* `holdfast file info PATH…`: what a file is made of and where every copy lies. */

import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import { Args } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { parseMountInfo } from '../../fuse/mounts.ts'
import type { FileReport } from '../../wire/reports.ts'
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
  static override summary = 'Extents, chunks and the place of every copy of files.'
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
  const chunks = table(f.chunks.slice(0, ROWS_MAX), [
    { title: 'CHUNK', value: (c) => c.chunk },
    { title: 'STATE', value: (c) => c.state },
    { title: 'LENGTH', value: (c) => formatBytes(c.length), right: true },
    { title: 'LIVE', value: (c) => formatBytes(c.liveBytes), right: true },
    {
      title: 'COPIES',
      value: (c) => [copiesText(c.copies), c.ec === null ? '' : cutText(c.ec)].filter(Boolean).join('; ') || 'NONE',
    },
  ])
  const more =
    Math.max(f.extents.length, f.chunks.length) > ROWS_MAX ? `(the first ${ROWS_MAX} are shown; --json has all)` : ''
  return [head, extents, chunks, more].filter((part) => part !== '').join('\n\n')
}

const copiesText = (copies: FileReport['chunks'][number]['copies']): string =>
  copies.map((p) => `${p.nodeName}${p.connected ? '' : ' (away)'} disk ${p.disk}`).join(', ')

/** "2+1 parts: chunkserver-1 disk 1 | chunkserver-2 disk 4 | LOST". */
function cutText({ data, parity, parts }: NonNullable<FileReport['chunks'][number]['ec']>): string {
  return `${data}+${parity} parts: ${parts.map(({ copies }) => copiesText(copies) || 'LOST').join(' | ')}`
}
