/*
 * THE tables of node settings: what the TOML file of a role may say. A new setting is a new row here and nothing else; the
 * type that the daemon gets, the checks and docs/config.md follow from it.
 *
 * Settings of the whole cluster (copies, grace, trash, session timeout) live in the changelog; their rows here only say
 * what a brand-new cluster starts with. `holdfast settings set` changes them later.
 */

import {
  bool,
  type ConfigRows,
  choice,
  diskList,
  durationMs,
  integer,
  path,
  port,
  type SectionOf,
  sizeBytes,
  text,
  textList,
} from './rows.ts'

const MiB = 1024 * 1024
/** As many as topology/label-names.ts takes. */
const LABELS_MAX = 64

/** A master listens here unless told otherwise; chunkservers take the next port. */
export const MASTER_PORT = 9460
export const CHUNKSERVER_PORT = 9461
/** Hubs take joins here; agents speak to each other on the next one, in the mesh only. */
export const JOIN_PORT = 9463
export const AGENT_PORT = 9464

const cluster = {
  id: text('', {
    means: 'The cluster this process belongs to; empty: a new master makes one up, others take the one they find.',
    danger: 'A wrong id makes every connection be refused, which is its purpose.',
  }),
  identityDir: path('', {
    means:
      "The directory of this node's certificate (`node.crt`, `node.key`, `ca.crt`), which `holdfast mesh join` writes: every connection is TLS then, between nodes that the cluster's authority has signed, in the roles that it has signed. Empty: connections are neither encrypted nor authenticated.",
    danger: 'Empty, roles listen on loopback addresses only, unless trustNetwork is set.',
  }),
  runDir: path('/run/holdfast', {
    means: 'With an identity: where processes of this machine find each other. Made for the owner only.',
  }),
  trustNetwork: bool(false, {
    means: 'Listen on addresses that other machines reach although there is no identity.',
    danger: 'Whoever reaches the ports reads, changes and deletes everything: for a LAN that is trusted whole, only.',
  }),
} as const

const log = {
  level: choice(['debug', 'info', 'warn', 'error'], 'info', { means: 'The least important line that is written.' }),
  file: path('', {
    means: 'Where JSON lines are appended; empty: standard error.',
    danger: 'The file is not rotated by the process; use logrotate with copytruncate, or leave it empty under systemd.',
  }),
} as const

/** To each node that bulk goes to or comes from; as many as wire/lane-count.ts takes. */
const connections = integer(
  '',
  0,
  { min: 0, max: 16 },
  {
    means:
      'To each chunkserver, for bulk. 0: one where it is near; where it is far, four, and more while they carry clearly more, as they do on lines that lose packets.',
    danger: 'Many take a larger share of a full line than others do.',
  },
)

