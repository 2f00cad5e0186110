/*
 * SIGKILL of real processes while chunks are cut into parts, cut otherwise, and put together again, at random moments and of
 * whoever it may be: the master, the chunkserver that cuts, one that is to hold a part. After every round each byte is there;
 * at the end so is the form that the class asks for last, and nothing of all that was begun.
 *
 * HOLDFAST_CRASH_ROUNDS sets the number of rounds, HOLDFAST_SEED repeats the dice.
 */

import { basename } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type ChunkId, chunkName, type Ino, ROOT_INO } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { ADMIN_STAMP } from '../../src/cli/admin.ts'
import { type ClassFlags, classWith, writeClass } from '../../src/topology/storage-class.ts'
import { same } from '../conformance/vfs-probe.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'
import { seedOf } from '../support/seed.ts'
import { bytesOf, read, root, write } from '../support/whole-files.ts'

const LONG = 600_000
const SERVERS = 7
const FILES = 6
const ROUNDS = Number(process.env.HOLDFAST_CRASH_ROUNDS ?? 6)
const FORMS: readonly ClassFlags[] = [
  { K: '2', A: '@4+2', o: 'F' },
  { K: '2' },
  { K: '2', A: '@2+1', o: 'F' },
  { K: '2', A: '@4+1', o: 'F' },
]
/** A restart takes about as long as cutting all files. */
const MOMENT_MS = 2_500

let cluster: LocalCluster | undefined
afterEach(async () => {
  await cluster?.stop()
  cluster = undefined
}, LONG)

const seed = seedOf()
test(`chunks that are converted while processes are killed lose no byte and leave nothing behind (seed ${seed})`, {
  timeout: LONG,
}, async () => {
  const dice = seededRandom(seed)
  const it = await LocalCluster.start({
    chunkservers: SERVERS,
    master: { graceMs: 60_000, settleMs: 30_000, trashRetentionMs: 0, deadGraceMs: 0 },
  })
  cluster = it
  const maker = await it.client()
  const dir: Ino = (await maker.make(ROOT_INO, 'd', { type: 'dir', mode: 0o755 }, root)).ino
  await maker.close()
  const tell = (classId: number, flags: ClassFlags): Promise<{ classId: number }> =>
    it.ask((admin) =>
      admin.call('classSet', { stamp: ADMIN_STAMP, classId, text: writeClass(classWith('turning', flags)) }),
    )
  const { classId } = await tell(0, { K: '2' })
  const of = { ino: undefined, classId, onlyFrom: undefined, page: undefined }
  await it.ask((admin) => admin.call('classOf', { stamp: ADMIN_STAMP, path: '/d', ...of }))
  const files = new Map<string, Buffer>()
  for (let i = 0; i < FILES; i++) {
    files.set(`f${i}`, bytesOf(1 + dice.below(1e9), 500_000 + dice.below(4_000_000)))
    await write(it, `f${i}`, files.get(`f${i}`)!, dir)
  }
  const readAll = async (): Promise<void> => {
    const client = await it.client()
    for (const [name, data] of files) same(await read(client, name, 0, undefined, dir), data)
    await client.close()
  }

  const everybody = ['master', ...it.chunkservers]
  let form: ClassFlags = FORMS[0]!
  for (let round = 0; round < ROUNDS; round++) {
    form = FORMS[(round + dice.below(2)) % FORMS.length]!
    await tell(classId, form)
    await realClock.sleep(dice.below(MOMENT_MS))
    const victim = dice.below(3) === 0 ? 'master' : everybody[dice.below(everybody.length)]!
    await it.kill(victim)
    await realClock.sleep(dice.below(500))
    await it.startRole(victim)
    await readAll()
  }

  // Every chunk in the form of the class, no part of anything else, no file that is not counted.
  form = FORMS[0]!
  await tell(classId, form)
  const wrong = async (): Promise<string[]> => {
    const { chunks } = await it.ask((admin) => admin.call('checkPage', { cursor: '', limit: 65_536 }))
    const { disks } = await it.status()
    const wholes = chunks.filter(({ ec }) => ec !== undefined)
    const parts = new Set(wholes.flatMap(({ ec }) => ec!.parts))
    const problems = chunks
      .filter(({ chunk, ec }) => ec === undefined && !parts.has(chunk))
      // What is too short to be cut stays as copies.
      .filter(({ length, state, disks }) => length > 3 * BLOCK_BYTES || state !== 'sealed' || disks.length !== 2)
      .map(
        ({ chunk, state, length, disks }) =>
          `chunk ${chunk} (${state}, ${length} bytes, ${disks.length} disks) is neither cut nor a part`,
      )
    for (const { chunk, ec, disks } of wholes)
      if (ec!.parts.length !== 6 || ec!.data !== 4 || disks.length > 0) problems.push(`chunk ${chunk} is cut otherwise`)
    for (const { chunk, state, disks } of chunks)
      if (parts.has(chunk) && (state !== 'sealed' || disks.length !== 1))
        problems.push(`part ${chunk} is ${state} on ${disks.length} disks`)
    for (const [i, nodeName] of it.chunkservers.entries()) {
      const { disk } = disks.find((one) => one.nodeName === nodeName)!
      const counted = chunks.filter((one) => one.disks.includes(disk)).map(({ chunk }) => chunkName(chunk as ChunkId))
      for (const file of await it.chunkFiles(i))
        if (file.endsWith('.chunk') && !counted.includes(basename(file, '.chunk')))
          problems.push(`${file} is left over`)
    }
    return problems
  }
  const deadline = realClock.monotonicMs() + 120_000
  let problems = await wrong()
  while (problems.length > 0 && realClock.monotonicMs() < deadline) {
    await realClock.sleep(500)
    problems = await wrong()
  }
  expect(problems).toEqual([])
  expect((await it.check(true)).findings).toEqual([])
  await readAll()
})
