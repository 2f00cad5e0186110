/* Storage classes and patterns of a running cluster, each command through the program itself. */

import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { CopyReport, FileReport } from '../../src/wire/reports.ts'
import { holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'

const able = process.getuid?.() === 0 || Boolean(process.env.HOLDFAST_NO_SKIP)

/** What a new cluster begins with. */
const BEGUN = [
  '-K 2* default',
  '-K 2* 2CP',
  '-K 3* 3CP',
  '-K 2* -A @4+1,* -s 512KiB EC4+1',
  '-K 2* -A @8+1,* -s 512KiB EC8+1',
]
const PATIENCE = { timeout: 90_000, interval: 1_000 }

interface ShownClass {
  name: string
  line: string
  inodes: number | null
  changed?: boolean
  explained?: { placing: string; for: string[]; report: { possible: boolean; missing: string[] } }[]
}

describe.runIf(able)('storage classes on a running cluster', () => {
  let cluster: StartedCluster
  let mnt: string
  const at = (): string[] => ['--dir', cluster.dir]
  const listed = async (): Promise<string[]> =>
    (await json<ShownClass[]>('class', 'list', ...at())).map(({ line }) => line)
  beforeAll(async () => {
    cluster = await startLocal('--chunkservers', '3', '--racks', '3')
    mnt = cluster.mnt
    for (const n of [1, 2]) await json('node', 'label', `chunkserver-${n}`, 'H', ...at())
  })
  afterAll(() => cluster?.stop())

  it('those in use today are imported unchanged, all or none', async () => {
    const file = join(cluster.base, 'classes.txt')
    const lines = [
      '# four classes',
      'mfsscadmin create -C I -K S,S/[RACK] ssdonly',
      '-C I -K H,H/[RACK]:s hddonly',
      'mfsscadmin -M /mnt/mfs create -C I -K H,2H/[RACK]:s hdd3x',
      '-C 2I -K H,H/[RACK]:s -A @4+1,H/[IP]:s -d 1 hddec',
    ]
    await writeFile(file, [...lines, '-K 2:s broken'].join('\n'))
    const wrong = await holdfast('class', 'import', file, ...at())
    expect([wrong.code, wrong.stderr]).toEqual([
      64,
      expect.stringContaining("line 6: invalid argument: -K '2:s': column 2"),
    ])
    expect(await listed()).toEqual(BEGUN)
    await writeFile(file, lines.join('\n'))
    await json('class', 'import', file, ...at())
    const imported = [
      ...BEGUN,
      '-C I -K 2S/[RACK] ssdonly',
      '-C I -K 2H/[RACK]:STRICT hddonly',
      '-C I -K 3H/[RACK]:STRICT hdd3x',
      '-C 2I -K 2H/[RACK]:STRICT -A @4+1,H/[IP]:STRICT -d 1h hddec',
    ]
    expect(await listed()).toEqual(imported)
    expect((await holdfast('class', 'import', file, ...at())).code).toBe(73)
    await json('class', 'import', '-r', file, ...at())
    expect(await listed()).toEqual(imported)
    // What is listed as lines is what import reads.
    const { stdout } = await holdfast('class', 'list', '--lines', ...at())
    expect(stdout.trim().split('\n')).toEqual(imported)
  })

  it('are explained with the disks there are, and tried before they are made', async () => {
    const [pair] = await json<NonNullable<ShownClass['explained']>>('class', 'explain', '2H/[RACK]', ...at())
    expect(pair).toMatchObject({
      report: {
        possible: true,
        clauses: [{ labels: 'H', wanted: 2, disks: [expect.any(Number), expect.any(Number)] }],
      },
    })
    const text = (await holdfast('class', 'explain', 'hdd3x', ...at())).stdout
    expect(text).toContain('keep: 3H/[RACK]:STRICT (strict)')
    expect(text).toContain('\n  No place now for H.\n')
    const [tried] = await json<ShownClass[]>('class', 'create', '-K', '2H', '-A', '@2+1', 'tried', '--dry-run', ...at())
    expect(tried).toMatchObject({ changed: false, line: '-K 2H -A @2+1,* tried' })
    expect(await listed()).toHaveLength(BEGUN.length + 4)
    const wrong = await holdfast('class', 'create', '-K', 'H,', 'wrong', ...at())
    expect([wrong.code, wrong.stderr]).toEqual([64, expect.stringContaining("-K 'H,': column 3: expected a label")])
  })

  it('are made, cloned, changed, renamed and deleted', async () => {
    await json('class', 'create', '-K', '2H', '-c', 'for mail', 'mail', ...at())
    expect((await holdfast('class', 'create', '-K', '2H', 'mail', ...at())).code).toBe(73)
    await json('class', 'clone', 'mail', 'more-mail', ...at())
    const [changed] = await json<ShownClass[]>('class', 'modify', '-A', '@2+1', '-m', 's', 'more-mail', ...at())
    expect(changed!.line).toBe("-K 2H -A @2+1,* -m s -c 'for mail' more-mail")
    const [back] = await json<ShownClass[]>('class', 'modify', '-A', '-', 'more-mail', ...at())
    expect(back!.line).toBe("-K 2H -m s -c 'for mail' more-mail")
    await json('class', 'rename', 'more-mail', 'post', ...at())
    expect(await json<ShownClass>('class', 'show', 'post', ...at())).toMatchObject({
      inodes: 0,
      description: 'for mail',
    })
    await json('class', 'delete', 'mail', 'post', ...at())
    expect((await holdfast('class', 'show', 'post', ...at())).code).toBe(66)
    expect((await holdfast('class', 'modify', 'hddonly', ...at())).code).toBe(64)
    // Three chunkservers, two copies: with a third one everything is copied once more.
    await writeFile(join(mnt, 'data'), Buffer.alloc(3_000_000, 1))
    const tried = await holdfast('class', 'modify', '-K', '3', 'default', '--dry-run', ...at())
    expect([tried.code, tried.stdout]).toEqual([
      0,
      expect.stringMatching(/would copy something of \d+ of \d+ chunks?:\n {2}2\.8\d MiB within site-1\n/),
    ])
    expect((await holdfast('class', 'modify', '-K', '2', 'default', '--dry-run', ...at())).stdout).toContain(
      'copy nothing',
    )
    // The default class can be given labels, and the setting its say again.
    await json('class', 'modify', '-K', '2H', 'default', ...at())
    expect((await listed())[0]).toBe('-K 2H default')
    await json('class', 'modify', '-K', '-', 'default', ...at())
    await json('settings', 'set', '--copies', '1', ...at())
    expect((await listed())[0]).toBe('-K * default')
    await json('settings', 'set', '--copies', '2', ...at())
  })

  it('are given to a tree, inherited by what is made in it, and told', async () => {
    await json('class', 'create', '-K', '2', 'films', ...at())
    await mkdir(join(mnt, 'films', 'old'), { recursive: true })
    for (let i = 0; i < 1200; i++) await writeFile(join(mnt, 'films', 'old', `f${i}`), '')
    const given = await holdfast('class', 'set', 'films', join(mnt, 'films'), '-r')
    expect([given.code, given.stdout]).toEqual([0, '1202 changed, 0 left as they are\n'])
    expect(await json('class', 'set', 'films', join(mnt, 'films'), '-r')).toEqual({ changed: 0, left: 1202 })
    await mkdir(join(mnt, 'films', 'new'))
    await writeFile(join(mnt, 'films', 'new', 'x'), 'x')
    const paths = ['films/old/f7', 'films/new/x', 'films/new', '.'].map((path) => join(mnt, path))
    const found = await json<{ class: string }[]>('class', 'get', ...paths)
    expect(found.map((one) => one.class)).toEqual(['films', 'films', 'films', 'default'])
    const busy = await holdfast('class', 'delete', 'films', ...at())
    expect([busy.code, busy.stderr]).toEqual([75, expect.stringContaining('1204 files and directories have it')])
    const back = await json('class', 'set', 'default', join(mnt, 'films'), '-r', '--from', 'films')
    expect(back).toEqual({ changed: 1204, left: 0 })
    await json('class', 'delete', 'films', ...at())
  })

  it('are followed by what is stored: copies move to the labels, are cut into parts, and put together again', async () => {
    const names = [1, 2, 3].map((n) => `chunkserver-${n}`)
    await json('class', 'create', '-C', '1', '-K', '2H:s', 'moved', ...at())
    await mkdir(join(mnt, 'moved'))
    await json('class', 'set', 'moved', join(mnt, 'moved'))
    const bytes = Buffer.alloc(1_000_000, 'moved')
    const file = join(mnt, 'moved', 'x')
    await writeFile(file, bytes)
    const chunk = async () => (await json<FileReport[]>('file', 'info', file))[0]!.chunks[0]!
    const nodesOf = (copies: CopyReport[]): string[] => copies.map(({ nodeName }) => nodeName).sort()
    expect((await chunk()).copies).toHaveLength(1)
    // A chunk is sealed after half a minute without writes, and moved then.
    await vi.waitFor(async () => expect(nodesOf((await chunk()).copies)).toEqual(names.slice(0, 2)), PATIENCE)
    await json('class', 'modify', '-A', '@2+1', '-o', 'F', 'moved', ...at())
    await vi.waitFor(async () => {
      const { copies, parts } = await chunk()
      expect([copies, parts.flatMap((part) => nodesOf(part.copies)).sort()]).toEqual([[], names])
    }, PATIENCE)
    expect((await holdfast('file', 'info', file)).stdout).toMatch(/ 2\+1 +3 of 3/)
    await json('class', 'modify', '-A', '-', '-K', '2', 'moved', ...at())
    await vi.waitFor(async () => expect(await chunk()).toMatchObject({ ec: null, copies: [{}, {}] }), PATIENCE)
    expect(await readFile(file)).toEqual(bytes)
  })

  it('and labels are tried before they are changed, and what endangers data is refused unless it is forced', async () => {
    await json('class', 'create', '-K', '2H:s', 'care', ...at())
    await json('class', 'create', '-K', '1', 'once', ...at())
    await mkdir(join(mnt, 'care'))
    await json('class', 'set', 'care', join(mnt, 'care'))
    const file = join(mnt, 'care', 'x')
    await writeFile(file, Buffer.alloc(2_000_000, 'care'))
    // Files by a trial: nothing is changed by it.
    const tried = await holdfast('class', 'set', 'once', join(mnt, 'care'), '-r', '--dry-run')
    expect([tried.code, tried.stdout]).toEqual([
      0,
      expect.stringContaining('2 would change, 0 would be left as they are\n'),
    ])
    expect(tried.stdout).toContain('keep: * (std)')
    expect(tried.stdout).toContain('would copy nothing\nThis endangers data and needs --force: keep: one copy')
    const triple = ['class', 'set', 'default', file, '--dry-run']
    expect(await json(...triple)).toMatchObject({ changed: 1, left: 0, dry: true, dangers: [], moves: { chunks: 1 } })
    expect(await json('class', 'get', file)).toMatchObject([{ class: 'care' }])
    const refused = await holdfast('class', 'set', 'once', file)
    expect([refused.code, refused.stderr]).toEqual([77, expect.stringContaining('endangers data (keep: one copy')])
    // Of a class.
    const fewer = await holdfast('class', 'modify', '-K', '1H', 'care', ...at())
    expect([fewer.code, fewer.stderr]).toEqual([77, expect.stringContaining('--force does it all the same')])
    expect((await holdfast('class', 'modify', '-K', '2{none}:s', 'care', '--dry-run', ...at())).stdout).toContain(
      'This endangers data and needs --force: keep: no place for {none}',
    )
    // Of labels.
    const label = ['node', 'label', 'chunkserver-1', '--remove', 'H']
    const without = await holdfast(...label, '--dry-run', ...at())
    expect([without.code, without.stdout]).toEqual([0, expect.stringContaining('class care:\ncreate, keep: 2H:STRICT')])
    expect(without.stdout).toContain('chunkserver-1 would have: -\n')
    expect(without.stdout).toContain('needs --force: ')
    expect((await holdfast(...label, ...at())).code).toBe(77)
    const disks = await json<{ disk: number; nodeName: string }[]>('disk', 'list', ...at())
    const third = disks.find(({ nodeName }) => nodeName === 'chunkserver-3')!.disk
    const disk = await holdfast('disk', 'label', `${third}`, 'H', '--dry-run', ...at())
    expect([disk.code, disk.stdout]).toEqual([0, expect.stringContaining(`Disk ${third} would have: H, beside`)])
    // Forced, and back.
    await json('class', 'set', 'once', file, '--force')
    await json('class', 'set', 'care', file)
    await json(...label, '--force', ...at())
    await json('node', 'label', 'chunkserver-1', 'H', ...at())
    // Names.
    expect((await holdfast('class', 'delete', 'care', '--dry-run', ...at())).stdout).toContain(
      'could not be deleted: 2 ',
    )
    expect((await holdfast('class', 'delete', 'once', '--dry-run', ...at())).stdout).toContain('would be deleted')
    expect((await holdfast('class', 'rename', 'once', 'care', '--dry-run', ...at())).code).toBe(73)
    expect(await json('class', 'rename', 'once', 'single', '--dry-run', ...at())).toMatchObject({ changed: false })
    await json('class', 'delete', 'once', ...at())
    await json('class', 'set', 'default', join(mnt, 'care'), '-r')
    await json('class', 'delete', 'care', ...at())
  })

  it('are given by name to what is made from then on', async () => {
    await json('class', 'create', '-K', '2', 'clips', ...at())
    await mkdir(join(mnt, 'here'))
    await writeFile(join(mnt, 'here', 'before.mp4'), '')
    const { number } = await json<{ number: number }>('pattern', 'add', '*.mp4', 'clips', ...at())
    await writeFile(join(mnt, 'here', 'a.mp4'), 'film')
    await writeFile(join(mnt, 'here', 'a.txt'), 'text')
    const found = await json<{ class: string }[]>(
      'class',
      'get',
      ...['before.mp4', 'a.mp4', 'a.txt'].map((name) => join(mnt, 'here', name)),
    )
    expect(found.map((one) => one.class)).toEqual(['default', 'clips', 'default'])
    expect((await stat(join(mnt, 'here', 'a.mp4'))).size).toBe(4)
    expect(await json('pattern', 'list', ...at())).toMatchObject([{ number, glob: '*.mp4', uid: null, class: 'clips' }])
    expect((await holdfast('class', 'delete', 'clips', ...at())).code).toBe(75)
    await json('pattern', 'remove', String(number), ...at())
    expect((await holdfast('pattern', 'add', 'a[', 'clips', ...at())).code).toBe(64)
    expect((await holdfast('check', ...at())).code).toBe(0)
  })
})
