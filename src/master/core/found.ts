/*
 * A new filesystem: the root directory, the settings, the salt of name hashes, all counters at their beginning.
 */

import { freshAttr, type Time } from '../../base/attr.ts'
import { ROOT_INO } from '../../base/ids.ts'
import type { Settings } from '../../wire/shapes.ts'
import { pack } from './records.ts'
import type { State } from './state.ts'
import { key } from './tables.ts'
import { ALL_COUNTED } from './usage.ts'

export interface Founding {
  readonly now: Time
  /** Two random 32-bit words: nobody outside can choose names that fall into one bucket. */
  readonly salt: readonly [number, number]
  readonly settings: Settings
  /** Who owns the root directory. */
  readonly uid: number
  readonly gid: number
}

/** Inside a transaction of an empty store. */
export function found(state: State, { now, salt, settings, uid, gid }: Founding): void {
  state.begin({
    version: 1,
    index: 0,
    firstIndex: 1,
    changelogBytes: 0,
    nextIno: ROOT_INO + 1,
    nextChunk: 1,
    nextSession: 1,
    nextNode: 1,
    nextDisk: 1,
    directories: 1,
    files: 0,
    trashed: 0,
    sustained: 0,
    doomed: 0,
    logicalBytes: 0,
    sessions: 0,
    open: 0,
    safe: 0,
    under: 0,
    endangered: 0,
    lost: 0,
    over: 0,
    dead: 0,
    copiesToldTo: undefined,
    sec: now.sec,
    nsec: now.nsec,
    lostBytes: undefined,
    nextClass: undefined,
    reclassing: undefined,
    imaging: undefined,
    usageTo: ALL_COUNTED,
    meshVersion: undefined,
  })
  state.kv.put(key.meta('salt'), pack([salt[0] | 0, salt[1] | 0]))
  state.setSettings(settings)
  state.setInode(ROOT_INO, {
    attr: freshAttr(ROOT_INO, 'dir', 0o755, { uid, gid }, now),
    parent: ROOT_INO,
    name: '',
    entries: 0,
    xattrBytes: 0,
    copies: 0,
    retentionMs: undefined,
    target: '',
    trashedUntil: undefined,
    doomed: false,
    quota: 0,
  })
}
