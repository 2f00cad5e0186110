/* A quota on real mounts, as programs meet it that know nothing of Holdfast. */

import { execFile } from 'node:child_process'
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SessionId } from '../../src/base/ids.ts'
import type { QuotaReport } from '../../src/wire/reports.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'

const run = promisify(execFile)
const ADMIN = { session: 0 as SessionId, seq: 0, acked: 0 }
const NO = { soft: undefined, hard: undefined }
const MiB = 1 << 20

describe.skipIf(!canMount())('a quota on two mounts', () => {
  let cluster: LocalCluster
  beforeAll(async () => {
    cluster = await LocalCluster.start({ mounts: 2 })
  })
  afterAll(() => cluster?.stop())

  const quota = async (path: string): Promise<QuotaReport> =>
    (await cluster.ask((admin) => admin.call('quotaGet', { path })))[0]!
  const limit = async (name: string, limits: object): Promise<string> => {
    const path = `/${name}`
    await mkdir(join(cluster.path(), name))
    const request = { stamp: ADMIN, path, inodes: NO, length: NO, raw: NO, graceMs: undefined, ...limits }
    await cluster.ask((admin) => admin.call('quotaSet', request))
    while ((await quota(path)).state !== 'active') await sleep(100)
    return join(cluster.path(), name)
  }
  /** The exit code, and what was said in English. */
  const attempt = async (command: string, ...args: string[]): Promise<[number, string]> => {
    try {
      const { stderr } = await run(command, args, { env: { ...process.env, LC_ALL: 'C' } })
      return [0, stderr]
    } catch (error) {
      const failed = error as { code: number; stderr: string }
      return [failed.code, failed.stderr]
    }
  }
  const df = async (path: string, columns: string): Promise<number[]> => {
    const { stdout } = await run('df', ['-B1', `--output=${columns}`, path])
    return stdout.trim().split('\n')[1]!.trim().split(/\s+/).map(Number)
  }

  test('is heard of by dd and cp, filled to its end, and shown by df', async () => {
    const dir = await limit('small', { length: { soft: undefined, hard: 10 * MiB } })
    expect(await df(dir, 'size,used,avail')).toEqual([10 * MiB, 0, 10 * MiB])
    const [code, said] = await attempt('dd', 'if=/dev/zero', `of=${join(dir, 'big')}`, 'bs=1M', 'count=40')
    expect([code, said]).toEqual([1, expect.stringContaining('Disk quota exceeded')])
    expect((await stat(join(dir, 'big'))).size).toBe(10 * MiB)
    await sleep(1_100)
    expect(await df(dir, 'size,used,avail')).toEqual([10 * MiB, 10 * MiB, 0])
    expect(await attempt('cp', '/etc/passwd', dir)).toEqual([1, expect.stringContaining('Disk quota exceeded')])
    await attempt('truncate', '-s', '1M', join(dir, 'big'))
    expect(await attempt('cp', '/etc/passwd', dir)).toEqual([0, ''])
    const fsync = await attempt('dd', 'if=/dev/zero', `of=${join(dir, 'more')}`, 'bs=1M', 'count=20', 'conv=fsync')
    expect(fsync).toEqual([1, expect.stringContaining('Disk quota exceeded')])
  })

  test('of inodes refuses the same through both mounts, and loses no name', async () => {
    const dir = await limit('few', { inodes: { soft: undefined, hard: 101 } })
    const other = join(cluster.path(1), 'few')
    const fill = async (at: string, prefix: string): Promise<number> => {
      for (let n = 0; n < 100; n++) {
        try {
          await writeFile(join(at, `${prefix}${n}`), 'x')
        } catch (error) {
          // Node has no word for EDQUOT.
          expect((error as NodeJS.ErrnoException).errno).toBe(-122)
          return n
        }
      }
      return 100
    }
    const [a, b] = await Promise.all([fill(dir, 'a'), fill(other, 'b')])
    expect(a + b).toBe(100)
    expect((await readdir(other)).length).toBe(100)
    expect(await df(dir, 'itotal,iused,iavail')).toEqual([101, 101, 0])
    expect((await cluster.ask((admin) => admin.call('status', {}))).quotas.exceeded).toBeGreaterThan(0)
  })

  test('is crossed by mv, which copies what cannot be moved', async () => {
    const dir = await limit('room', { inodes: { soft: undefined, hard: 50 } })
    const tree = join(cluster.path(), 'tree')
    await mkdir(join(tree, 'sub'), { recursive: true })
    for (let i = 0; i < 10; i++) await writeFile(join(tree, 'sub', `f${i}`), `${i}`)
    expect(await attempt('mv', tree, dir)).toEqual([0, ''])
    expect((await readdir(join(dir, 'tree', 'sub'))).length).toBe(10)
    expect(await quota('/room')).toMatchObject({ inodes: { used: 13 } })
    expect(await attempt('ln', join(dir, 'tree', 'sub', 'f1'), join(cluster.path(), 'f1'))).toEqual([
      1,
      expect.stringContaining('Invalid cross-device link'),
    ])
    expect(await attempt('mv', join(dir, 'tree'), cluster.path())).toEqual([0, ''])
    expect(await quota('/room')).toMatchObject({ inodes: { used: 1 } })
  })
})
