/*
 * What it costs to tell many chunks what they are to be from now on: wishes that wait for their commit one by one, those of a
 * step handed to the loop at once, and those of a step in one command. Over LMDB, by turns on one store. One JSON line
 * per way.
 *
 *   npx tsx bench/micro/wishes.ts [chunks, default 8192]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ChunkId } from '../../src/base/ids.ts'
import { hostClock } from '../../src/host/clock.ts'
import { EmbeddedChangelog } from '../../src/master/changelog.ts'
import { apply } from '../../src/master/core/apply.ts'
import type { Command } from '../../src/master/core/commands.ts'
import { type ChunkWished, WISHES_MAX } from '../../src/master/core/commands-chunks.ts'
import { found } from '../../src/master/core/found.ts'
import { State, transact } from '../../src/master/core/state.ts'
import { LmdbStore } from '../../src/master/lmdb-store.ts'
import { Loop } from '../../src/master/loop.ts'
import { silentLog } from '../../test/support/manual-clock.ts'

const chunks = Number(process.argv[2] ?? 8_192)
const ROUNDS = 5
const SETTINGS = { copies: 2, graceMs: 600_000, trashRetentionMs: 86_400_000, sessionTimeoutMs: 60_000 }

/** Sealed chunks with a byte of a file each. */
function fill(store: LmdbStore, state: State): void {
  const run = (command: object, session = 0): void => {
    const around = {
      index: state.counters().index + 1,
      ...hostClock.now(),
      session: session as never,
      seq: 0,
      acked: 0,
    }
    const { result } = apply(state, around, command as Command)
    if ('errno' in result) throw new Error(`${(command as Command).kind}: ${result.errno} ${result.detail ?? ''}`)
  }
  transact(store, state, () => {
    found(state, { now: hostClock.now(), salt: [11, 22], settings: SETTINGS, uid: 0, gid: 0 })
    for (const n of [1, 2])
      run({
        ...{ kind: 'nodeJoined', node: n, uuid: `n${n}`, name: '', host: '127.0.0.1', port: n, version: '1' },
        disks: [{ disk: n, uuid: `d${n}`, path: '/d' }],
      })
    run({ kind: 'sessionOpen', session: 1, client: 'c', host: 'h', mountpoint: '/m', version: '1' })
  })
  const owner = { mode: 0o644, umask: 0, uid: 1000, gid: 1000, exclusive: false, truncate: false }
  for (let n = 1; n <= chunks; n++)
    transact(store, state, () => {
      const { ino } = state.nextIds()
      run({ kind: 'create', parent: 1, name: `file-${n}`, ino, ...owner }, 1)
      run({ kind: 'chunkOpen', chunks: [{ chunk: n, disks: [1, 2] }], copies: 2 }, 1)
      run({ kind: 'commit', files: [{ ino, extents: [{ offset: 0, length: 1000, chunk: n, chunkOffset: 0 }] }] }, 1)
      run({ kind: 'chunkSeal', chunk: n, length: 1000, failed: [] }, 1)
      run({ kind: 'chunkSealed', chunk: n, disks: [1, 2] })
    })
}

const path = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
const store = LmdbStore.open(path)
try {
  const state = new State(store)
  fill(store, state)
  const loop = new Loop(store, state, new EmbeddedChangelog(state), hostClock, silentLog, setImmediate, () => undefined)
  const wished = (chunk: ChunkId, copies: number): ChunkWished => ({
    ...{ chunk, classId: undefined, phase: undefined, copies, code: undefined },
  })
  const alone = (chunk: ChunkId, copies: number): Promise<unknown> =>
    loop.command(() => ({ ok: { kind: 'chunkWish', ...wished(chunk, copies) } }))
  const ways: Record<string, (some: readonly ChunkId[], copies: number) => Promise<unknown>> = {
    'one by one': async (some, copies) => {
      for (const chunk of some) await alone(chunk, copies)
    },
    'at once': (some, copies) => Promise.all(some.map((chunk) => alone(chunk, copies))),
    'in one command': (some, copies) =>
      loop.command(() => ({ ok: { kind: 'chunkWishes', wishes: some.map((chunk) => wished(chunk, copies)) } })),
  }
  const seconds = new Map(Object.keys(ways).map((name) => [name, [] as number[]]))
  let copies = 2
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, way] of Object.entries(ways)) {
      // From two to three and back: every wish changes something.
      copies = 5 - copies
      const began = performance.now()
      for (let from = 1; from <= chunks; from += WISHES_MAX) {
        const some = Array.from({ length: Math.min(WISHES_MAX, chunks + 1 - from) }, (_, i) => (from + i) as ChunkId)
        await way(some, copies)
      }
      seconds.get(name)!.push((performance.now() - began) / 1000)
    }
  const median = (name: string): number => seconds.get(name)!.sort((a, b) => a - b)[ROUNDS >> 1]!
  for (const name of Object.keys(ways)) {
    const ratio = Number((median('one by one') / median(name)).toFixed(1))
    console.log(JSON.stringify({ bench: 'wishes', name, chunks, perSecond: Math.round(chunks / median(name)), ratio }))
  }
  await loop.stop()
} finally {
  await store.close()
  rmSync(path, { recursive: true, force: true })
}
