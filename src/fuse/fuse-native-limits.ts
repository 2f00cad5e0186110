/*
 * What the second door cannot do because its library's API has no word for it, as a table: the documentation page is made
 * of it, and the conformance suite shows the tests that need a missing feature as skipped with the row's reason.
 */

export interface DoorLimit {
  /** The feature as the conformance suite names it; undefined: nothing there can see it. */
  readonly feature?: string
  readonly what: string
  readonly consequence: string
}

export const FUSE_NATIVE_LIMITS: readonly DoorLimit[] = [
  {
    feature: 'caller-identity',
    what: 'no uid, gid, pid or umask of the caller reaches a handler',
    consequence: 'what is made belongs to the user who mounted; setgid directories and per-user rules do not work',
  },
  {
    feature: 'locks',
    what: 'no lock and flock operations',
    consequence: 'locks hold within one machine only and are not seen by other mounts',
  },
  {
    feature: 'rename-flags',
    what: 'rename has no flags (libfuse 2)',
    consequence: 'RENAME_NOREPLACE and RENAME_EXCHANGE fail with EINVAL',
  },
  {
    feature: 'fallocate',
    what: 'no fallocate operation',
    consequence: 'fallocate fails with EOPNOTSUPP; holes cannot be punched',
  },
  {
    feature: 'seek-hole',
    what: 'no lseek operation',
    consequence: 'SEEK_HOLE sees one extent of data; copies of sparse files are read in full',
  },
  {
    feature: 'copy-file-range',
    what: 'no copy_file_range operation',
    consequence: 'the data is read and written through the kernel instead of being shared',
  },
  {
    feature: 'hidden-unlink',
    what: 'operations name paths, not inodes',
    consequence: 'a file unlinked while open is renamed to .fuse_hidden… until its last close',
  },
  {
    feature: 'times-ns',
    what: 'times are unsigned milliseconds, and utimens is given the access time twice',
    consequence: 'nanoseconds, times before 1970 and setting mtime alone are lost',
  },
  {
    feature: 'mtime',
    what: 'utimens cannot say "leave this one" or "now" apart',
    consequence: 'touch -a and touch -m set both times to now',
  },
  {
    feature: 'set-id-clearing',
    what: 'a handler does not learn that a write must clear set-id bits',
    consequence: 'the kernel clears them by a chmod of its own, one request later',
  },
  {
    feature: 'posix-acl',
    what: 'the library cannot ask the kernel to enforce ACLs',
    consequence: 'ACLs are stored, and not enforced by this door',
  },
  {
    feature: 'raw-names',
    what: 'names pass through UTF-8 strings',
    consequence: 'names that are not valid UTF-8 cannot be used',
  },
  {
    what: 'inode numbers and file handles have 32 bits',
    consequence: 'stat shows inode numbers modulo 2^32',
  },
  {
    what: 'no notifications',
    consequence:
      'changes made elsewhere are seen after a second; nothing is pushed, and no data is cached past a close',
  },
  {
    what: 'no interrupt operation',
    consequence: 'a process that waits for a slow operation cannot be killed until it ends',
  },
  {
    what: 'writes of 128 KiB at most, no readdirplus, no 1 MiB requests',
    consequence: 'half the throughput of the kernel door, and listings with attributes cost a request for each entry',
  },
  {
    feature: 'file-handles',
    what: 'no takeover of a living mount and no stable node ids',
    consequence: 'a restart unmounts, and NFS export over this door loses its handles',
  },
]

/** The rows the conformance suite looks up: feature → reason. */
export function skippedFeatures(): ReadonlyMap<string, string> {
  const rows = FUSE_NATIVE_LIMITS.flatMap((row) =>
    row.feature === undefined ? [] : [[row.feature, row.what] as const],
  )
  return new Map(rows)
}

/** docs/fuse-native.md, whole. */
export function fuseNativePage(): string {
  const cells = [['The API', 'What follows'], ...FUSE_NATIVE_LIMITS.map((row) => [row.what, row.consequence])]
  const widths = [0, 1].map((column) => Math.max(...cells.map((row) => row[column]!.length)))
  const line = (row: readonly string[]): string => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`
  const rule = line(widths.map((width) => '-'.repeat(width)))
  const [head, ...rows] = cells.map(line)
  return `# The second door: fuse-native

\`--door fuse-native\` serves the mount through the npm package fuse-native (libfuse 2.9 through N-API) instead of speaking
the kernel's protocol. It is the road to systems without \`/dev/fuse\` (macFUSE), and the same conformance suite runs
through both doors on Linux. On Linux use the kernel door: it is faster and complete.

The package is optional. It needs \`libfuse.so.2\`: Debian's \`libfuse2\`, or the copy that comes with the package, found
through \`LD_LIBRARY_PATH\` (\`holdfast\` sets it for the process it starts).

What its API cannot do (made from the table in \`src/fuse/fuse-native-limits.ts\`):

${head}
${rule}
${rows.join('\n')}
`
}
