/*
 * A state to try commands on, a seeded source of chance, and short ways to apply a command and look at what came of it.
 */

import { expect } from 'vitest'
import type { Ino, SessionId } from '../../../src/base/ids.ts'
import { apply } from '../../../src/master/core/apply.ts'
import { check } from '../../../src/master/core/check.ts'
import type { Command } from '../../../src/master/core/commands.ts'
import { found } from '../../../src/master/core/found.ts'
import type { StateStore } from '../../../src/master/core/kv.ts'
import type { Outcome } from '../../../src/master/core/outcome.ts'
import { State, transact } from '../../../src/master/core/state.ts'
import { MemoryStore } from '../../../src/master/memory-store.ts'

export const DAY_MS = 86_400_000
export const SETTINGS = { copies: 2, graceMs: 600_000, trashRetentionMs: DAY_MS, sessionTimeoutMs: 60_000 }

/** mulberry32 */
export function chance(seed: number): (n: number) => number {
  let a = seed >>> 0
  return (n) => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n)
  }
}

export class Bench {
  readonly store: StateStore
  state: State
  sec = 1_000
  #seq = 0
  constructor(store: StateStore = new MemoryStore(), settings = SETTINGS) {
    this.store = store
    this.state = new State(store)
    transact(store, this.state, () =>
      found(this.state, { now: { sec: this.sec, nsec: 0 }, salt: [1, 2], settings, uid: 0, gid: 0 }),
    )
  }
  /** Applies in a transaction of its own; `session` 0 is the master. */
  apply(command: Command, session = 0, seq = ++this.#seq, acked = 0): Outcome {
    this.sec += 1
    return transact(this.store, this.state, () =>
      apply(
        this.state,
        {
          index: this.state.counters().index + 1,
          sec: this.sec,
          nsec: 5,
          session: session as SessionId,
          seq,
          acked,
        },
        command,
      ),
    )
  }
  /** The reply, after the state has been checked. */
  // biome-ignore lint/suspicious/noExplicitAny: replies have the shape of their call
  ok(command: Command, session = 0): any {
    const { result } = this.apply(command, session)
    expect(check(this.state)).toEqual([])
    if ('errno' in result) expect.fail(`${command.kind}: ${result.errno} ${result.detail ?? ''}`)
    return result.ok
  }
  /** The refusal, after the state has been checked. */
  errno(command: Command, session = 0): string {
    const { result } = this.apply(command, session)
    expect(check(this.state)).toEqual([])
    return 'errno' in result ? result.errno : 'carried out'
  }

  // ---- short commands

  readonly root = 1 as Ino
  next(): Ino {
    return this.state.nextIds().ino
  }
  dir(name: string, parent: Ino = this.root, mode = 0o755): Ino {
    return this.ok(make(this.next(), parent, name, 'dir', mode)).attr.ino
  }
  file(name: string, parent: Ino = this.root): Ino {
    return this.ok(create(this.next(), parent, name), 0).attr.ino
  }
  session(client = 'c1'): number {
    const session = this.state.nextIds().session
    return this.ok({ kind: 'sessionOpen', session, client, host: 'h', mountpoint: '/m', version: '1' }).session
  }
  /** Two nodes with one disk each, and a chunk that the session writes. */
  disks(): void {
    for (const n of [1, 2, 3])
      this.ok({
        kind: 'nodeJoined',
        node: n,
        uuid: `n${n}`,
        name: `node${n}`,
        host: '127.0.0.1',
        port: 1000 + n,
        version: '1',
        disks: [{ disk: n, uuid: `d${n}`, path: `/d${n}` }],
      } as unknown as Command)
  }
  chunk(session: number, disks = [1, 2]): number {
    const { chunk } = this.state.nextIds()
    this.ok({ kind: 'chunkOpen', chunks: [{ chunk, disks }], copies: 2 } as unknown as Command, session)
    return chunk
  }
  write(session: number, ino: number, chunk: number, offset: number, length: number, chunkOffset: number): Outcome {
    return this.apply(
      { kind: 'commit', files: [{ ino, extents: [{ offset, length, chunk, chunkOffset }] }] } as unknown as Command,
      session,
    )
  }
}

export const make = (ino: Ino, parent: Ino, name: string, type: string, mode = 0o755, more: object = {}): Command =>
  ({ kind: 'make', ino, parent, name, type, mode, umask: 0, uid: 7, gid: 8, rdev: 0, target: '', ...more }) as Command

export const create = (ino: Ino, parent: Ino, name: string, more: object = {}): Command =>
  ({
    kind: 'create',
    ino,
    parent,
    name,
    mode: 0o644,
    umask: 0,
    uid: 7,
    gid: 8,
    exclusive: false,
    truncate: false,
    ...more,
  }) as Command

export const rename = (parent: Ino, name: string, newParent: Ino, newName: string, more: object = {}): Command =>
  ({
    kind: 'rename',
    parent,
    name,
    newParent,
    newName,
    noReplace: false,
    exchange: false,
    openIn: [],
    ...more,
  }) as Command

export const unlink = (parent: Ino, name: string, openIn: number[] = []): Command =>
  ({ kind: 'unlink', parent, name, openIn }) as unknown as Command
