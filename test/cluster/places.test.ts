/* Labels, racks and sites of real chunkservers: declared in their files, by the master's topology file, and at run time. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DiskReport, NodeReport, StatusReport } from '../../src/wire/reports.ts'
import { Probe } from '../conformance/vfs-probe.ts'
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
    expect(after).toMatchObject({
      machine: before!.machine,
      rack: before!.rack,
      site: before!.site,
      labels: before!.labels,
    })
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

  it('takes labels to read from first, and labels that are read from last', async () => {
    const settings = await json<StatusReport['settings']>('settings', 'set', '--backup-labels', 'b,usb', ...at())
    expect(settings.backupLabels).toEqual(['B', 'usb'])
    expect((await holdfast('settings', 'show', ...at())).stdout).toMatch(/backup-labels +B \{usb\}/)
    const mnt = join(cluster.base, 'preferring')
    await writeFile(join(cluster.mnt, 'f'), 'content')
    await json('mount', mnt, '--prefer', 'ssd,h', '--site', 'site-1', ...at())
    try {
      expect(await readFile(join(mnt, 'f'), 'utf8')).toBe('content')
    } finally {
      await json('umount', mnt)
    }
    const { code, stderr } = await holdfast('mount', mnt, '--prefer', 'SSD', ...at())
    expect([code === 0, stderr]).toEqual([false, expect.stringContaining('lower-case')])
    expect(
      (await json<StatusReport['settings']>('settings', 'set', '--backup-labels', '', ...at())).backupLabels,
    ).toEqual([])
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

describe('chunkservers that are waited for, drained and forgotten', () => {
  let cluster: LocalCluster
  const at = (): string[] => ['--dir', cluster.dir]
  const node = (name: string): Promise<NodeReport> => json<NodeReport>('node', 'show', name, ...at())
  beforeAll(async () => {
    cluster = await LocalCluster.start({ chunkservers: 4, master: { copies: 3, settleMs: 2_000 } })
    const files = await cluster.client()
    const p = await Probe.fresh(files, 'nodes')
    for (let i = 0; i < 20; i++) await p.put(`f${i}`, Buffer.alloc(100_000, `file ${i} `))
    // Its chunks are sealed when it ends.
    await files.close()
    await cluster.until('all is sealed', (s) => s.chunks.open === 0 && s.chunks.under === 0 && s.chunks.safe > 0)
  })
  afterAll(() => cluster?.stop())

  it('have a grace of their own, and show how long that still is', async () => {
    expect(await json<NodeReport>('node', 'grace', 'chunkserver-1', '1d', ...at())).toMatchObject({
      graceSeconds: 86_400,
      graceSet: true,
    })
    expect((await holdfast('node', 'grace', 'chunkserver-1', 'soon', ...at())).code).not.toBe(0)
    await cluster.kill('chunkserver-1')
    await cluster.until('it is away', (s) => s.nodes.some((n) => !n.connected))
    const { stdout } = await holdfast('status', ...at())
    expect(stdout).toMatch(/away \S+ \S+, copied elsewhere in (1 d|24 h|23 h)/)
    await cluster.startChunkserver('chunkserver-1')
    const same = await json<NodeReport>('node', 'grace', 'chunkserver-1', 'default', ...at())
    expect(same).toMatchObject({ graceSeconds: 600, graceSet: false })
  })

  it('are not missed in maintenance, which ends by itself', async () => {
    await json('node', 'grace', 'chunkserver-2', '0', ...at())
    const on = await json<NodeReport>('node', 'maintenance', 'chunkserver-2', 'on', '--for', '6s', ...at())
    expect(on.maintenanceLeftSeconds).toBeGreaterThan(3)
    await cluster.kill('chunkserver-2')
    await cluster.until('it is away', (s) => s.nodes.some((n) => !n.connected))
    expect((await holdfast('node', 'list', ...at())).stdout).toContain('in maintenance for')
    const before = (await cluster.status()).disks.reduce((sum, d) => sum + d.chunks, 0)
    await cluster.until('the maintenance is over', (s) => s.nodes.every((n) => n.maintenanceLeftSeconds === 0))
    expect((await holdfast('node', 'list', ...at())).stdout).toContain('being copied elsewhere')
    await cluster.until('it was missed then', (s) => {
      const there = s.disks.filter((d) => d.nodeName !== 'chunkserver-2')
      return there.reduce((sum, d) => sum + d.chunks, 0) >= before
    })
    await cluster.startChunkserver('chunkserver-2')
    await json('node', 'grace', 'chunkserver-2', 'default', ...at())
    expect((await holdfast('node', 'maintenance', 'chunkserver-2', 'on', ...at())).stderr).toContain('--for')
    expect(await json<NodeReport>('node', 'maintenance', 'chunkserver-2', 'off', ...at())).toMatchObject({
      maintenanceLeftSeconds: 0,
    })
  })

  it('are drained until they are empty, and forgotten when they are away', async () => {
    await cluster.until('all is safe', (s) => s.chunks.under === 0 && s.chunks.over === 0)
    const drained = await json<{ draining: boolean; toMove: number }>('node', 'drain', 'chunkserver-3', ...at())
    expect(drained).toMatchObject({ draining: true, toMove: 0 })
    expect(await cluster.chunkFiles(2)).toEqual([])
    const remove = await holdfast('node', 'remove', 'chunkserver-3', ...at())
    expect([remove.code === 0, remove.stderr]).toEqual([false, expect.stringContaining('stop it first')])
    await cluster.end('chunkserver-3')
    await json('node', 'remove', 'chunkserver-3', ...at())
    expect((await json<NodeReport[]>('node', 'list', ...at())).map((n) => n.name).sort()).toEqual([
      'chunkserver-1',
      'chunkserver-2',
      'chunkserver-4',
    ])
    expect((await cluster.check(true)).findings).toEqual([])
  })

  it('are not drained when that leaves too few, unless forced; and no longer when they are told to stop', async () => {
    const { code, stderr } = await holdfast('node', 'drain', 'chunkserver-4', ...at())
    expect([code === 0, stderr]).toEqual([false, expect.stringContaining('find right places for only 2')])
    await json('node', 'drain', 'chunkserver-4', '--force', '--no-watch', ...at())
    expect((await holdfast('disk', 'list', ...at())).stdout).toContain('draining (')
    expect(await json('node', 'drain', 'chunkserver-4', '--stop', ...at())).toMatchObject({ draining: false })
    expect((await node('chunkserver-4')).connected).toBe(true)
  })
})
