/*
 * apply(state, envelope, command) → Outcome: the only code that changes the master's state. Live, replay, standby,
 * offline check and simulator all call it. Deterministic: time, ids and chosen disks come with the command. Total: any
 * command that decodes has an outcome; refusals are outcomes like others and change nothing but the bookkeeping.
 *
 * The bookkeeping of every command is here and in the same transaction: the remembered reply of a stamp, the record in
 * the changelog, the index. Effects are held decoded until state.flush() (see state.ts).
 */

import type { Errno } from '../../base/errno.ts'
import { assert, type Result, refuse } from '../../base/fault.ts'
import type { SessionId } from '../../base/ids.ts'
import { removexattr, setattr, setxattr } from './attributes.ts'
import {
  chunkOpen,
  chunkSeal,
  chunkSealed,
  chunkShortened,
  chunksForgotten,
  compactBegun,
  copyAdded,
  copyDropped,
} from './chunks.ts'
import { classDelete, classOf, classRename, classSet, patternDelete, patternSet, reclassed } from './classes.ts'
import { chunkWish, chunkWishes, encodeBegun, encoded, partsEnded, uncoded } from './coding.ts'
import { type Envelope, encodeChangelog } from './command-codec.ts'
import { type Command, type CommandName, type CommandOf, commands } from './commands.ts'
import {
  copiesTold,
  diskDrain,
  diskLabel,
  diskLeft,
  diskRemove,
  inventory,
  nodeGrace,
  nodeJoined,
  nodeLabel,
  nodeMaintenance,
  nodeRemove,
  settingsSet,
} from './disks.ts'
import { commit, copyRange, fallocate, relocate, shrunk } from './extents.ts'
import { inosReserve, names } from './held-names.ts'
import {
  doomedFreed,
  released,
  retentionOf,
  trashExpired,
  trashPurge,
  trashRestore,
  trashRetention,
} from './lifetime.ts'
import { linkLimit } from './links.ts'
import { measuringSet, memberPlaced, placeRenamed, placesMeasured } from './measured.ts'
import {
  memberCertified,
  memberConfirmed,
  memberJoined,
  memberKey,
  memberRemoved,
  memberReported,
  meshExpired,
  meshFounded,
  tokenMade,
  tokenRevoked,
} from './mesh.ts'
import { create, link, make, rename, rmdir, unlink } from './namespace.ts'
import type { Outcome } from './outcome.ts'
import { quotaDelete, quotaSet, quotaWalked, settleQuotas } from './quotas.ts'
import type { SessionRecord } from './records.ts'
import { releaseLocks, sessionCleared, sessionEnd, sessionOpen, setLock } from './sessions.ts'
import { jobCancelled, snapshotBegin, snapshotCopied, snapshotShown } from './snapshot.ts'
import type { State } from './state.ts'
import { key } from './tables.ts'
import { jobCleared, treeDetached } from './trees.ts'
import { usageCounted } from './usage.ts'
import { Work } from './work.ts'

type Handlers = { readonly [N in CommandName]: (work: Work, command: CommandOf<N>) => Result<unknown> }

const handlers: Handlers = {
  sessionOpen,
  sessionEnd,
  sessionCleared,
  make,
  create,
  unlink,
  rmdir,
  rename,
  link,
  setattr,
  names,
  inosReserve,
  released,
  chunkOpen,
  chunkSeal,
  commit,
  fallocate,
  copyRange,
  setxattr,
  removexattr,
  setLock,
  releaseLocks,
  nodeJoined,
  inventory,
  copyAdded,
  copyDropped,
  chunkSealed,
  chunkShortened,
  chunksForgotten,
  compactBegun,
  encodeBegun,
  encoded,
  partsEnded,
  uncoded,
  chunkWish,
  chunkWishes,
  relocate,
  shrunk,
  diskDrain,
  diskRemove,
  diskLeft,
  nodeLabel,
  diskLabel,
  nodeGrace,
  nodeMaintenance,
  nodeRemove,
  trashRestore,
  trashPurge,
  trashExpired,
  trashRetention,
  retentionOf,
  settingsSet,
  doomedFreed,
  copiesTold,
  classSet,
  classRename,
  classDelete,
  classOf,
  reclassed,
  patternSet,
  patternDelete,
  snapshotBegin,
  snapshotCopied,
  snapshotShown,
  jobCancelled,
  treeDetached,
  jobCleared,
  quotaSet,
  quotaDelete,
  quotaWalked,
  usageCounted,
  meshFounded,
  tokenMade,
  tokenRevoked,
  memberJoined,
  memberConfirmed,
  memberCertified,
  memberKey,
  memberReported,
  memberRemoved,
  meshExpired,
  placesMeasured,
  measuringSet,
  placeRenamed,
  memberPlaced,
  linkLimit,
}

