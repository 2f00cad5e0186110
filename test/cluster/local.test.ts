/*
 * `holdfast local …` with real processes from dist/ and a real mount. The mount is touched through child processes or
 * asynchronously only; it is served by another process than this one.
 */

import { execFile, spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTicks } from '../../src/cli/local/state.ts'
import type { LocalStatus } from '../../src/cli/local/status.ts'
import { HOLDFAST, holdfast, json } from '../support/holdfast-program.ts'

const run = promisify(execFile)

function canMount(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    return process.getuid?.() === 0
  } catch {
    return false
  }
}
const able = canMount() || Boolean(process.env.HOLDFAST_NO_SKIP)

/** A zombie whose new parent has not fetched it yet is gone as well. */
const alive = async (pid: number): Promise<boolean> => (await startTicks(pid)) !== undefined
async function living(pids: number[]): Promise<number[]> {
  const found = await Promise.all(pids.map(alive))
  return pids.filter((_, i) => found[i])
}

async function eventually<T>(what: string, ask: () => Promise<T | undefined | false>): Promise<T> {
  const until = Date.now() + 60_000
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (Date.now() > until) throw new Error(`did not happen: ${what}`)
    await sleep(100)
  }
}

const pidsOf = (s: LocalStatus): number[] =>
  [s.master.pid, s.mountRole.pid, s.supervisor.pid, ...s.chunkservers.map((c) => c.pid)].filter((pid) => pid !== null)

