/* `holdfast quota …` as a person types it, on a running cluster. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { QuotaReport, StatusReport } from '../../src/wire/reports.ts'
import { holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'

const able = process.getuid?.() === 0 || Boolean(process.env.HOLDFAST_NO_SKIP)
/** A count begins within two seconds. */
const COUNTED_MS = 20_000

describe.runIf(able)('quotas of a running cluster', () => {
  let cluster: StartedCluster | undefined
  let dir: string
  let mnt: string
  beforeAll(async () => {
    cluster = await startLocal()
    ;({ dir, mnt } = cluster)
  })
  afterAll(() => cluster?.stop())

  const counted = async (path: string): Promise<QuotaReport> => {
    for (const until = Date.now() + COUNTED_MS; ; await sleep(200)) {
      const [quota] = await json<QuotaReport[]>('quota', 'get', path)
      if (quota?.state === 'active') return quota
      if (Date.now() > until) throw new Error(`not counted in time: ${JSON.stringify(quota)}`)
    }
  }

  it('are set on a directory with something in it, counted, shown, exceeded and taken away', async () => {
    const home = join(mnt, 'größe')
    await mkdir(join(home, 'docs'), { recursive: true })
    for (let i = 0; i < 5; i++) await writeFile(join(home, 'docs', `f${i}`), Buffer.alloc(1_000, i))
    expect((await holdfast('quota', 'list', '--dir', dir)).stdout).toBe('There are no quotas.\n')
    const limits = ['--soft-length', '4k', '--length', '1MiB', '--inodes', '9', '--grace', '3d']
    const [set] = await json<QuotaReport[]>('quota', 'set', home, ...limits)
    expect(set).toMatchObject({ state: 'waiting', graceMs: 3 * 86_400_000, length: { soft: 4_000, hard: 1 << 20 } })
    expect(await counted(home)).toMatchObject({
      inodes: { used: 7, hard: 9, soft: 0 },
      length: { used: 5_000 },
      raw: { used: 10_000, hard: 0 },
      exceeded: true,
    })
    const shown = (await holdfast('quota', 'get', join(home, 'docs', 'f1'))).stdout.split('\n')
    expect(shown[1]).toMatch(/^\/größe +inodes +7 +- +9 +in force$/)
    expect(shown[2]).toMatch(/^\/größe +length +4.88 KiB +3.91 KiB +1.00 MiB +over the soft limit, 2 d 23 h left$/)
    expect((await json<StatusReport>('status', '--dir', dir)).quotas).toEqual({ set: 1, exceeded: 1, counting: 0 })
    expect((await holdfast('status', '--dir', dir)).stdout).toMatch(/^quotas {2}1 set, 1 EXCEEDED$/m)
    await json('quota', 'set', home, '--soft-length', 'none')
    expect(await json('quota', 'list', '--exceeded', '--dir', dir)).toEqual([])
    expect((await holdfast('check', '--dir', dir)).code).toBe(0)
    await json('quota', 'delete', home)
    for (let n = 0; (await json<QuotaReport[]>('quota', 'list', '--dir', dir)).length > 0; n++) {
      expect(n).toBeLessThan(100)
      await sleep(200)
    }
    expect((await holdfast('quota', 'get', home)).stdout).toContain('counts in no quota')
  })

  it('are refused with a sentence where they make no sense', async () => {
    await writeFile(join(mnt, 'file'), 'x')
    await mkdir(join(mnt, 'd'))
    const refused = async (...words: string[]): Promise<[number, string]> => {
      const { code, stderr } = await holdfast('quota', ...words)
      return [code, stderr]
    }
    expect(await refused('set', join(mnt, 'd'))).toEqual([64, expect.stringContaining('a quota limits something')])
    expect(await refused('set', join(mnt, 'd'), '--length', 'much')).toEqual([64, expect.stringContaining('10GiB')])
    expect(await refused('set', join(mnt, 'd'), '--inodes', '5', '--soft-inodes', '6')).toEqual([
      64,
      expect.stringContaining('soft limit of inodes is above the hard one'),
    ])
    expect((await refused('set', join(mnt, 'file'), '--inodes', '5'))[0]).toBe(66)
    expect(await refused('delete', join(mnt, 'd'))).toEqual([66, expect.stringContaining('no quota is set there')])
  })
})