const master = {
  dataDir: path(undefined, {
    means: 'The directory of the metadata database.',
    danger: 'Losing it loses the filesystem: chunk files alone have no names. Keep it on a disk that honours flushes.',
  }),
  listenHost: text('127.0.0.1', {
    means: 'The address to listen on.',
    danger: 'Without an identity (`identityDir`) nobody proves who he is: loopback only, unless trustNetwork is set.',
  }),
  listenPort: port(MASTER_PORT, { means: 'The TCP port to listen on; 0 picks a free one.' }),
  topologyFile: path('', {
    means:
      'Racks and sites by address, in the syntax of mfstopology.cfg: lines of `ADDRESS RACK` or `ADDRESS SITE|RACK`, the last that matches holds. Empty: `topology` in dataDir, if it is there. Read at the start and by `holdfast topology reload`.',
    danger: 'What a chunkserver or a mount declares itself comes first.',
  }),
  copies: integer(
    '',
    2,
    { min: 1, max: 64 },
    {
      means: 'First start only: how many chunkservers hold each chunk.',
      danger: 'With 1 the loss of one disk loses data.',
    },
  ),
  graceMs: durationMs(
    600_000,
    {},
    {
      means: 'First start only: how long a chunkserver may be away before its chunks are copied again.',
      danger: 'Too short: every reboot causes copying. Chunks with one copy left do not wait for it.',
    },
  ),
  trashRetentionMs: durationMs(
    86_400_000,
    {},
    {
      means: 'First start only: how long deleted files stay in the trash (per file changeable).',
      danger: 'Deleted files need space until then.',
    },
  ),
  sessionTimeoutMs: durationMs(
    30_000,
    { min: 1000 },
    {
      means: 'First start only: a mount unheard of for this long has lost its locks and open files.',
      danger: 'Shorter than a network outage: mounts lose their locks in every outage.',
    },
  ),
  deadGraceMs: durationMs(
    60_000,
    {},
    {
      means: 'How long a chunk without live bytes stays on the disks, for readers that still know its place.',
    },
  ),
  topologyEveryMs: durationMs(
    60_000,
    { min: 1000, max: 3_600_000 },
    {
      means:
        'How often it is found out which nodes of the mesh share a rack and a site; what is found so five times in a row holds.',
      danger: 'Much shorter: a line that is full for a while moves its nodes elsewhere, and data follows.',
    },
  ),
  settleMs: durationMs(
    20_000,
    { max: 3_600_000 },
    {
      means: 'How long a chunkserver may be away before chunks that have one copy left are copied again.',
      danger:
        'Shorter than a restart takes: every restart causes copying. Long: data with one copy stays so for longer.',
    },
  ),
  heartbeatMs: durationMs(
    2000,
    { min: 100, max: 60_000 },
    {
      means: 'How often a chunkserver reports the state and space of its disks.',
    },
  ),
  repairParallel: integer(
    '',
    4,
    { min: 1, max: 64 },
    {
      means: 'Copies made at one time per chunkserver while repairing or draining.',
      danger: 'More competes with readers and writers for the disks.',
    },
  ),
  repairBytesPerSecond: sizeBytes(
    0,
    {},
    {
      means:
        'Upper bound of what one order moves: a copy, a chunk cut into parts, a rewrite, the mending of damage; 0: none.',
      danger: 'Too low leaves chunks below their number of copies for long.',
    },
  ),
  changelogEntries: integer(
    '',
    65_536,
    { min: 1_024, max: 100_000_000 },
    {
      means: 'How many of the last changes the changelog keeps, for `holdfast changelog tail`.',
      danger: 'They take room on the metadata disk, some 150 bytes each, up to changelogBytes.',
    },
  ),
  changelogBytes: sizeBytes(
    64 * MiB,
    { min: MiB, max: 65_536 * MiB },
    {
      means: 'How many bytes the changelog keeps at most.',
      danger: 'Room on the metadata disk that the filesystem itself does not get.',
    },
  ),
  diskErrors: integer(
    '',
    2,
    { min: 0, max: 1_000 },
    {
      means:
        'A disk that reports so many input/output errors within diskErrorsPeriodMs is drained by itself, and given back by `holdfast disk drain DISK --stop`; 0: never. The chunkserver takes it out of use at two in ten minutes.',
      danger: 'A dying disk that is not drained comes back with every restart of its chunkserver.',
    },
  ),
  diskErrorsPeriodMs: durationMs(600_000, { min: 1_000 }, { means: 'The period in which they are counted.' }),
  compactBelowPercent: integer(
    '%',
    50,
    { min: 1, max: 95 },
    {
      means: 'A sealed chunk whose live share falls below this is rewritten.',
      danger: 'High values rewrite much to win little.',
    },
  ),
} as const

