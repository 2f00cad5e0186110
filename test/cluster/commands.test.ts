/* The commands that a person gives a running cluster, each through the program itself. */

import { execFile, spawn } from 'node:child_process'
import { mkdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTicks } from '../../src/cli/local/state.ts'
import type { DiskReport, StatusReport, TrashEntry } from '../../src/wire/reports.ts'
import { HOLDFAST, holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'

const run = promisify(execFile)
const able = process.getuid?.() === 0 || Boolean(process.env.HOLDFAST_NO_SKIP)

describe.runIf(able)('on a running cluster', () => {
  let cluster: StartedCluster | undefined
  let base: string
  let dir: string
  let mnt: string
  beforeAll(async () => {
    cluster = await startLocal()
    ;({ base, dir, mnt } = cluster)
  })
  afterAll(() => cluster?.stop())

  it('a deleted file is listed in the trash, restored by path, by number under another name, and purged', async () => {
    await mkdir(join(mnt, 'docs'))
    await writeFile(join(mnt, 'docs', 'größe.txt'), 'one')
    const path = join(mnt, 'docs', 'größe.txt')
    await unlink(path)
    const [entry] = await json<TrashEntry[]>('trash', 'list', '--dir', dir, '--match', 'größe')
    expect(entry).toMatchObject({ size: 3, uid: 0 })
    expect((await holdfast('trash', 'list', '--dir', dir)).stdout).toContain('/docs/größe.txt')
    // Expiry is rounded up to a full second.
    expect([86_400, 86_401]).toContain(entry!.expiresAt - entry!.deletedAt)
    expect(Math.abs(entry!.deletedAt - Date.now() / 1000)).toBeLessThan(120)
    await json('trash', 'restore', path)
    expect(await readFile(path, 'utf8')).toBe('one')
    await unlink(path)
    const other = join(mnt, 'back.txt')
    await json('trash', 'restore', String(entry!.ino), '--to', other)
    expect(await readFile(other, 'utf8')).toBe('one')
    await unlink(other)
    expect(await json('trash', 'purge', '--all', '--dir', dir)).toEqual({ purged: 1 })
    expect((await holdfast('trash', 'restore', path)).code).toBe(66)
  })

  it('a directory with no retention keeps nothing of what is made in it from then on', async () => {
    await mkdir(join(mnt, 'scratch'))
    await json('trash', 'retention', join(mnt, 'scratch'), '0')
    await writeFile(join(mnt, 'scratch', 'x'), 'x')
    await unlink(join(mnt, 'scratch', 'x'))
    expect(await json('trash', 'list', '--dir', dir, '--match', 'scratch')).toEqual([])
  })

  it('settings are shown and changed, and wrong ones refused', async () => {
    const set = await json<StatusReport['settings']>('settings', 'set', '--dir', dir, '--grace', '5min')
    expect(set).toMatchObject({ copies: 2, graceMs: 300_000 })
    expect(await json('settings', 'show', '--dir', dir)).toEqual(set)
    const wrong = await holdfast('settings', 'set', '--dir', dir, '--grace', '5')
    expect([wrong.code, wrong.stderr]).toEqual([64, expect.stringContaining('10min')])
  })

  it('a disk is added, drained with a bar until it is empty, and removed', async () => {
    await writeFile(join(mnt, 'data'), Buffer.alloc(3_000_000, 7))
    const second = join(base, 'second-disk')
    await mkdir(second)
    const added = await json<{ disk: number }>('disk', 'add', 'chunkserver-1', `${second} -1%`, '--dir', dir)
    const disks = await json<DiskReport[]>('disk', 'list', '--dir', dir)
    expect(disks).toHaveLength(4)
    expect(disks.find((d) => d.disk === added.disk)).toMatchObject({
      nodeName: 'chunkserver-1',
      path: second,
      state: 'ok',
    })
    const drained = await holdfast('disk', 'drain', String(added.disk), '--dir', dir)
    expect([drained.code, drained.stderr]).toEqual([0, expect.stringMatching(/\[#{30}\] 100 %/)])
    expect(await json('disk', 'remove', `chunkserver-1:${second}`, '--dir', dir)).toMatchObject({ removed: true })
    expect(await json('disk', 'list', '--dir', dir)).toHaveLength(3)
    expect((await readFile(join(mnt, 'data'))).equals(Buffer.alloc(3_000_000, 7))).toBe(true)
  })

  it('the scrubber of every disk says where it is, in the list and among the work', async () => {
    let disks: DiskReport[] = []
    for (let i = 0; i < 300 && !(disks.length === 3 && disks.every((d) => d.scrub !== null)); i++) {
      disks = await json<DiskReport[]>('disk', 'list', '--dir', dir)
      await sleep(100)
    }
    for (const { scrub } of disks) {
      expect(scrub).toMatchObject({ damaged: 0 })
      expect(Math.abs(scrub!.startedMs - Date.now())).toBeLessThan(3_600_000)
    }
    const { stdout } = await holdfast('disk', 'list', '--dir', dir)
    expect(stdout).toMatch(/SCRUB .*\n.* (done|\d+ %) since \d{4}-\d\d-\d\d /)
    const { work } = await json<StatusReport>('status', '--dir', dir)
    expect(work.filter(({ name }) => name.startsWith('scrub chunkserver-'))).toHaveLength(3)
  })

  it('watching a drain can be interrupted: it says that the master goes on, and how to end it', async () => {
    // An open chunk keeps the disk from being empty at once.
    await writeFile(join(mnt, 'open'), 'x'.repeat(100_000))
    const disk = (await json<DiskReport[]>('disk', 'list', '--dir', dir)).find((d) => d.chunks > 0)
    const child = spawn(process.execPath, [HOLDFAST, 'disk', 'drain', String(disk!.disk), '--force', '--dir', dir])
    let said = ''
    child.stderr.on('data', (piece: Buffer) => (said += piece.toString()))
    const ended = new Promise<number | null>((done) => child.on('exit', done))
    while (!said.includes(' % ') && child.exitCode === null) await sleep(20)
    child.kill('SIGINT')
    const code = await ended
    // It may have become empty in the same moment.
    if (code !== 0) expect([code, said]).toEqual([130, expect.stringMatching(/still being drained.*--stop/)])
    await json('disk', 'drain', String(disk!.disk), '--cancel', '--dir', dir)
    const after = await json<DiskReport[]>('disk', 'list', '--dir', dir)
    expect(after.map((d) => d.draining)).toEqual([false, false, false])
  })

  it('a further mount sees the same files, and its removal leaves no process', async () => {
    const second = join(base, 'mnt2')
    const mounted = await json<{ pid: number }>('mount', second, '--dir', dir)
    await writeFile(join(mnt, 'shared'), 'seen')
    expect(await readFile(join(second, 'shared'), 'utf8')).toBe('seen')
    expect((await json<StatusReport>('status', '--dir', dir)).sessions).toHaveLength(2)
    await json('umount', second)
    expect(await startTicks(mounted.pid)).toBeUndefined()
    await expect(readFile(join(second, 'shared'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('the changelog can be followed', async () => {
    const child = spawn(process.execPath, [HOLDFAST, 'changelog', 'tail', '-f', '-n', '0', '--json', '--dir', dir])
    let said = ''
    child.stdout.on('data', (piece: Buffer) => (said += piece.toString()))
    const ended = new Promise<number | null>((done) => child.on('exit', done))
    const until = Date.now() + 30_000
    for (let i = 0; !said.includes('"mkdir-') && Date.now() < until; i++) {
      await mkdir(join(mnt, `mkdir-${i}`))
      await sleep(200)
    }
    child.kill('SIGINT')
    expect(await ended).toBe(0)
    const rows = said
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string })
    expect(rows.every((row) => row.kind !== '')).toBe(true)
    // What a mount made in a directory that it holds is told in one command for many names.
    expect(rows.some((row) => row.kind === 'make' || row.kind === 'names')).toBe(true)
  })

  it('the small benchmark runs and cleans up', async () => {
    const { lines } = await json<{ lines: { value: number }[] }>('bench', mnt, '--size', '4', '--files', '20')
    expect(lines).toHaveLength(7)
    for (const line of lines) expect(line.value).toBeGreaterThan(0)
    const { stdout } = await run('ls', [mnt])
    expect(stdout).not.toContain('holdfast-bench')
  })
})
