/*
 * Names that a mount changes first and tells of afterwards, with processes killed in between. What is there after a killed
 * mount is, in every directory, what was done up to some moment shortly before; after a killed master it is all of it.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { LocalCluster } from '../support/local-cluster.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { canMount } from '../support/mount-child.ts'
import { realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'

const SCRIPT = fileURLToPath(new URL('../support/crash-names.py', import.meta.url))
/** Told within 5 ms and a round trip; the rest is for a busy machine. */
const LAG_MS = 500
const ROUNDS = Number(process.env.HOLDFAST_CRASH_ROUNDS ?? 3)

interface Noted {
  readonly op?: 'create' | 'unlink' | 'mkdir' | 'rmdir'
  readonly name?: string
  readonly done?: number
  readonly begun?: number
  readonly error?: number
}

interface Step {
  readonly name: string
  readonly there: boolean
  /** When it was answered, in ms; undefined: it never was. */
  readonly atMs: number | undefined
}

async function stepsOf(log: string): Promise<Step[]> {
  const notes = (await readFile(log, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Noted)
  return notes.flatMap(({ op, name }, i) => {
    if (op === undefined || name === undefined) return []
    const done = notes[i + 1]?.done
    return [{ name, there: op === 'create' || op === 'mkdir', atMs: done === undefined ? undefined : done * 1000 }]
  })
}

/** How many of the steps, from the first on, lead to just these names; undefined: no number does. The most there are. */
function prefixOf(steps: readonly Step[], found: readonly string[]): number | undefined {
  const wanted = new Set(found)
  const now = new Set<string>()
  let wrong = wanted.size
  let fits = wrong === 0 ? 0 : undefined
  steps.forEach(({ name, there }, i) => {
    if (there) now.add(name)
    else now.delete(name)
    // Names that are in one set and not in the other: each step changes that of one name.
    wrong += there === wanted.has(name) ? -1 : 1
    if (wrong === 0) fits = i + 1
  })
  return fits
}

describe.skipIf(!canMount())('names changed first', () => {
  let cluster: LocalCluster | undefined
  const programs: ReturnType<typeof spawn>[] = []
  afterEach(async () => {
    for (const program of programs.splice(0)) program.kill('SIGKILL')
    await cluster?.stop()
    cluster = undefined
  })
  const seed = seedOf()

  const begin = (round: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const name = `r${round}-${i}`
      const log = join(cluster!.dir, `${name}.log`)
      const program = spawn('python3', [SCRIPT, join(cluster!.path(0), name), log, String(seed + round * 10 + i)])
      programs.push(program)
      return { name, log, ended: once(program, 'close'), program }
    })

  /** Every program is at work. */
  const underWay = async (begun: { log: string }[]): Promise<void> => {
    for (const { log } of begun)
      await vi.waitFor(async () => expect((await stepsOf(log)).length).toBeGreaterThan(20), { timeout: 30_000 })
  }

  test('are there up to a moment before the mount was killed, and no later ones without the earlier', {
    timeout: 300_000,
  }, async () => {
    const dice = seededRandom(seed)
    cluster = await LocalCluster.start({ mounts: 2, master: { sessionTimeoutMs: 3_000 } })
    let steps = 0
    for (let round = 0; round < ROUNDS; round++) {
      const begun = begin(round, 3)
      await underWay(begun)
      await realClock.sleep(dice.below(1_000))
      const killedMs = Date.now()
      await cluster.kill('mount-1')
      await Promise.all(begun.map(({ ended }) => ended))
      await cluster.startRole('mount-1')
      for (const { name, log } of begun) {
        const done = await stepsOf(log)
        const found = await readdir(join(cluster.path(1), name))
        const kept = prefixOf(done, found)
        expect(kept, `${name}: ${found.length} names after ${done.length} changes (seed ${seed})`).toBeDefined()
        const lost = done.slice(kept).flatMap(({ atMs }) => atMs ?? [])
        for (const atMs of lost) expect(atMs).toBeGreaterThan(killedMs - LAG_MS)
        expect((await readdir(join(cluster.path(0), name))).sort()).toEqual(found.sort())
        steps += done.length
      }
    }
    expect(steps).toBeGreaterThan(500)
    expect((await cluster.check()).findings.filter(({ severity }) => severity === 'error')).toEqual([])
  })

  test('are all there when the master was killed, also for another mount that looks at once', {
    timeout: 300_000,
  }, async () => {
    const dice = seededRandom(seed)
    cluster = await LocalCluster.start({ mounts: 2 })
    let steps = 0
    for (let round = 0; round < ROUNDS; round++) {
      const begun = begin(round, 3)
      await underWay(begun)
      for (let kill = 0; kill < 2; kill++) {
        await realClock.sleep(300 + dice.below(700))
        await cluster.kill('master')
        await cluster.startRole('master')
      }
      await realClock.sleep(200)
      for (const { program, ended } of begun) {
        program.kill('SIGKILL')
        await ended
      }
      for (const { name, log } of begun) {
        const done = await stepsOf(log)
        // The last may have been under way when its program was ended.
        const answered = done.filter(({ atMs }) => atMs !== undefined).length
        const found = await readdir(join(cluster.path(1), name))
        expect(prefixOf(done, found), `${name} (seed ${seed})`).toBeGreaterThanOrEqual(answered)
        expect(done.length - answered).toBeLessThanOrEqual(1)
        steps += done.length
      }
    }
    expect(steps).toBeGreaterThan(500)
    expect((await cluster.check()).findings.filter(({ severity }) => severity === 'error')).toEqual([])
  })
})