const chunkserver = {
  name: text('', { means: 'How people call this chunkserver; empty: the host name.' }),
  dataDir: path(undefined, {
    means: "The chunkserver's own directory (its identity).",
    danger: 'Two chunkservers with one identity are refused by the master.',
  }),
  disks: diskList(
    undefined,
    { maxLength: 256, labelsMax: LABELS_MAX },
    {
      means:
        'One line per disk as in mfshdd.cfg, or `{ disk = "PATH SPACE", labels = ["B"] }` for a disk with labels of its own beside those of the chunkserver: `[*]PATH [SPACE]`. `*` marks for removal; SPACE: `100GiB` or `80%` use at most, `-10GiB` or `-10%` leave free, `=` shared with others. `~` is taken and changes nothing (a change of size is never a sign of damage); `<` and `>` are refused (the master decides on which disk a chunk lies).',
      danger: 'Two lines on one physical disk are one failure domain that looks like two.',
    },
  ),
  listenHost: text('127.0.0.1', {
    means: 'The address to listen on.',
    danger: 'Without an identity (`identityDir`) nobody proves who he is: loopback only, unless trustNetwork is set.',
  }),
  listenPort: port(CHUNKSERVER_PORT, { means: 'The TCP port to listen on; 0 picks a free one.' }),
  advertiseHost: text('', {
    means: 'The address that mounts and other chunkservers are told; empty: the one it listens on.',
    danger: 'Must be reachable from every mount.',
  }),
  masterHost: text('127.0.0.1', { means: 'Where the master is.' }),
  masterPort: port(MASTER_PORT, { means: "The master's port." }),
  labels: textList(
    [],
    { maxLength: LABELS_MAX },
    {
      means:
        'Labels of all disks of this chunkserver, which storage classes speak of: letters A to Z, or names of 2 to 32 characters (`usb-backup`; `{usb-backup}` in expressions). What `holdfast node label` sets holds instead, until `--clear`.',
      danger: 'Taking a label away makes chunks move that were kept here because of it.',
    },
  ),
  rack: text('', {
    means:
      "The rack it stands in (`[RACK]` in storage classes); empty: what the master's topology file says of its address.",
    danger: 'Racks that are one in truth die together, whatever they are called.',
  }),
  site: text('', {
    means: "The site of that rack (`[SITE]`); empty: what the master's topology file says of its address.",
  }),
  machine: text('', {
    means:
      'What tells this machine apart from others (`[IP]` in storage classes); empty: the address that others are told.',
    danger: 'Two names for one machine let all copies of a file be on it.',
  }),
  leaveFreeBytes: sizeBytes(
    256 * MiB,
    {},
    {
      means: 'Left free on each disk whose line says nothing about space.',
      danger: 'A disk filled to the last byte slows down and cannot delete on some filesystems.',
    },
  ),
  connections,
  scrubDays: integer(
    'days',
    30,
    { min: 0, max: 3650 },
    {
      means: 'Every block is read and checked once in this time; 0: never.',
      danger: '0 finds silent damage only when somebody reads the file, maybe after the other copy is gone.',
    },
  ),
} as const

const mount = {
  mountpoint: path(undefined, {
    means: 'Where the filesystem appears; made when missing.',
    danger: 'What lies in that directory is hidden while mounted.',
  }),
  masterHost: text('127.0.0.1', { means: 'Where the master is.' }),
  masterPort: port(MASTER_PORT, { means: "The master's port." }),
  rack: text('', {
    means:
      "The rack that this mount is in: it writes and reads near by. Empty: what the master's topology file says of its address.",
  }),
  site: text('', { means: 'The site of that rack; empty: likewise.' }),
  machine: text('', {
    means: 'The `machine` of the chunkservers that run beside this mount, where they declare one; empty: its address.',
  }),
  prefer: textList(
    [],
    { maxLength: LABELS_MAX },
    {
      means:
        'Labels of the disks that are read from first, the best one at the front; what has none of them comes last, and what is equal by that is read where it is nearest.',
      danger: 'Preferring few disks makes them carry all readers.',
    },
  ),
  door: choice(['fuse', 'fuse-native'], 'fuse', {
    means: 'How the kernel is spoken to: straight over /dev/fuse, or through libfuse 2.',
    danger: 'fuse-native lacks locks across mounts, invalidation and more; see docs/fuse-native.md.',
  }),
  allowOther: bool(true, {
    means: 'Other users may use the mount (permissions are checked by the kernel).',
    danger: 'An ordinary user needs user_allow_other in /etc/fuse.conf for true.',
  }),
  readOnly: bool(false, { means: 'Refuse every change.' }),
  meta: bool(false, {
    means:
      'Show what is deleted instead of the files: the trash, to be read, restored and purged, and files held open. For root; see docs/guides/trash.md.',
    danger: 'rm in it deletes for good.',
  }),
  onDisconnect: choice(['wait', 'error'], 'error', {
    means:
      'What becomes of an operation that needs a master or chunkserver which is away: it waits until that is back, or fails with EIO when `onDisconnectMs` is over.',
    danger: 'With wait, programs stand still for as long as a link is cut; they can be interrupted.',
  }),
  onDisconnectMs: durationMs(
    300_000,
    {},
    {
      means:
        'How long such an operation waits before it fails with EIO, where onDisconnect is `error`; with both, how long the end of the mount waits for what is unwritten.',
      danger: 'Too short turns a restart into write errors; programs wait (interruptible) until then.',
    },
  ),
  connections,
  cacheBytes: sizeBytes(
    64 * MiB,
    { min: MiB },
    {
      means: 'Memory for blocks read.',
      danger: 'On a 1 GB machine more than 128 MiB leaves too little for the kernel.',
    },
  ),
  writeBufferBytes: sizeBytes(
    64 * MiB,
    { min: 8 * MiB },
    {
      means: 'Memory for data written and not yet committed; writers wait when it is full.',
      danger: 'At most this much is lost when the mount process is killed.',
    },
  ),
  opLog: path('', {
    means: 'Append one line per operation (name, inode, arguments, outcome, µs) to this file; empty: none.',
    danger: 'Grows fast and slows the mount; for diagnosis only.',
  }),
} as const

