/* Labels, racks and sites of real chunkservers: declared in their files, by the master's topology file, and at run time. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DiskReport, NodeReport } from '../../src/wire/reports.ts'
import { holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'
import { LocalCluster, spread } from '../support/local-cluster.ts'

const able = process.getuid?.() === 0 || Boolean(process.env.HOLDFAST_NO_SKIP)

describe('twelve chunkservers of one machine', () => {
  let cluster: LocalCluster
  beforeAll(async () => {
    const standing = spread(12, { racks: 4, sites: 2 })
    cluster = await LocalCluster.start({
      chunkservers: 12,
      chunkserverOf: (i) => ({ ...standing(i), labels: i < 6 ? ['h'] : ['usb-backup'] }),
    })
  })
  afterAll(() => cluster?.stop())

  it('stand in the racks and sites that their files declare, each on a machine of its own', async () => {
    const { nodes } = await cluster.status()
    expect(nodes).toHaveLength(12)
    expect(new Set(nodes.map((n) => n.machine)).size).toBe(12)
    const racks = new Map<string, number>()
    for (const { site, rack } of nodes) racks.set(`${site}|${rack}`, (racks.get(`${site}|${rack}`) ?? 0) + 1)
    expect(Object.fromEntries(racks)).toEqual({
      'site-1|rack-1': 3,
      'site-1|rack-2': 3,
      'site-2|rack-3': 3,
      'site-2|rack-4': 3,
    })
    expect(nodes.filter((n) => n.labels.join() === 'H')).toHaveLength(6)
    expect(nodes.filter((n) => n.labels.join() === 'usb-backup')).toHaveLength(6)
  })

  it('declare the same again when they and the master are started again', async () => {
    const [before] = (await cluster.status()).nodes
    await cluster.kill('master')
    await cluster.startMaster()
    await cluster.end(before!.name)
    await cluster.startChunkserver(before!.name)
    const after = (await cluster.status()).nodes.find((n) => n.node === before!.node)
    expect(after).toMatchObject({ machine: before!.machine, rack: before!.rack, site: before!.site, labels: ['H'] })
  })
})

describe.runIf(able)('the command line', () => {
  let cluster: StartedCluster
  const at = (): string[] => ['--dir', cluster.dir]
  beforeAll(async () => {
    cluster = await startLocal('--chunkservers', '2', '--racks', '2')
  })
  afterAll(() => cluster?.stop())

  it('lists chunkservers with where they stand', async () => {
    const nodes = await json<NodeReport[]>('node', 'list', ...at())
    expect(nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1))).toMatchObject([
      { name: 'chunkserver-1', machine: 'machine-1', rack: 'rack-1', site: 'site-1', labels: [], connected: true },
      { name: 'chunkserver-2', machine: 'machine-2', rack: 'rack-2', site: 'site-1', labels: [], connected: true },
    ])
    const { stdout } = await holdfast('node', 'list', ...at())
    expect(stdout).toMatch(/NAME +ADDRESS +SITE +RACK +LABELS/)
    const shown = await json<NodeReport & { disks: DiskReport[] }>('node', 'show', 'chunkserver-2', ...at())
    expect(shown).toMatchObject({ name: 'chunkserver-2', disks: [{ nodeName: 'chunkserver-2' }] })
    expect((await holdfast('node', 'show', 'nobody', ...at())).code).toBe(66)
  })

  it('labels chunkservers and disks, and gives them back to their configuration', async () => {
    const label = (...words: string[]) => json<NodeReport>('node', 'label', 'chunkserver-1', ...words, ...at())
    expect((await label('h', 'ssd')).labels).toEqual(['H', 'ssd'])
    expect((await label('--add', 'I', '--remove', 'ssd')).labels).toEqual(['H', 'I'])
    expect((await label('A,usb-backup')).labels).toEqual(['A', 'usb-backup'])
    expect(await json<NodeReport>('node', 'show', 'chunkserver-1', ...at())).toMatchObject({ labelsSet: true })
    expect(await label('--clear')).toMatchObject({ labels: [], labelsSet: false })
    const disk = await json<DiskReport>('disk', 'label', '1', 'B', ...at())
    expect(disk).toMatchObject({ disk: 1, labels: ['B'], labelsSet: true })
    expect((await holdfast('disk', 'list', ...at())).stdout).toMatch(/LABELS[\s\S]*\bB\b/)
    expect((await holdfast('disk', 'label', '1', '--clear', ...at())).stdout).toContain('from the configuration')
  })

  it('says what is wrong with a label', async () => {
    const refused = async (...words: string[]) => {
      const { code, stderr } = await holdfast('node', 'label', 'chunkserver-1', ...words, ...at())
      expect(code).not.toBe(0)
      return stderr
    }
    expect(await refused('USB')).toContain('lower-case')
    expect(await refused('A', '--clear')).toContain('either LABELS')
    expect(await refused('--remove', 'Z')).toContain('it has no label Z')
    expect(await refused()).toContain('no label given')
  })

  it('has the topology file read again, and says which line of it is wrong', async () => {
    const file = join(cluster.dir, 'master', 'topology')
    expect(await json('topology', 'reload', ...at())).toEqual({ rules: 0 })
    await writeFile(file, '# all\n127.0.0.0/8  elsewhere|shelf\n')
    expect(await json('topology', 'reload', ...at())).toEqual({ rules: 1 })
    await writeFile(file, '127.0.0.0/8  a|b\n127.0.0.0/40 c\n')
    const { code, stderr } = await holdfast('topology', 'reload', ...at())
    expect([code, stderr]).toEqual([expect.any(Number), expect.stringContaining('line 2')])
    expect(code).not.toBe(0)
    await writeFile(file, '')
    await json('topology', 'reload', ...at())
  })
})