async function isMounted(path: string): Promise<boolean> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${path} `)
}

describe.runIf(able)('a local cluster', () => {
  let base: string
  let dir: string
  let mnt: string
  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'holdfast-local-'))
    dir = join(base, 'cluster')
    mnt = join(base, 'mnt')
  })
  afterAll(async () => {
    for (const name of ['cluster', 'second']) await holdfast('local', 'stop', '--dir', join(base, name))
    await rm(base, { recursive: true, force: true })
  })
  const status = (): Promise<LocalStatus> => json<LocalStatus>('local', 'status', '--dir', dir)

  it('starts in the background and returns when the mount answers', async () => {
    const s = await json<LocalStatus>('local', 'start', '--dir', dir, '--mount', mnt, '--detach')
    expect(s).toMatchObject({
      dir,
      mount: mnt,
      running: true,
      phase: 'running',
      mounted: true,
      copies: 2,
      door: 'fuse',
    })
    expect(s.chunkservers.map((c) => c.name)).toEqual(['chunkserver-1', 'chunkserver-2', 'chunkserver-3'])
    expect(new Set([s.master.port, ...s.chunkservers.map((c) => c.port)]).size).toBe(4)
    for (const pid of pidsOf(s)) expect(await alive(pid)).toBe(true)
    await writeFile(join(mnt, 'kept.txt'), 'kept')
    expect(await readFile(join(mnt, 'kept.txt'), 'utf8')).toBe('kept')
  })

  it('refuses a second supervisor for the same directory', async () => {
    const outcome = await holdfast('local', 'start', '--dir', dir, '--detach')
    expect(outcome.code).toBe(75)
    expect(outcome.stderr).toContain('already running')
  })

  it('is found by a path in its mount, and tells what it is', async () => {
    const files = await json<{ path: string; size: number }[]>('file', 'info', join(mnt, 'kept.txt'))
    expect(files).toEqual([expect.objectContaining({ path: '/kept.txt', size: 4 })])
    const cluster = await json<{ nodes: { connected: boolean }[] }>('status', '--dir', dir)
    expect(cluster.nodes.map((n) => n.connected)).toEqual([true, true, true])
  })

  it('starts a killed chunkserver, master and mount again, counts it, and keeps serving', async () => {
    const before = await status()
    for (const pid of [before.chunkservers[0]!.pid!, before.master.pid!, before.mountRole.pid!]) {
      process.kill(pid, 'SIGKILL')
      await sleep(300)
    }
    const after = await eventually('all roles are ready again', async () => {
      const s = await status()
      const roles = [s.master, s.chunkservers[0]!, s.mountRole]
      return roles.every((role) => role.state === 'ready' && role.restarts === 1) && s.mounted && s
    })
    expect(after.master.pid).not.toBe(before.master.pid)
    expect(after.mountRole.lastExit).toBe('SIGKILL')
    expect(await readFile(join(mnt, 'kept.txt'), 'utf8')).toBe('kept')
  })

  it('lives beside another one with its own ports', async () => {
    const second = join(base, 'second')
    const s = await json<LocalStatus>(
      ...[
        'local',
        'start',
        '--dir',
        second,
        '--mount',
        join(base, 'mnt2'),
        '--chunkservers',
        '1',
        '--copies',
        '1',
        '--detach',
      ],
    )
    expect(s.chunkservers).toHaveLength(1)
    await writeFile(join(base, 'mnt2', 'other.txt'), 'other')
    await expect(readFile(join(mnt, 'other.txt'))).rejects.toMatchObject({ code: 'ENOENT' })
    expect(await json('local', 'stop', '--dir', second)).toEqual({ dir: second, stopped: true })
    expect(await isMounted(join(base, 'mnt2'))).toBe(false)
  })

  it('stops in order and leaves no process, mount or state behind', async () => {
    const before = await status()
    const logs = (): Promise<Buffer[]> =>
      Promise.all(['mount', 'chunkserver-1'].map((name) => readFile(join(dir, 'log', `${name}.log`))))
    const logged = await logs()
    expect(await json('local', 'stop', '--dir', dir)).toEqual({ dir, stopped: true })
    // Who ends before those it needs misses nothing: 40 and above are warnings and errors.
    for (const [i, log] of (await logs()).entries()) {
      const lines = log.subarray(logged[i]!.length).toString().trim().split('\n')
      const severe = lines.filter((line) => line !== '' && (JSON.parse(line) as { level: number }).level >= 40)
      expect(severe).toEqual([])
    }
    expect(await living(pidsOf(before))).toEqual([])
    expect(await isMounted(mnt)).toBe(false)
    expect(await status()).toMatchObject({ running: false, phase: 'stopped', mounted: false })
    expect(await json('local', 'stop', '--dir', dir)).toEqual({ dir, stopped: false })
  })

  it('starts in the foreground with what it remembers, finds every file, and stops at Ctrl-C', async () => {
    const child = spawn(process.execPath, [HOLDFAST, 'local', 'start', '--dir', dir], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    child.stdout.on('data', (piece: Buffer) => (said += piece.toString()))
    const ended = new Promise<number | null>((done) => child.on('exit', done))
    await eventually('it says where the files are', async () => said.includes(mnt) && said.includes('stop'))
    expect(await readFile(join(mnt, 'kept.txt'), 'utf8')).toBe('kept')
    child.kill('SIGINT')
    expect(await ended).toBe(0)
    expect(await isMounted(mnt)).toBe(false)
  })

  it('cleans up after a supervisor that was killed together with its mount', async () => {
    const first = await json<LocalStatus>('local', 'start', '--dir', dir, '--detach')
    process.kill(first.supervisor.pid!, 'SIGKILL')
    process.kill(first.mountRole.pid!, 'SIGKILL')
    await eventually('the supervisor is gone', async () => !(await alive(first.supervisor.pid!)))
    expect((await status()).phase).toBe('orphaned')
    const second = await json<LocalStatus>('local', 'start', '--dir', dir, '--detach')
    expect(await living(pidsOf(first))).toEqual([])
    expect(second).toMatchObject({ phase: 'running', mounted: true })
    expect(await readFile(join(mnt, 'kept.txt'), 'utf8')).toBe('kept')
    await json('local', 'stop', '--dir', dir)
  })

  it('refuses a mount point that holds files, and one around its own directory', async () => {
    const full = join(base, 'full')
    await run('mkdir', [full])
    await writeFile(join(full, 'precious'), '')
    const hidden = await holdfast('local', 'start', '--dir', join(base, 'third'), '--mount', full, '--detach')
    expect(hidden.code).toBe(73)
    expect(hidden.stderr).toContain('would hide')
    const around = await holdfast('local', 'start', '--dir', join(base, 'third'), '--mount', base, '--detach')
    expect(around.code).toBe(64)
  })
})
