/* `holdfast check` against real damage: what it finds, and that it changes nothing. */

import { createHash } from 'node:crypto'
import { open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CheckReport } from '../../src/cli/check/compare.ts'
import { holdfast, type StartedCluster, startLocal } from '../support/holdfast-program.ts'

const able = process.getuid?.() === 0 || Boolean(process.env.HOLDFAST_NO_SKIP)

describe.runIf(able)('the check of a cluster', () => {
  let cluster: StartedCluster | undefined
  let dir: string
  beforeAll(async () => {
    cluster = await startLocal()
    dir = cluster.dir
    const file = await open(join(cluster.mnt, 'file'), 'w')
    await file.write(Buffer.alloc(300_000, 'holdfast'))
    await file.sync()
    await file.close()
  })
  afterAll(() => cluster?.stop())

  const check = async (...flags: string[]): Promise<CheckReport & { code: number }> => {
    const { code, stdout, stderr } = await holdfast('check', '--dir', dir, '--json', ...flags)
    if (stdout === '' || 'error' in JSON.parse(stdout)) throw new Error(stderr)
    return { code, ...(JSON.parse(stdout) as CheckReport) }
  }
  const chunkFiles = async (): Promise<string[]> =>
    (await readdir(dir, { recursive: true })).filter((name) => name.endsWith('.chunk')).map((name) => join(dir, name))
  /** Names, sizes and bytes of everything that matters. */
  const fingerprint = async (): Promise<string> => {
    const hash = createHash('sha256')
    for (const name of (await readdir(dir, { recursive: true })).sort())
      if (/\.chunk$|data\.mdb$|\.json$|inventory\.log$/.test(name))
        hash.update(name).update(await readFile(join(dir, name)))
    return hash.digest('hex')
  }

  it('is clean while it runs, by length and by every block', async () => {
    for (const flags of [[], ['--deep']])
      expect(await check(...flags)).toMatchObject({
        code: 0,
        mode: 'online',
        chunks: 1,
        copies: 2,
        goodCopies: 2,
        findings: [],
      })
  })

  it('is clean when it is stopped, and refuses to be read offline before', async () => {
    const refused = await holdfast('check', '--offline', '--dir', dir)
    expect([refused.code, refused.stderr]).toEqual([75, expect.stringContaining('runs; stop it')])
    await holdfast('local', 'stop', '--dir', dir)
    const before = await fingerprint()
    expect(await check('--deep')).toMatchObject({ code: 0, mode: 'offline', goodCopies: 2, findings: [] })
    expect(await fingerprint()).toBe(before)
  })

  it('shows the changelog of a stopped cluster', async () => {
    const { stdout } = await holdfast('changelog', 'tail', '--offline', '--dir', dir, '--json')
    const rows = JSON.parse(stdout) as { kind: string; index: number }[]
    expect(rows.map((row) => row.kind)).toContain('commit')
    expect(rows.map((row) => row.index)).toEqual(rows.map((_, i) => rows[0]!.index + i))
  })

  it('finds one flipped byte of one copy as an error, and loses nothing by it', async () => {
    const [file] = await chunkFiles()
    const handle = await open(file!, 'r+')
    const at = 8192 + 100_000
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, at)
    await handle.write(Buffer.from([byte[0]! ^ 1]), 0, 1, at)
    await handle.close()
    const before = await fingerprint()
    const report = await check('--deep')
    expect(report).toMatchObject({ code: 74, goodCopies: 1, errors: 1, warnings: 1 })
    expect(report.findings[0]!.what).toMatch(/block 1 fails its checksum/)
    expect(await fingerprint()).toBe(before)
    const again = await open(file!, 'r+')
    await again.write(byte, 0, 1, at)
    await again.close()
  })

  it('warns of one missing copy, calls a chunk without any lost, and knows strangers', async () => {
    const files = await chunkFiles()
    expect(files).toHaveLength(2)
    await rename(files[0]!, `${files[0]}.away`)
    expect(await check()).toMatchObject({ code: 0, goodCopies: 1, errors: 0, warnings: 1 })
    await rename(files[1]!, `${files[1]}.away`)
    const lost = await check()
    expect(lost).toMatchObject({ code: 74, goodCopies: 0, errors: 1 })
    expect(lost.findings[0]!.what).toMatch(/is lost/)
    for (const file of files) await rename(`${file}.away`, file)
    const stranger = join(dirname(files[0]!), '00000000000fffff.chunk')
    await writeFile(stranger, Buffer.alloc(8192))
    expect((await check()).findings.map((finding) => finding.what)).toEqual([
      expect.stringMatching(/does not begin like a chunk/),
      expect.stringMatching(/holds 1 chunks that the metadata does not know/),
    ])
    await rm(stranger)
    expect(await check()).toMatchObject({ code: 0, findings: [] })
  })
})
