/*
 * THE table of commands: what can be typed after `holdfast`. oclif takes it as it is (no directory is searched); help,
 * completions and docs/cli.md come from it. A class costs little to load because it imports its work inside run().
 */

import type { Command } from '@oclif/core'
import { Bench } from './commands/bench.ts'
import { ChangelogTail } from './commands/changelog.ts'
import { Check } from './commands/check.ts'
import {
  ClassClone,
  ClassCreate,
  ClassDelete,
  ClassImport,
  ClassList,
  ClassModify,
  ClassRename,
  ClassShow,
} from './commands/class.ts'
import { ClassExplain } from './commands/class-explain.ts'
import { ClassGet, ClassSet, PatternAdd, PatternList, PatternRemove } from './commands/class-files.ts'
import { Completions } from './commands/completions.ts'
import { DiskAdd, DiskDrain, DiskLabel, DiskList, DiskRemove } from './commands/disk.ts'
import { Doctor } from './commands/doctor.ts'
import { FileInfo } from './commands/file.ts'
import { HealthCommand } from './commands/health.ts'
import { LinkLimit, LinkShow } from './commands/link.ts'
import { LocalStart, LocalStatusCommand, LocalStop } from './commands/local.ts'
import { MeshInit, MeshJoin, MeshLeave, MeshRemove, MeshRotateKeys, MeshStatus } from './commands/mesh.ts'
import { TokenCreate, TokenList, TokenRevoke } from './commands/mesh-token.ts'
import { Mount, Umount } from './commands/mount.ts'
import { NodeDrain, NodeGrace, NodeLabel, NodeList, NodeMaintenance, NodeRemove, NodeShow } from './commands/node.ts'
import { QuotaDelete, QuotaGet, QuotaList, QuotaSet } from './commands/quota.ts'
import { Run } from './commands/run.ts'
import { SettingsSet, SettingsShow } from './commands/settings.ts'
import { Append, SnapshotCancel, SnapshotCreate, SnapshotDelete, SnapshotList } from './commands/snapshot.ts'
import { Status } from './commands/status.ts'
import {
  TopologyApply,
  TopologyAuto,
  TopologyDiff,
  TopologyPin,
  TopologyReload,
  TopologyRename,
  TopologyShow,
} from './commands/topology.ts'
import { TrashList, TrashPurge, TrashRestore, TrashRetention } from './commands/trash.ts'
import { Wait } from './commands/wait.ts'

export const COMMANDS: Readonly<Record<string, Command.Class>> = {
  append: Append,
  bench: Bench,
  'changelog:tail': ChangelogTail,
  check: Check,
  'class:clone': ClassClone,
  'class:create': ClassCreate,
  'class:delete': ClassDelete,
  'class:explain': ClassExplain,
  'class:get': ClassGet,
  'class:import': ClassImport,
  'class:list': ClassList,
  'class:modify': ClassModify,
  'class:rename': ClassRename,
  'class:set': ClassSet,
  'class:show': ClassShow,
  completions: Completions,
  'disk:add': DiskAdd,
  'disk:drain': DiskDrain,
  'disk:label': DiskLabel,
  'disk:list': DiskList,
  'disk:remove': DiskRemove,
  'file:info': FileInfo,
  doctor: Doctor,
  health: HealthCommand,
  'link:limit': LinkLimit,
  'link:show': LinkShow,
  'local:start': LocalStart,
  'local:status': LocalStatusCommand,
  'local:stop': LocalStop,
  mount: Mount,
  'node:drain': NodeDrain,
  'node:grace': NodeGrace,
  'node:label': NodeLabel,
  'mesh:init': MeshInit,
  'mesh:join': MeshJoin,
  'mesh:leave': MeshLeave,
  'mesh:remove': MeshRemove,
  'mesh:rotate-keys': MeshRotateKeys,
  'mesh:status': MeshStatus,
  'mesh:token:create': TokenCreate,
  'mesh:token:list': TokenList,
  'mesh:token:revoke': TokenRevoke,
  'node:list': NodeList,
  'node:maintenance': NodeMaintenance,
  'node:remove': NodeRemove,
  'node:show': NodeShow,
  'pattern:add': PatternAdd,
  'pattern:list': PatternList,
  'pattern:remove': PatternRemove,
  'quota:delete': QuotaDelete,
  'quota:get': QuotaGet,
  'quota:list': QuotaList,
  'quota:set': QuotaSet,
  run: Run,
  'settings:set': SettingsSet,
  'settings:show': SettingsShow,
  'snapshot:cancel': SnapshotCancel,
  'snapshot:create': SnapshotCreate,
  'snapshot:delete': SnapshotDelete,
  'snapshot:list': SnapshotList,
  status: Status,
  'topology:apply': TopologyApply,
  'topology:auto': TopologyAuto,
  'topology:diff': TopologyDiff,
  'topology:pin': TopologyPin,
  'topology:reload': TopologyReload,
  'topology:rename': TopologyRename,
  'topology:show': TopologyShow,
  'trash:list': TrashList,
  'trash:purge': TrashPurge,
  'trash:restore': TrashRestore,
  'trash:retention': TrashRetention,
  umount: Umount,
  wait: Wait,
}
