/* Rows of the table of commands: the trash, settings, snapshots, storage classes and quotas. */

import { PATH_BYTES_MAX } from '../../base/limits.ts'
import { bool, bytestr, list, optional, struct, text, uint } from '../../base/schema.ts'
import {
  CLASS_OF_MAX,
  classPattern,
  classText,
  ino,
  labels,
  moving,
  name,
  quotaLimits,
  RETENTION_OF_MAX,
} from '../../wire/shapes.ts'
import { command, openIn } from './command-row.ts'

export const treeCommands = {
  // ---- trash and settings
  trashRestore: command(
    60,
    'trashRestore',
    'Back from the trash.',
    struct({
      ino,
      path: optional(bytestr(PATH_BYTES_MAX)),
      /** For directories that went with it: as many as restoreNeeds (core/lifetime.ts) says of the path. */
      newInos: optional(list(ino, 4096)),
      /** Where it was, under this name; `path` is undefined then. */
      name: optional(name),
    }),
  ),
  trashPurge: command(61, 'trashPurge', 'Gone for good (by hand).', struct({ inos: list(ino, 4096) })),
  trashExpired: command(
    62,
    undefined,
    'Gone for good (by age): at most this many whose time is over.',
    struct({ limit: uint(4096) }),
  ),
  trashRetention: command(
    63,
    'trashRetention',
    'How long deleted things are kept.',
    struct({ ino, retentionMs: uint() }),
  ),
  /** While counters().doomed > 0: until nothing is left of inodes that had more extents than one command frees. */
  doomedFreed: command(65, undefined, 'A step of freeing the extents of doomed inodes.', struct({})),
  /** While counters().copiesToldTo is not undefined: after a change of the setting `copies`. */
  copiesTold: command(
    66,
    undefined,
    'The next chunks learn a changed number of copies.',
    struct({ limit: uint(65536) }),
  ),
  // ---- snapshots and whole trees
  /** The moment that the snapshot shows. Paths are for people. */
  snapshotBegin: command(
    85,
    'snapshotCreate',
    'A snapshot begins: what changes from now on leaves images.',
    struct({
      source: ino,
      sourcePath: bytestr(PATH_BYTES_MAX),
      parent: ino,
      name,
      targetPath: bytestr(PATH_BYTES_MAX),
    }),
  ),
  snapshotCopied: command(
    86,
    undefined,
    'A step of making a snapshot.',
    struct({
      job: uint(),
      inodes: uint(65536),
      /** Extents and attributes. */
      rows: uint(65536),
    }),
  ),
  /** When no copy is incomplete. */
  snapshotShown: command(87, undefined, 'A complete snapshot gets its name.', struct({ job: uint() })),
  jobCancelled: command(
    88,
    'snapshotCancel',
    'A snapshot is given up: by hand, or because it cannot be made (then with an errno).',
    struct({ job: uint(), errno: optional(uint(4095)), detail: optional(text()) }),
  ),
  treeDetached: command(
    89,
    'treeDelete',
    'A tree goes out of sight, to be freed in steps.',
    struct({ parent: ino, name, path: bytestr(PATH_BYTES_MAX), openIn }),
  ),
  /** While a job is clearing. */
  jobCleared: command(
    90,
    undefined,
    'A step of freeing a tree that is out of sight, and what a snapshot needed while it was made.',
    struct({ job: uint(), limit: uint(65536), openIn: list(struct({ ino, sessions: openIn }), 65536) }),
  ),
  settingsSet: command(
    64,
    'settingsSet',
    'Cluster settings.',
    struct({
      copies: optional(uint(64)),
      graceMs: optional(uint()),
      trashRetentionMs: optional(uint()),
      sessionTimeoutMs: optional(uint()),
      backupLabels: optional(labels),
      moving: optional(moving),
    }),
  ),
  // ---- storage classes
  classSet: command(
    70,
    'classSet',
    'A storage class is made, or becomes what is said here.',
    struct({ classId: uint(), text: classText }),
  ),
  classRename: command(71, 'classRename', 'A class is called otherwise.', struct({ classId: uint(), name: text(255) })),
  /** Refused while an inode or a pattern has it. */
  classDelete: command(72, 'classDelete', 'A class goes.', struct({ classId: uint() })),
  classOf: command(
    73,
    'classOf',
    'Files and directories get a class.',
    struct({
      classId: uint(),
      onlyFrom: optional(uint()),
      inos: list(ino, CLASS_OF_MAX),
      /** They are a page of a directory: the directories among them are answered, and this cookie. */
      paged: bool,
      cookie: optional(uint()),
    }),
  ),
  /** While counters().reclassing > 0. */
  reclassed: command(
    74,
    undefined,
    'A step of telling the chunks of long files that these have another class.',
    struct({ limit: uint(65536) }),
  ),
  patternSet: command(
    75,
    'patternSet',
    'What is made with such a name or owner gets a class.',
    struct({ number: uint(), pattern: classPattern }),
  ),
  patternDelete: command(76, 'patternDelete', 'A pattern goes.', struct({ number: uint() })),
  // ---- quotas
  /** Of a directory that has none: it is counted by `quotaWalked` first. */
  quotaSet: command(
    80,
    'quotaSet',
    'What is in a directory may grow so far.',
    struct({ ino, inodes: quotaLimits, length: quotaLimits, raw: quotaLimits, graceMs: optional(uint()) }),
  ),
  quotaDelete: command(81, 'quotaDelete', 'A directory is limited no more.', struct({ ino })),
  /** While a quota is being counted or taken away, or waits for it (core/quotas.ts, hasQuotaWork). */
  quotaWalked: command(
    82,
    undefined,
    'The next inodes pass to the quota that they are to count in.',
    struct({ limit: uint(65536) }),
  ),
  /** While counters().usageTo is not ALL_COUNTED (usage.ts). */
  usageCounted: command(
    175,
    undefined,
    'The next chunks of a store of before are counted in what their classes hold.',
    struct({ limit: uint(65536) }),
  ),
  retentionOf: command(
    120,
    'retentionOf',
    'How long files and directories are kept when they are deleted; undefined: as the setting says.',
    struct({
      retentionMs: optional(uint()),
      inos: list(ino, RETENTION_OF_MAX),
      /** They are a page of a directory: the directories among them are answered, and this cookie. */
      paged: bool,
      cookie: optional(uint()),
    }),
  ),
}
