/*
 * Three clients in three directories with six names, so that everybody is in everybody's way: directories are held,
 * called in and given away all the time, while connections break and hang and the master is started again. In the end all
 * of them and a fourth that has seen nothing see the same, no change that was answered has been refused afterwards, and
 * nothing is kept for nobody. By turns, what they see is what the model says; at once, nobody can say what it must be.
 */

import { isDeepStrictEqual } from 'node:util'
import { expect, test } from 'vitest'
import { errnoOf } from '../../src/base/fault.ts'
import { ROOT_INO } from '../../src/base/ids.ts'
import type { Log } from '../../src/base/world.ts'
import type { Filesystem } from '../../src/client/filesystem.ts'
import { callerOf } from '../conformance/vfs-probe.ts'
import { compareRunners } from '../model/compare.ts'
import { generate } from '../model/operations.ts'
import { VfsRunner } from '../model/vfs-runner.ts'
import { MemoryCluster, seededRandom } from '../support/memory-cluster.ts'
import { MemoryVfs } from '../support/memory-vfs.ts'
import { fastClock, realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'

/** Seconds of waiting for leases are tenths here. */
const TIMES = 8
const WAYS = 3
const OPERATIONS = 150
const LONG = 3_600_000
/** A connection that stands still for longer is given up, and what was changed behind it may be refused. */
const HUNG_MS = 2_500
/** Longer than a session lasts. */
const LOST_MS = 45_000
const lists = Number(process.env.HOLDFAST_LISTS ?? 12)
const seed = seedOf()
const caller = callerOf({ uid: 0, gid: 0 })
const profile = { ways: WAYS, slots: false, setId: false, crowded: true } as const

class Crowd {
  readonly cluster: MemoryCluster
  readonly clients: Filesystem[] = []
  /** Errors in the logs. */
  readonly said: string[]

  private constructor(cluster: MemoryCluster, said: string[]) {
    this.cluster = cluster
    this.said = said
  }

  static async gather(): Promise<Crowd> {
    const said: string[] = []
    const quiet = (): void => undefined
    const log: Log = {
      ...{ debug: quiet, info: quiet, warn: quiet, child: () => log },
      error: (fields, message) => said.push(`${message} ${JSON.stringify(fields)}`),
    }
    const crowd = new Crowd(await MemoryCluster.start({ clock: fastClock(TIMES), log }), said)
    for (let i = 0; i < WAYS; i++) crowd.clients.push(await crowd.cluster.client())
    return crowd
  }

  /** Now and then something goes wrong, or nothing happens for long enough that directories are forgotten. */
  accidents(number: number, oneOf: number, hungMs = HUNG_MS): () => Promise<void> {
    const dice = seededRandom(number)
    return async () => {
      if (oneOf === 0 || dice.below(oneOf) !== 0) return
      const which = dice.below(8)
      const branch = this.cluster.branch(dice.below(WAYS))
      if (which === 0) await this.cluster.restartMaster()
      else if (which < 3) branch.cut()
      else if (which < 5) await realClock.sleep(2_500 / TIMES)
      else {
        branch.hang({ there: which !== 5, back: which !== 6 })
        realClock.timer(dice.below(hungMs) / TIMES, () => branch.hang({ there: false, back: false }))
      }
    }
  }

  async afterwards(list: number): Promise<void> {
    const over = realClock.monotonicMs() + 5_000
    let kept = await this.cluster.kept()
    while ((kept.sustained > 0 || Object.keys(kept.opens).length > 0) && realClock.monotonicMs() < over) {
      await realClock.sleep(10)
      kept = await this.cluster.kept()
    }
    expect({ list, ...kept }).toEqual({ list, opens: {}, sustained: 0 })
    expect(await this.cluster.findings()).toEqual([])
    expect(this.said).toEqual([])
  }
}

test(`many hands by turns do as the model does (seed ${seed})`, { timeout: LONG }, async () => {
  const crowd = await Crowd.gather()
  const { cluster, clients } = crowd
  try {
    const vfs = new MemoryVfs(realClock)
    const model = new VfsRunner(Array.from({ length: WAYS }, () => vfs)).late()
    for (let list = 0; list < lists; list++) {
      const accident = crowd.accidents(seed + list, list % 3 === 0 ? 0 : 40)
      const subject = new VfsRunner(clients, accident).late(() => cluster.client())
      await compareRunners(model, subject, { seed: seed + list, operations: OPERATIONS, profile })
      await crowd.afterwards(list)
    }
  } finally {
    await cluster.stop()
  }
})

/** Everybody works in one new directory, and in the end they and one who comes last agree about it. */
async function jostle(crowd: Crowd, list: number, accident: () => Promise<void>): Promise<void> {
  const { cluster, clients } = crowd
  const { ino } = await clients[list % WAYS]!.make(ROOT_INO, `crowd-${list}`, { type: 'dir', mode: 0o755 }, caller)
  // Two workers on each client: nothing keeps them apart here, as the kernel would.
  const workers = [...clients, ...clients].map((client) => new VfsRunner([client], accident))
  await Promise.all(
    workers.map((worker, i) =>
      worker.jostle(ino, generate(seededRandom(seed + list * WAYS * 2 + i), OPERATIONS, profile)),
    ),
  )
  for (const i of clients.keys()) cluster.branch(i).hang({ there: false, back: false })
  for (const client of clients) await synced(client)
  const fresh = await cluster.client()
  const truth = await workers[0]!.seen(fresh)
  await fresh.close()
  for (const [i, client] of clients.entries()) {
    const seen = await workers[0]!.seen(client)
    for (const name of new Set([...Object.keys(truth), ...Object.keys(seen)]))
      if (!isDeepStrictEqual(seen[name], truth[name]))
        expect({ list, i, name, is: seen[name] }).toEqual({ list, i, name, is: truth[name] })
  }
}

/** Files that were lost with a session say so once. */
async function synced(client: Filesystem): Promise<void> {
  for (let tries = 0; ; tries++)
    try {
      return await client.syncfs(caller)
    } catch (error) {
      if (errnoOf(error) === undefined || tries === 20) throw error
    }
}

test(`many hands at once leave one truth (seed ${seed})`, { timeout: LONG }, async () => {
  const crowd = await Crowd.gather()
  try {
    for (let list = 0; list < lists; list++) {
      await jostle(crowd, list, crowd.accidents(seed + list, list % 3 === 0 ? 0 : 150))
      await crowd.afterwards(list)
    }
  } finally {
    await crowd.cluster.stop()
  }
})

test(`many hands that lose touch for long agree again (seed ${seed})`, { timeout: LONG }, async () => {
  const crowd = await Crowd.gather()
  try {
    for (let list = 0; list < lists / 3; list++) {
      await jostle(crowd, list, crowd.accidents(seed + list, 300, LOST_MS))
      // What was cut off for as long as this may have been refused, and the log says so.
      crowd.said.length = 0
      await crowd.afterwards(list)
    }
  } finally {
    await crowd.cluster.stop()
  }
})
