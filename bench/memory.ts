/*
 * What a cluster costs while nobody asks it anything, and what its master costs with many files: resident memory and
 * processor time of every role just after the start and again with the files, and how long a restarted master takes until
 * it answers. The files are made through the mount by eight writers, 1000 to a directory, each with a few bytes in it so
 * that it has an extent and not only a name. Prints JSON; every figure with a goal says whether it was reached.
 */

import { mkdir, mkdtemp, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { alive, removeTree, run, type Undo, until, usage, which, withUndo } from './e2e/machine.ts'
import { type PeerName, peers, type RunningPeer } from './e2e/peers.ts'

const goals = { masterRssMb: 400, restartMs: 2000, idleRssMb: 120, idleCpuPercent: 0.5 } as const
/** Long enough for start-up work to be over: connections, first reports, the collector's first rounds. */
const settleMs = 15_000
const idleMs = 30_000

interface Role {
  readonly rssMb: number
  readonly anonMb: number
  readonly cpuPercent: number
}

const { values: options } = parseArgs({
  options: {
    peer: { type: 'string', default: 'holdfast' },
    files: { type: 'string', default: '1000000' },
    bytes: { type: 'string', default: '64' },
    dir: { type: 'string', default: tmpdir() },
    help: { type: 'boolean', default: false },
  },
})
const project = resolve(fileURLToPath(import.meta.url), '../..')
const worker = `${project}/bench/e2e/worker.py`

if (options.help)
  console.log('usage: npm run bench -- memory [--peer holdfast|moosefs] [--files N] [--bytes N] [--dir DIR]')
else await withUndo(main)

async function main(undo: Undo): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('needs root: it mounts filesystems')
  const name = options.peer
  if (!Object.hasOwn(peers, name)) throw new Error(`no peer ${name}`)
  const peer = peers[name as PeerName]
  const missing = await peer.missing()
  if (missing !== undefined) throw new Error(`${name} cannot run here: ${missing}`)
  const python = await which('/usr/bin/python3', 'python3')
  if (!python) throw new Error('needs python3 (Debian: apt-get install python3)')
  const base = await mkdtemp(`${resolve(options.dir)}/holdfast-memory-`)
  undo.add(`remove ${base}`, () => removeTree(base))
  const running = await peer.start(base, undo)

  console.error('started; watching it idle')
  const idleEmpty = await idle(running)
  const files = Number(options.files)
  console.error(`making ${files} files of ${options.bytes} bytes`)
  const path = `${running.path}/many`
  await mkdir(path)
  const made = JSON.parse(
    await run(python, [worker, 'create', path, String(files), '8', 'plain', options.bytes, '1000'], {
      // Thirty creates a second would still end within this time; slower than that there is nothing to measure.
      timeoutMs: Math.max(600_000, files * 33),
    }),
  ) as { seconds: number }
  const loaded = await roles(running)
  console.error('made; watching it idle')
  const idleFull = await idle(running)
  console.error('restarting the master')
  const restart = await restartMaster(running, python)
  await sleep(settleMs)
  const restarted = await roles(running)

  const ours = Object.entries({ ...idleEmpty })
  const result = {
    date: new Date().toISOString(),
    peer: name,
    node: process.version,
    files,
    bytesPerFile: Number(options.bytes),
    createdPerSecond: Math.round(files / made.seconds),
    rolesIdleEmpty: idleEmpty,
    rolesAfterCreates: loaded,
    rolesIdleFull: idleFull,
    restart,
    masterAfterRestart: restarted.master,
    goals,
    reached: {
      masterRss: (loaded.master?.rssMb ?? Number.POSITIVE_INFINITY) < goals.masterRssMb,
      restart: restart.answersMs !== undefined && restart.answersMs < goals.restartMs,
      idleRss: ours.every(([, role]) => role.rssMb < goals.idleRssMb),
      idleCpu: ours.every(([, role]) => role.cpuPercent < goals.idleCpuPercent),
    },
  }
  await mkdir(`${project}/bench/results`, { recursive: true })
  const text = JSON.stringify(result, undefined, 2)
  await writeFile(`${project}/bench/results/memory-${name}-${result.date.replaceAll(':', '-')}.json`, `${text}\n`)
  console.log(text)
}