/** Replies that a session may leave unacknowledged: a link has at most 1 024 requests in flight. */
export const REPLIES_MAX = 4096
/** Acknowledged replies are deleted one by one up to this many; a larger jump is a scan. */
const ACKED_ONE_BY_ONE = 64
/** Entries trimmed per command, so that a changelog over its bounds comes back into them. */
const TRIM_MAX = 4

export function apply(state: State, envelope: Envelope, command: Command): Outcome {
  const counters = state.counters()
  assert(envelope.index === counters.index + 1, `command ${envelope.index} comes after ${counters.index}`)
  const work = new Work(state, { sec: envelope.sec, nsec: envelope.nsec }, envelope.session)
  const result = answered(work, envelope, command)
  work.touched.quotas.push(...settleQuotas(work))
  record(state, envelope, command, 'errno' in result ? result.errno : undefined)
  return { result, touched: work.touched }
}

/** Carries a command out, or answers it from memory. */
function answered(work: Work, envelope: Envelope, command: Command): Result<unknown> {
  const { state } = work
  const { session, seq } = envelope
  const stamped = session !== 0 && commands[command.kind].from !== undefined
  if (!stamped) return run(work, command)
  const known = state.session(session)
  if (known === undefined) return refuse('ESTALE', `session ${session} is over`)
  // Not remembered, because it may be repeated: a lock that waited. Its place among the seqs would hold `acked` back.
  if (seq === 0) return run(work, command)
  const remembered = state.reply(session, seq)
  if (remembered !== undefined) return remembered
  // Its reply was received, so this is an echo that nobody listens to; executing it would do the thing twice.
  if (seq < known.acked) return refuse('EINVAL', `request ${seq} was answered and acknowledged before`)
  if (seq >= known.acked + REPLIES_MAX && seq >= envelope.acked + REPLIES_MAX)
    return refuse('EINVAL', `more than ${REPLIES_MAX} requests are not acknowledged`)
  const result = run(work, command)
  state.setReply(session, seq, command.kind, result)
  forgetReplies(state, session, known, envelope)
  return result
}

const run = (work: Work, command: Command): Result<unknown> =>
  (handlers[command.kind] as (work: Work, command: Command) => Result<unknown>)(work, command)

function forgetReplies(state: State, session: SessionId, known: SessionRecord, envelope: Envelope): void {
  const acked = Math.min(envelope.acked, envelope.seq)
  if (acked <= known.acked) return
  if (acked - known.acked <= ACKED_ONE_BY_ONE)
    for (let seq = known.acked; seq < acked; seq++) state.kv.delete(key.reply(session, seq))
  else {
    const old: string[] = []
    state.kv.scan({ from: key.repliesOf(session), to: key.reply(session, acked) }, (at) => {
      old.push(at)
      return true
    })
    for (const at of old) state.kv.delete(at)
  }
  const current = state.session(session)
  if (current !== undefined) state.setSession(session, { ...current, acked })
}

/** Into the changelog, which is trimmed at its other end. */
function record(state: State, envelope: Envelope, command: Command, code: Errno | undefined): void {
  const entry = encodeChangelog(envelope, command, code)
  state.kv.put(key.changelog(envelope.index), entry)
  let { firstIndex, changelogBytes } = state.counters()
  changelogBytes += entry.length
  for (let trimmed = 0; trimmed < TRIM_MAX; trimmed++) {
    const entries = envelope.index - firstIndex + 1
    if (entries <= 1 || (entries <= state.keeps.entries && changelogBytes <= state.keeps.bytes)) break
    const oldest = state.kv.get(key.changelog(firstIndex))
    changelogBytes -= oldest?.length ?? 0
    state.kv.delete(key.changelog(firstIndex))
    firstIndex += 1
  }
  state.setCounters({ index: envelope.index, firstIndex, changelogBytes, sec: envelope.sec, nsec: envelope.nsec })
}
