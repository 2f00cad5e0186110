/*
 * Places measured between machines: two sites 20 ms apart with two machines each, real tunnels and probes, nothing said of where
 * anything stands. The master looks every two seconds here, so that five evaluations do not take five minutes.
 */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FileReport, StatusReport } from '../../src/wire/reports.ts'
import type { TopologyReport } from '../../src/wire/reports-mesh.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { describeOnBed } from './with-bed.ts'

const run = promisify(execFile)
/** Six rounds of probes are a minute; the rest is for a machine that has other things to do. */
const PLACED_WITHIN_MS = 150_000

describeOnBed('places in a mesh', () => {
  let bed: Bed
  let machines: Machines
  let mounted: string | undefined
  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 11, wireguard: false, sites: { fra: { nodes: 2 }, home: { nodes: 2 } } },
      links: { 'fra-home': { delayMs: 10 } },
    })
    machines = await Machines.on(bed)
    await machines.init('fra1')
    await machines.configure('fra1', 'master', ["topologyEveryMs = '2 s'", 'copies = 1'])
    machines.start('fra1', 'mesh')
    machines.start('fra1', 'master')
    await eventually('the mesh is founded', 60_000, async () => {
      const told = await machines.meshStatus('fra1')
      return told.mapVersion > 0 ? told : undefined
    })
    for (const node of ['fra2', 'home1', 'home2']) {
      const role = ['chunkserver', 'client']
      await machines.join('fra1', node, { role, words: ['--disk', `${machines.dir(node)}/disk =-64MiB`] })
      machines.start(node, 'mesh')
      machines.start(node, 'chunkserver')
    }
    await eventually('the chunkservers are there', 60_000, async () => {
      const { nodes } = await machines.json<StatusReport>('fra1', ['status'])
      return nodes.filter(({ connected }) => connected).length === 3 ? true : undefined
    })
  }, 240_000)
  afterAll(async () => {
    if (mounted !== undefined) await machines.stop('home1', 'mount')
    await machines?.close()
    await bed?.stop()
  }, 60_000)

  const show = (...words: string[]): Promise<TopologyReport> =>
    machines.json<TopologyReport>('fra1', ['topology', 'show', ...words])

  test(
    'are found: who is near to each other is of one site, and of one rack',
    async () => {
      const report = await eventually('all nodes are placed', PLACED_WITHIN_MS, async () => {
        const told = await show('--matrix')
        if (told.nodes.length === 4 && told.nodes.every(({ site }) => site !== '')) return told
        throw new Error(JSON.stringify(told, undefined, 1))
      })
      const siteOf = (name: string): string => report.nodes.find((node) => node.name === name)!.site
      expect(siteOf('fra1')).toBe(siteOf('fra2'))
      expect(siteOf('home1')).toBe(siteOf('home2'))
      expect(siteOf('home1')).not.toBe(siteOf('fra1'))
      for (const { siteBy, rackBy } of report.nodes) expect([siteBy, rackBy]).toEqual(['measured', 'measured'])
      for (const [row, a] of report.nodes.entries())
        for (const [column, b] of report.nodes.entries())
          if (a.site !== b.site) expect(report.matrix[row]![column]).toBeGreaterThanOrEqual(20)
    },
    PLACED_WITHIN_MS + 30_000,
  )

  test('get names that stay, and chunkservers stand there', async () => {
    const before = await show()
    const home = before.nodes.find(({ name }) => name === 'home1')!.site
    await machines.holdfast('fra1', ['topology', 'rename', home, 'home'])
    const { number } = await show()
    expect(number).toBeGreaterThan(before.number)
    // Three evaluations later.
    await sleep(7_000)
    const { nodes } = await show()
    expect(nodes.filter(({ site }) => site === 'home').map(({ name }) => name)).toEqual(
      nodes.filter(({ name }) => name.startsWith('home')).map(({ name }) => name),
    )
    const status = await machines.json<StatusReport>('fra1', ['status'])
    expect(
      status.nodes
        .filter(({ site }) => site === 'home')
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['home1', 'home2'])
  })

  test('decide where a file lies: one written at home lies at home', async () => {
    const { ip } = await machines.meshStatus('fra1')
    const mountpoint = join(machines.dir('home1'), 'mnt')
    await machines.configure('home1', 'mount', [`mountpoint = '${mountpoint}'`, `masterHost = '${ip}'`])
    machines.start('home1', 'mount')
    mounted = mountpoint
    await eventually('the mount is there', 30_000, async () => {
      const { stdout } = await run('stat', ['-f', '-c', '%T', mountpoint])
      if (stdout.trim() === 'fuseblk' || stdout.includes('fuse')) return true
      throw new Error(`${stdout}\n${machines.said('home1', 'mount')}`)
    })
    for (let i = 0; i < 6; i++)
      await run('dd', ['if=/dev/urandom', `of=${mountpoint}/file${i}`, 'bs=1M', 'count=1', 'conv=fsync', 'status=none'])
    const files = await machines.json<FileReport[]>('fra1', [
      ...['file', 'info'],
      ...Array.from({ length: 6 }, (_, i) => `/file${i}`),
    ])
    for (const { chunks } of files)
      for (const { copies } of chunks) expect(copies.map(({ site }) => site)).toEqual(['home'])
    const { mounts } = await show()
    expect(mounts).toMatchObject([{ site: 'home' }])
    const { stdout } = await run('md5sum', [`${mountpoint}/file0`])
    expect(stdout).toMatch(/^[0-9a-f]{32}/)
  })
})