const mesh = {
  dir: path('/etc/holdfast/mesh', {
    means: 'Where this node keeps who it is in the mesh: its certificate, the last map, on a hub the keys of the mesh.',
    danger: 'A copy of it on another machine is a clone: both are known by one key, and neither is reached.',
  }),
  keyFile: path('/etc/wireguard/holdfast0.key', {
    means:
      "The interface's private key. Below /etc/wireguard, because AppArmor lets wg(8) read nothing else on some systems.",
  }),
  joinHost: text('::', { means: 'On a hub: the address on which joins are taken.' }),
  joinPort: port(JOIN_PORT, {
    means: 'On a hub: the TCP port on which joins are taken, to be let through by firewalls; 0: none are taken here.',
  }),
  advertise: textList(
    [],
    { maxLength: 4 },
    {
      means:
        'ADDRESS:PORT at which this node is reached from outside, most wanted first: for one behind a NAT that sends a port on to it, and for hubs.',
      danger: 'One that leads nowhere costs others five seconds at each try.',
    },
  ),
  relay: bool(true, {
    means: 'Pass packets on, unread, between nodes that cannot reach each other, when this node is public.',
    danger: 'Costs traffic: up to 100 Mbit/s for each such pair, on UDP ports 40000 to 40999.',
  }),
  congestion: choice(['bbr', 'cubic', 'reno', 'kernel'], 'bbr', {
    means:
      "TCP's congestion control of connections over the mesh, where the kernel has it; `kernel`: what the kernel is set to.",
    danger: 'All but bbr take a lost packet for a full line: at 1 % loss and 40 ms a connection carries some 4 Mbit/s.',
  }),
  masterHost: text('', { means: 'Where the master is, for the command line; empty: as the mesh says.' }),
  masterPort: port(MASTER_PORT, { means: "The master's port." }),
} as const

export const sections = { cluster, log, master, chunkserver, mount, mesh } as const satisfies Record<string, ConfigRows>
export type SectionName = keyof typeof sections

export const ROLES = ['master', 'chunkserver', 'mount', 'mesh'] as const
export type RoleName = (typeof ROLES)[number]

export type ClusterSection = SectionOf<typeof cluster>
export type LogSection = SectionOf<typeof log>
interface Common {
  readonly cluster: ClusterSection
  readonly log: LogSection
}
/** A role's own rows lie flat beside `cluster` and `log`: config.dataDir, config.cluster.id. */
export interface MasterConfig extends Common, SectionOf<typeof master> {}
export interface ChunkserverConfig extends Common, SectionOf<typeof chunkserver> {}
export interface MountConfig extends Common, SectionOf<typeof mount> {}
export interface MeshConfig extends Common, SectionOf<typeof mesh> {}
export interface RoleConfigs {
  readonly master: MasterConfig
  readonly chunkserver: ChunkserverConfig
  readonly mount: MountConfig
  readonly mesh: MeshConfig
}
