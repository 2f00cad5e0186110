/*
 * What a person is told of a cluster of real processes that lives through trouble: by the command line alone, with its exit
 * codes. Two classes, one of whole copies and one that is cut into parts at once.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT_INO } from '../../src/base/ids.ts'
import type { Health } from '../../src/cli/health.ts'
import type { FileReport, StatusReport } from '../../src/wire/reports.ts'
import { holdfast, json } from '../support/holdfast-program.ts'
import { LocalCluster, spread } from '../support/local-cluster.ts'
import { realClock } from '../support/real-clock.ts'
import { bytesOf, root } from '../support/whole-files.ts'

const LONG = 120_000

describe('a cluster of five chunkservers', () => {
  let cluster: LocalCluster
  const at = (): string[] => ['--dir', cluster.dir]
  const health = async (): Promise<{ health: Health; code: number; text: string }> => {
    const { code, stdout } = await holdfast('health', ...at(), '--json')
    const said = await holdfast('health', ...at())
    return { health: JSON.parse(stdout) as Health, code, text: said.stdout }
  }
  const info = async (path: string): Promise<FileReport> =>
    (await json<FileReport[]>('file', 'info', path, ...at()))[0]!

  beforeAll(async () => {
    const standing = spread(5, { racks: 5, sites: 2 })
    cluster = await LocalCluster.start({
      chunkservers: 5,
      chunkserverOf: (i) => ({ ...standing(i), labels: ['H'] }),
      master: { graceMs: 3_600_000, settleMs: 3_600_000 },
    })
    await json('class', 'create', '-K', '2H/[RACK]', 'twice', ...at())
    await json('class', 'create', '-K', '2H', '-A', '@3+1,H', '-o', 'F', 'parts', ...at())
    const client = await cluster.client()
    for (const name of ['twice', 'parts']) {
      const dir = await client.make(ROOT_INO, name, { type: 'dir', mode: 0o755 }, root)
      await client.syncfs(root)
      await json('class', 'set', name, `/${name}`, ...at())
      const { ino } = await client.create(dir.ino, 'f', 0o644, { exclusive: true, truncate: false }, root)
      await client.write(ino, 0, bytesOf(3, 900_000), { append: false, killSuidGid: false }, root)
      await client.fsync(ino, root)
      client.release(ino)
    }
    await client.close()
    await cluster.until(
      'both are as their class says',
      ({ usage, chunks }) => {
        const raw = usage.classes.map(({ name, rawBytes }) => [name, rawBytes] as const)
        const rawOf = new Map(raw)
        return chunks.safe === 2 && rawOf.get('twice') === 1_800_000 && (rawOf.get('parts') ?? 0) < 1_400_000
      },
      LONG,
    )
  }, LONG)
  afterAll(() => cluster?.stop())

  it('without trouble is healthy, and says what each class holds', { timeout: LONG }, async () => {
    const { health: found, code, text } = await health()
    expect({ code, verdict: found.verdict, text }).toMatchObject({ code: 0, verdict: 'healthy' })
    expect(text).toContain('All is well: 2 chunks are safe; 5 chunkservers and 5 disks are there.')
    const { usage } = await json<StatusReport>('status', ...at())
    expect(usage.counting).toBe(false)
    expect(usage.classes.filter(({ inodes }) => inodes !== 0)).toMatchObject([
      { name: 'default', logicalBytes: 0, rawBytes: 0 },
      { name: 'twice', logicalBytes: 900_000, rawBytes: 1_800_000 },
      { name: 'parts', logicalBytes: 900_000 },
    ])
    const { stdout } = await holdfast('class', 'list', ...at())
    expect(stdout).toMatch(/twice .* 2\.00$/m)
    expect(stdout).toMatch(/parts .* 1\.\d\d$/m)
  })

  it('tells of a file where each part is, and after a loss what is missing', { timeout: LONG }, async () => {
    const [chunk] = (await info('/parts/f')).chunks
    expect(chunk).toMatchObject({ phase: 'archive', ec: { data: 3, parity: 1 }, wanted: 4, there: 4, missing: [] })
    expect(chunk!.copies).toEqual([])
    expect(chunk!.parts.map(({ kind }) => kind)).toEqual(['data', 'data', 'data', 'parity'])
    expect(new Set(chunk!.parts.map(({ copies }) => copies[0]!.rack)).size).toBe(4)
    const [whole] = (await info('/twice/f')).chunks
    expect(whole).toMatchObject({ phase: 'keep', ec: null, wanted: 2, there: 2, missing: [] })

    // One with a part, and not the only one with a copy.
    const victim = chunk!.parts[1]!.copies[0]!.nodeName
    await cluster.kill(victim)
    await cluster.until('the loss shows', ({ chunks }) => chunks.endangered >= 1)
    const [after] = (await info('/parts/f')).chunks
    expect(after).toMatchObject({ there: 3, missing: ['part 2 is on no disk that can be read'] })
    expect(after!.parts[1]!.copies[0]).toMatchObject({ nodeName: victim, connected: false, readable: false })
    expect((await holdfast('file', 'info', '/parts/f', ...at())).stdout).toMatch(/data 2 of 4 .* no: away/)

    const { health: found, code, text } = await health()
    expect(code).toBe(2)
    expect(found.sentences[0]).toMatchObject({ level: 'endangered' })
    expect(found.sentences[0]!.what).toContain('1 erasure-coded chunk is down to as few parts as are enough')
    expect(text).toMatch(new RegExp(`DEGRADED: ${victim} has been away for \\d+ s`))
    expect(text).toContain(`holdfast node maintenance ${victim} on --for 2h`)

    await cluster.startChunkserver(victim)
    await cluster.until('all is well again', ({ chunks }) => chunks.safe === 2 && chunks.endangered === 0)
    expect((await health()).code).toBe(0)
  })

  it('says which class cannot be satisfied', { timeout: LONG }, async () => {
    await json('node', 'label', 'chunkserver-1', 'I', ...at())
    await json('class', 'modify', '-K', '2{usb-backup}', 'twice', ...at())
    await realClock.sleep(500)
    const { text, code } = await health()
    expect(code).toBe(1)
    expect(text).toContain('DEGRADED: Class twice cannot be satisfied now: create, keep 2{usb-backup}: ')
    expect(text).toContain('{usb-backup} wants 2 disks, and none can take data')
  })
})