async function roles(running: RunningPeer): Promise<Record<string, { rssMb: number; anonMb: number }>> {
  const found: Record<string, { rssMb: number; anonMb: number }> = {}
  for (const [role, pid] of Object.entries(await running.pids())) {
    const { rssMb, anonMb } = await usage(pid)
    found[role] = { rssMb, anonMb }
  }
  return found
}

async function idle(running: RunningPeer): Promise<Record<string, Role>> {
  await sleep(settleMs)
  const pids = Object.entries(await running.pids())
  // The command that lists the pids has made the roles work; its echo is not idleness.
  await sleep(2000)
  const before = new Map<string, number>()
  for (const [role, pid] of pids) before.set(role, (await usage(pid)).cpuSeconds)
  const start = performance.now()
  await sleep(idleMs)
  const seconds = (performance.now() - start) / 1000
  const found: Record<string, Role> = {}
  for (const [role, pid] of pids) {
    const { rssMb, anonMb, cpuSeconds } = await usage(pid)
    const cpuPercent = Math.round(((cpuSeconds - (before.get(role) ?? 0)) / seconds) * 10_000) / 100
    found[role] = { rssMb, anonMb, cpuPercent }
  }
  return found
}

interface Restart {
  /** From TERM until the old process was gone. */
  readonly endedMs: number
  /** From then until there was a new one: the supervisor's pause. */
  readonly pauseMs: number
  /** From the new process's birth until it had a listening socket. */
  readonly listensMs: number
  /** From its birth until a mkdir through the mount succeeded: the client's reconnecting included. */
  readonly answersMs: number
}

async function restartMaster(running: RunningPeer, python: string): Promise<Restart> {
  if (!running.restartMaster) throw new Error('this peer has no master')
  const old = (await running.pids()).master
  if (old === undefined) throw new Error('no pid for the role "master"')
  const identity = await readFile(`/proc/${old}/cmdline`, 'latin1')
  const watch = async (): Promise<Restart> => {
    const start = performance.now()
    const endedAt = await until('the old master to end', 120_000, () => !alive(old) && performance.now(), 5)
    // A directory that never was: no cache of the mount can answer this, only the master.
    const script = 'import os, sys\nos.mkdir(sys.argv[1])\n'
    const asking = run(python, ['-c', script, `${running.path}/after-restart`]).then(() => performance.now())
    const birth = async () => {
      const ask = async () => {
        const pid = await sameCommand(identity, old)
        return pid !== undefined && { pid, bornAt: performance.now() }
      }
      const { pid, bornAt } = await until('a new master', 120_000, ask, 5)
      const ready = async () => (await listens(pid)) && performance.now()
      return { bornAt, listensAt: await until('the new master to listen', 120_000, ready, 5) }
    }
    const [answeredAt, { bornAt, listensAt }] = await Promise.all([asking, birth()])
    return {
      endedMs: Math.round(endedAt - start),
      pauseMs: Math.round(bornAt - endedAt),
      listensMs: Math.round(listensAt - bornAt),
      answersMs: Math.round(answeredAt - bornAt),
    }
  }
  const [, measured] = await Promise.all([running.restartMaster(), watch()])
  return measured
}

async function sameCommand(identity: string, old: number): Promise<number | undefined> {
  for (const name of await readdir('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === old) continue
    const command = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
    if (command === identity) return pid
  }
  return undefined
}

async function listens(pid: number): Promise<boolean> {
  const sockets = new Set<string>()
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    // A descriptor may close between listing and looking.
    const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
    if (inode !== undefined) sockets.add(inode)
  }
  const tables = (await readFile('/proc/net/tcp', 'utf8')) + (await readFile('/proc/net/tcp6', 'utf8'))
  // Columns: state is the fourth (0A = LISTEN), the socket's inode the tenth.
  return tables.split('\n').some((row) => {
    const columns = row.trim().split(/\s+/)
    return columns[3] === '0A' && sockets.has(columns[9] ?? '')
  })
}
