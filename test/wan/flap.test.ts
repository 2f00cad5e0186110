/*
 * A link between two sites that comes and goes while both work: short cuts, which connections outlive, and one that is
 * longer than the silence after which they are given up. Nobody's program fails, a reader at the cut-off site reads on from
 * the chunkserver beside it, and afterwards nothing is copied that was there before.
 */

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FileReport, StatusReport } from '../../src/wire/reports.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { describeOnBed } from './with-bed.ts'

const MiB = 1024 * 1024
const BYTES = 24 * MiB
const SHORT_CUTS = 3
const SHORT_MS = 1_500
/** What a role may say of one link that is lost and found, a line for each thing that waited included. */
const LINES_MAX = 80

describeOnBed('a link that comes and goes', () => {
  let bed: Bed
  let machines: Machines
  const logs = new Map<string, string>()
  const mnt = (node: string): string => join(machines.dir(node), 'mnt')
  const status = (): Promise<StatusReport> => machines.json('home1', ['status'])
  const run = async (node: string, script: string): Promise<string> =>
    (await bed.run(node, 'sh', ['-ec', script], { timeoutMs: 120_000 })).stdout.trim()
  const mount = async (node: string): Promise<void> => {
    await mkdir(mnt(node), { recursive: true })
    const words = ['mount', mnt(node), '--on-disconnect', 'wait']
    logs.set(node, (await machines.json<{ log: string }>(node, words)).log)
  }
  const said = async (node: string): Promise<string[]> => (await readFile(logs.get(node)!, 'utf8')).split('\n')
  const there = (): Promise<StatusReport> =>
    eventually('both chunkservers are there', 60_000, async () => {
      const found = await status()
      return found.nodes.filter(({ connected }) => connected).length === 2 ? found : undefined
    })
  const copiesOf = async (file: string): Promise<string[]> => {
    const [report] = await machines.json<FileReport[]>('home1', ['file', 'info', file])
    return report!.chunks.flatMap(({ chunk, copies }) => copies.map(({ disk }) => `${chunk}@${disk}`)).sort()
  }
  const stored = async (node: string): Promise<number> =>
    Number((await run(node, `du -sb '${machines.dir(node)}/disk' | cut -f1`)).trim())

  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 21, wireguard: false, sites: { home: { nodes: 2 }, fra: { nodes: 1 } } },
      link: { delayMs: 5 },
    })
    machines = await Machines.on(bed)
    await machines.found('home1', '--site', 'home')
    for (const [node, site] of [
      ['home2', 'home'],
      ['fra1', 'fra'],
    ] as const) {
      const roles = ['--role', 'chunkserver', '--role', 'client', '--site', site]
      const { token } = await machines.token('home1', ...roles)
      await machines.joinWith(node, token, ['--disk', `${machines.dir(node)}/disk =-64MiB`])
      machines.start(node, 'mesh')
      machines.start(node, 'chunkserver')
    }
    await there()
  }, 240_000)
  afterAll(async () => {
    await bed?.heal('home', 'fra')
    for (const node of logs.keys()) await machines.holdfast(node, ['umount', mnt(node)])
    await machines?.close()
    await bed?.stop()
  }, 120_000)

  test('stops no program for good, and costs no copy of what was there', async () => {
    await machines.holdfast('home1', ['class', 'create', '-K', '2/[SITE]', 'both'])
    await machines.holdfast('home1', ['class', 'create', '-C', '1', '-K', '2/[SITE]', 'near'])
    await mount('home1')
    const [home, fra] = [mnt('home1'), mnt('fra1')]
    await run('home1', `mkdir '${home}/both' '${home}/home' '${home}/fra'`)
    await machines.holdfast('home1', ['class', 'set', 'both', `${home}/both`])
    await machines.holdfast('home1', ['class', 'set', 'near', `${home}/home`, `${home}/fra`])
    await run('home1', `head -c ${BYTES} /dev/urandom > '${home}/both/f'; sync '${home}/both/f'`)
    const rest = await run('home1', `tail -c +4097 '${home}/both/f' | sha256sum`)
    // Whoever ends seals what it has written.
    await machines.holdfast('home1', ['umount', home])
    await mount('home1')
    await mount('fra1')
    const before = await copiesOf(`${home}/both/f`)
    expect(before.length).toBeGreaterThan(1)
    const chunksBefore = new Map((await status()).disks.map(({ disk, chunks }) => [disk, chunks]))
    const storedBefore = await Promise.all(['home2', 'fra1'].map(stored))
    const [out, back] = await Promise.all([bed.count('home', 'fra'), bed.count('fra', 'home')])

    const [stop, go, ready] = ['stop', 'go', 'ready'].map((name) => join(machines.dir('home1'), name)) as [
      string,
      string,
      string,
    ]
    const busy = (node: string, dir: string): Promise<string> =>
      run(
        node,
        `i=0; while [ ! -e '${stop}' ]; do i=$((i+1)); printf '%04096d' $i > '${dir}/'$i; [ "$(wc -c < '${dir}/'$i)" = 4096 ]; sleep 0.02; done; echo $i`,
      )
    const working = [busy('home1', `${home}/home`), busy('fra1', `${fra}/fra`)]
    const reading = run(
      'fra1',
      `exec 3< '${fra}/both/f'; head -c 4096 <&3 > /dev/null; : > '${ready}'; while [ ! -e '${go}' ]; do sleep 0.1; done; cat <&3 | sha256sum`,
    )
    for (const work of [...working, reading]) work.catch(() => undefined)
    await eventually('the reader has its file open', 20_000, async () => {
      await readFile(ready)
      return true
    })

    for (let i = 0; i < SHORT_CUTS; i++) {
      await bed.cut('home', 'fra')
      await sleep(SHORT_MS)
      await bed.heal('home', 'fra')
      await sleep(SHORT_MS)
    }
    await bed.cut('home', 'fra')
    await eventually('the mount knows that it is cut off', 40_000, async () =>
      (await said('fra1')).some((line) => line.includes('lost the master')) ? true : undefined,
    )
    const made = async (): Promise<number> => Number(await run('home1', `ls '${home}/home' | wc -l`))
    const madeThen = await made()
    await writeFile(go, '')
    expect(await reading).toBe(rest)
    // Who does not want to wait for a name need not.
    expect(await run('fra1', `timeout -s KILL 1 stat '${fra}/fra/none' > /dev/null 2>&1 || echo $?`)).toBe('137')
    expect(await made()).toBeGreaterThan(madeThen)
    await bed.heal('home', 'fra')

    await eventually('the mount is back', 60_000, async () =>
      (await said('fra1')).some((line) => line.includes('the master is back')) ? true : undefined,
    )
    await writeFile(stop, '')
    const [athome, atFra] = (await Promise.all(working)).map(Number) as [number, number]
    await there()
    // Each sees all that the other has made.
    const seen = async (node: string, dir: string, wanted: number): Promise<void> =>
      void (await eventually(`${node} sees ${wanted} files`, 20_000, async () =>
        Number(await run(node, `cat '${dir}'/* | wc -c`)) === wanted * 4096 ? true : undefined,
      ))
    await seen('home1', `${home}/fra`, atFra)
    await seen('fra1', `${fra}/home`, athome)

    expect(await copiesOf(`${home}/both/f`)).toEqual(before)
    for (const { disk, chunks } of (await status()).disks)
      expect(chunks, `disk ${disk}`).toBeGreaterThanOrEqual(chunksBefore.get(disk)!)
    const grown = await Promise.all(['home2', 'fra1'].map(stored))
    const written = (athome + atFra) * 4096
    for (const [i, bytes] of grown.entries()) expect(bytes - storedBefore[i]!).toBeLessThan(written + BYTES / 4)
    const crossed =
      (await bed.count('home', 'fra')).bytes - out.bytes + (await bed.count('fra', 'home')).bytes - back.bytes
    expect(crossed).toBeLessThan(BYTES / 4 + 4 * written)
    for (const node of ['home1', 'fra1']) expect((await said(node)).length, `mount ${node}`).toBeLessThan(LINES_MAX)
    for (const [node, role] of [
      ['home1', 'master'],
      ['home1', 'mesh'],
      ['fra1', 'mesh'],
      ['fra1', 'chunkserver'],
    ] as const)
      expect(machines.lines(node, role), `${node} ${role}`).toBeLessThan(LINES_MAX)
  }, 400_000)
})
