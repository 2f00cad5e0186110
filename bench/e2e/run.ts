/*
 * Runs every workload on every peer and prints the table. All peers are up together on one disk; within a workload the runs
 * alternate between them and each run starts with another peer, so that whatever else the machine does meets all alike.
 * Before each timed run everything dirty is written out. A line that fails on a peer is told and the rest goes on; then the
 * exit code is 1.
 */

import { mkdir, mkdtemp, statfs, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { removeTree, run, type Undo, which, withUndo } from './machine.ts'
import { makeMaterial } from './material.ts'
import { type PeerName, peers, type RunningPeer } from './peers.ts'
import { type Line, line, number, table, warnings } from './report.ts'
import { type Bench, fullScale, quickScale, type Workload, wakeTools, workloads } from './workloads.ts'

const help = `usage: npm run bench -- [options]
  --peers a,b      of ${Object.keys(peers).join(', ')} (default holdfast,moosefs,moosefs-sync; absent ones are left out)
  --only a,b       only these workloads: ${workloads.map((each) => each.id).join(', ')}
  --runs N         repeat each line N times and take the median (default 3; with --quick 1)
  --quick          the same work in small
  --dir DIR        work below DIR (default: the system's temporary directory); everything is removed afterwards
  --json           print JSON only`

interface Started {
  readonly name: PeerName
  readonly running: RunningPeer
  readonly bench: Bench
}

const { values: options } = parseArgs({
  options: {
    peers: { type: 'string', default: 'holdfast,moosefs,moosefs-sync' },
    only: { type: 'string' },
    runs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const project = resolve(fileURLToPath(import.meta.url), '../../..')
const say = (text: string) => (options.json ? process.stderr : process.stdout).write(`${text}\n`)

if (options.help) console.log(help)
else await withUndo(main)

async function main(undo: Undo, signal: AbortSignal): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('needs root: cold lines drop the kernel caches and mount filesystems')
  const chosen = choose(options.only)
  const runs = Number(options.runs ?? (options.quick ? 1 : 3))
  if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs ${options.runs} is not a positive number`)
  const scale = options.quick ? quickScale : fullScale
  const base = await mkdtemp(`${resolve(options.dir)}/holdfast-bench-`)
  undo.add(`remove ${base}`, () => removeTree(base))
  await spaceFor(base, scale.bigBytes * (runs + 1) * 2)

  say('making the tree and the repository')
  const material = await makeMaterial(`${project}/node_modules`, `${base}/material`, scale.treeFiles)
  const python = await which('/usr/bin/python3', 'python3')
  if (!python) throw new Error('needs python3 (Debian: apt-get install python3)')
  const fio = await which('fio')
  if (!fio) say('fio is not installed: random reads use the worker instead')
  const started: Started[] = []
  for (const name of wanted(options.peers)) {
    const missing = await peers[name].missing()
    if (missing !== undefined) {
      say(`leaving out ${name}: ${missing}`)
      continue
    }
    signal.throwIfAborted()
    say(`starting ${name}`)
    await mkdir(`${base}/${name}`)
    const running = await peers[name].start(`${base}/${name}`, undo)
    const path = `${running.path}/bench`
    await mkdir(path)
    const tools = { python, fio }
    const bench = { path, scale, material, tools, trees: [], bigFile: undefined, clone: undefined, serial: 0 }
    started.push({ name, running, bench })
  }
  if (started.length === 0) throw new Error('no peer can run here')

  const lines: Line[] = []
  const load: Record<string, number> = {}
  for (const workload of chosen) {
    load[workload.id] = loadavg()[0] ?? 0
    lines.push(await measure(workload, started, runs, signal))
  }
  const names = started.map((each) => each.name)
  const result = {
    date: new Date().toISOString(),
    quick: options.quick,
    runs,
    scale,
    machine: await machine(base, fio),
    loadAverageBefore: load,
    lines,
  }
  await mkdir(`${project}/bench/results`, { recursive: true })
  const file = `${project}/bench/results/e2e-${result.date.replaceAll(':', '-')}.json`
  await writeFile(file, `${JSON.stringify(result, undefined, 2)}\n`)
  if (options.json) console.log(JSON.stringify(result))
  else {
    say(`\n${table(lines, names)}`)
    for (const warning of warnings(lines)) say(warning)
    if ((Object.values(load).sort((a, b) => b - a)[0] ?? 0) > cpus().length)
      say(
        `the machine was busy (load up to ${number(Math.max(...Object.values(load)))}, ${cpus().length} cores): repeat when it is idle`,
      )
    say(`written to ${file}`)
  }
  if (lines.some((each) => Object.keys(each.errors).length > 0)) process.exitCode = 1
}

async function measure(
  workload: Workload,
  started: readonly Started[],
  runs: number,
  signal: AbortSignal,
): Promise<Line> {
  const values: Partial<Record<PeerName, number[]>> = {}
  const errors: Partial<Record<PeerName, string>> = {}
  // A profile that only changes what fsync means has nothing to say on the other lines.
  const taking = started.filter((each) => workload.fsync || each.name !== 'moosefs-sync')
  for (let number = 0; number < runs * (workload.short ? 3 : 1); number++) {
    for (let n = 0; n < taking.length; n++) {
      const { name, running, bench } = taking[(n + number) % taking.length]!
      if (errors[name] !== undefined) continue
      signal.throwIfAborted()
      try {
        await workload.prepare?.(bench)
        if (workload.cold) await running.cold()
        else await run('sync', [])
        await wakeTools(bench)
        ;(values[name] ??= []).push(await workload.run(bench))
      } catch (error) {
        signal.throwIfAborted()
        errors[name] = error instanceof Error ? error.message : String(error)
      }
    }
  }
  const result = line(workload, values, errors)
  const shown = taking.map(({ name }) => `${name} ${errors[name] ? 'failed' : number(result.median[name])}`)
  say(`${workload.title}: ${shown.join(', ')} ${workload.unit}`)
  return result
}

function choose(only: string | undefined): readonly Workload[] {
  if (only === undefined) return workloads
  return only.split(',').map((id) => {
    const found = workloads.find((each) => each.id === id)
    if (!found) throw new Error(`no workload ${id}; there are ${workloads.map((each) => each.id).join(', ')}`)
    return found
  })
}

function wanted(list: string): PeerName[] {
  return list.split(',').map((name) => {
    if (!Object.hasOwn(peers, name)) throw new Error(`no peer ${name}; there are ${Object.keys(peers).join(', ')}`)
    return name as PeerName
  })
}

/** Deleted files stay in both systems' trash for the whole run, so every run of the big file needs its own room. */
async function spaceFor(base: string, bytesPerPeer: number): Promise<void> {
  const { bavail, bsize } = await statfs(base)
  // Small files, clones and MooseFS's 8 KiB per chunk come to less than 6 GB per peer at three runs.
  const needed = (bytesPerPeer + 6e9) * wanted(options.peers).length
  if (bavail * bsize < needed) {
    throw new Error(
      `${base} has ${Math.round((bavail * bsize) / 1e9)} GB free, ${Math.round(needed / 1e9)} GB may be needed`,
    )
  }
}

async function machine(base: string, fio: string | undefined): Promise<Record<string, string | number>> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
    disk: (await run('df', ['--output=source,fstype', base])).trim().split('\n').at(-1) ?? 'unknown',
    moosefs: (await which('mfsmaster'))
      ? (await run('sh', ['-c', '/usr/sbin/mfsmaster -v 2>&1 || true'])).trim()
      : 'absent',
    randomReadsBy: fio ? 'fio' : 'worker.py',
  }
}
