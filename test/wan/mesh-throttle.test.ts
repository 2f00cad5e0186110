/*
 * Copies between two sites over a narrow line that loses packets, steered by what the mesh measures of it: the master and a mount at
 * home, a chunkserver at each site. The file is written while nothing may go, so that the copy begins when the limit is taken away. How
 * well the line is used is for the model (test/topology/throttle.test.ts) and the bench: here it is shown that everybody does his part,
 * with bounds for a machine that has other things to do.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { StatusReport } from '../../src/wire/reports.ts'
import type { LinkReport, LinksReport } from '../../src/wire/reports-mesh.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { describeOnBed } from './with-bed.ts'

const MBIT = 40
/** A whole chunk: it is sealed, and copied, at once. */
const FILE_BYTES = 64 * 2 ** 20

describeOnBed(`a copy over a line of ${MBIT} Mbit/s between two sites of a mesh`, () => {
  let bed: Bed
  let machines: Machines
  let mounted: string | undefined
  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 12, wireguard: false, sites: { home: { nodes: 2 }, fra: { nodes: 1 } } },
      links: { 'home-fra': { delayMs: 20, lossRate: 0.001, mbit: MBIT, queueMs: 400 } },
    })
    machines = await Machines.on(bed)
    await machines.found('home1', '--site', 'home')
    for (const [node, site] of [
      ['home2', 'home'],
      ['fra1', 'fra'],
    ] as const) {
      const words = ['--site', site, '--disk', `${machines.dir(node)}/disk =-64MiB`]
      await machines.join('home1', node, { role: ['chunkserver', 'client'], words })
      machines.start(node, 'mesh')
      machines.start(node, 'chunkserver')
    }
    await eventually('the chunkservers are there', 60_000, async () => {
      const { nodes } = await machines.json<StatusReport>('home1', ['status'])
      return nodes.filter(({ connected }) => connected).length === 2 ? true : undefined
    })
  }, 240_000)
  afterAll(async () => {
    if (mounted !== undefined) await machines.holdfast('home1', ['umount', mounted]).catch(() => undefined)
    await machines?.close()
    await bed?.stop()
  }, 60_000)

  const link = async (): Promise<LinkReport> => (await machines.json<LinksReport>('home1', ['link', 'show'])).links[0]!

  test('has the pace that the line shows to carry, and fills no queue', async () => {
    const holdfast = (...words: string[]): Promise<string> => machines.holdfast('home1', words)
    const mnt = join(machines.dir('home1'), 'mnt')
    await mkdir(mnt)
    await holdfast('class', 'create', '-C', '1', '-K', '2/[SITE]', 'both')
    await holdfast('link', 'limit', 'home', 'fra', '0Mbit')
    await holdfast('mount', mnt)
    mounted = mnt
    await bed.run('home1', 'mkdir', [`${mnt}/both`])
    await holdfast('class', 'set', 'both', `${mnt}/both`)
    await bed.run('home1', 'sh', ['-ec', `head -c ${FILE_BYTES} /dev/zero > '${mnt}/both/file'`])
    await eventually('its chunk waits for the line', 60_000, async () =>
      (await link()).waiting > 0 ? true : undefined,
    )
    expect(await link()).toMatchObject({ limitBytesPerSecond: 0, limitedBy: 'limit', line: null })
    const before = await bed.count('home', 'fra')

    await holdfast('link', 'limit', 'home', 'fra', '--clear')
    const measured = await eventually('the line is measured', 60_000, async () => {
      const now = await link()
      return now.line !== null && now.line.backgroundBytesPerSecond > 0 ? now : undefined
    })
    expect(measured.limitedBy).toBe('line')
    expect(measured.line!.baseMs).toBeGreaterThan(39)
    expect(measured.line!.baseMs).toBeLessThan(100)
    // No way is known to be that wide: so much would be no measurement.
    expect(measured.limitBytesPerSecond!).toBeLessThan((4 * MBIT * 1e6) / 8)

    const carried = await eventually('much of it has come', 180_000, async () => {
      const now = await bed.count('home', 'fra')
      return now.bytes - before.bytes > FILE_BYTES / 4 ? now : undefined
    })
    const packets = carried.packets - before.packets
    expect(carried.queueDrops - before.queueDrops).toBeLessThan(packets / 50)

    await holdfast('link', 'limit', 'home', 'fra', '0Mbit')
    await eventually('nothing is copied and measured any more', 60_000, async () => {
      const { line, running } = await link()
      return line === null && running === 0 ? true : undefined
    })
  }, 300_000)
})
