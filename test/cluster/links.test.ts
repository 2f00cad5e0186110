/* Copies between two sites of a running cluster: limited, waited for, shown; each command through the program itself. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { BehindReport, FileReport, NodeReport } from '../../src/wire/reports.ts'
import type { LinkReport, LinksReport } from '../../src/wire/reports-mesh.ts'
import { holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'

const able = process.getuid?.() === 0 || Boolean(process.env.HOLDFAST_NO_SKIP)
const MiB = 2 ** 20
/** A chunk is sealed half a minute after its last byte. */
const PATIENCE = { timeout: 90_000, interval: 1_000 }

describe.runIf(able)('two sites of a running cluster', () => {
  let cluster: StartedCluster
  const at = (): string[] => ['--dir', cluster.dir]
  const link = async (): Promise<LinkReport> => (await json<LinksReport>('link', 'show', ...at())).links[0]!
  beforeAll(async () => {
    cluster = await startLocal('--chunkservers', '4', '--racks', '4', '--sites', '2')
    for (const { name, site } of await json<NodeReport[]>('node', 'list', ...at()))
      await json('node', 'label', name, site === 'site-1' ? 'H' : 'C', ...at())
    await json('class', 'create', '-C', '2H', '-K', 'H,C', 'both', ...at())
    await json('class', 'create', '-K', '2H', 'here', ...at())
    for (const name of ['both', 'here']) {
      await mkdir(join(cluster.mnt, name))
      await json('class', 'set', name, join(cluster.mnt, name), ...at())
    }
  })
  afterAll(() => cluster?.stop())

  it('refuse limits that make no sense, and say why', async () => {
    const wrong: [string[], string][] = [
      [['site-1', 'site-2'], 'either a rate like 40Mbit, or --clear'],
      [['site-1', 'site-2', '40'], '"40" is no rate'],
      [['site-1', 'site-2', '1Mbit', '--from', '25:00', '--to', '8:00'], '"25:00" is no time of day'],
      [['site-1', 'site-1', '1Mbit'], 'a limit is between two sites'],
    ]
    for (const [args, says] of wrong) {
      const { code, stderr } = await holdfast('link', 'limit', ...args, ...at())
      expect([code, stderr]).toEqual([64, expect.stringContaining(says)])
    }
    const { code, stderr } = await holdfast('link', 'limit', 'site-1', 'site-2', '--clear', ...at())
    expect([code, stderr]).toEqual([66, expect.stringContaining('no limit between them')])
  })

  it('are complete when what was written at one has come to the other, which a limit of nothing prevents', async () => {
    const dir = join(cluster.mnt, 'both')
    await json('link', 'limit', 'site-2', 'site-1', '0Mbit', ...at())
    await writeFile(join(dir, 'large'), Buffer.alloc(16 * MiB, 7))
    await mkdir(join(dir, 'below'))
    for (let i = 0; i < 20; i++) await writeFile(join(dir, 'below', `small-${i}`), `file ${i}`)
    const waits = (...more: string[]) => holdfast('wait', '--site', 'site-2', dir, ...more, ...at())
    expect((await holdfast('wait', '--site', 'site-1', dir, ...at())).stdout).toContain(
      'complete at site site-1: 21 files',
    )
    const early = await waits('--timeout', '3s')
    expect([early.code, early.stderr]).toEqual([75, expect.stringContaining('21 files, 16.0 MiB still to come')])

    await vi.waitFor(async () => {
      const { behind } = await json<{ behind: BehindReport }>('status', ...at())
      const bytes = behind.rows.filter((r) => r.class === 'both' && r.site === 'site-2').map((r) => r.bytes)
      expect(bytes[0]).toBeGreaterThanOrEqual(16 * MiB)
    }, PATIENCE)
    expect(await link()).toMatchObject({ limitBytesPerSecond: 0, limitedBy: 'limit', bytesPerSecond: 0, running: 0 })
    expect((await link()).waiting).toBeGreaterThan(0)
    const [before] = await json<FileReport[]>('file', 'info', join(dir, 'large'), ...at())
    expect(before!.sites).toEqual([
      { site: 'site-1', bytes: 16 * MiB, missingBytes: 0, wanted: true },
      { site: 'site-2', bytes: 0, missingBytes: 16 * MiB, wanted: true },
    ])

    // At this pace it would take more than a minute; it is told another one while it is under way.
    await json('link', 'limit', 'site-2', 'site-1', '2Mbit', ...at())
    await vi.waitFor(async () => expect((await link()).running).toBeGreaterThan(0), PATIENCE)
    await json('link', 'limit', 'site-2', 'site-1', '32Mbit', ...at())
    const begunMs = Date.now()
    const { code, stdout } = await waits('--timeout', '60s')
    expect([code, stdout]).toEqual([0, expect.stringContaining('is complete at site site-2: 21 files.')])
    // 16 MiB at 4 MB/s, less what had gone before.
    expect(Date.now() - begunMs).toBeGreaterThan(2_000)
    expect(Date.now() - begunMs).toBeLessThan(30_000)
    expect(await link()).toMatchObject({ limitBytesPerSecond: 4_000_000, waiting: 0, errors: [] })
    await vi.waitFor(async () => {
      const { behind } = await json<{ behind: BehindReport }>('status', ...at())
      expect(behind.rows).toEqual([])
    }, PATIENCE)
    await json('link', 'limit', 'site-1', 'site-2', '--clear', ...at())
    expect(await link()).toMatchObject({ limitBytesPerSecond: null, limitedBy: 'nothing' })
  }, 240_000)

  it('are not waited for when the class puts nothing there, or the site is not known', async () => {
    const file = join(cluster.mnt, 'here', 'f')
    await writeFile(file, 'x')
    const never = await holdfast('wait', '--site', 'site-2', file, ...at())
    expect([never.code, never.stderr]).toEqual([64, expect.stringContaining('class here keeps nothing at site site-2')])
    const unknown = await holdfast('wait', '--site', 'moon', file, ...at())
    expect([unknown.code, unknown.stderr]).toEqual([66, expect.stringContaining('there are site-1, site-2')])
  })
})
