/*
 * The lines of the table. Each runs programs that a person would run (tar, git, find, SQLite) or the worker's system-call
 * loops, all of them processes of their own, and answers one number. Sizes come from a scale, so that a quick run is the
 * same work in small. What a line needs beforehand is made untimed by `prepare`; what a line leaves behind that a later
 * line can use (the big file, the untarred trees) stays in the peer's bench directory, so lines can also run alone.
 */

import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { run } from './machine.ts'
import { gitEnvironment, type Material } from './material.ts'

export interface Scale {
  readonly bigBytes: number
  readonly files: number
  readonly syncedFiles: number
  readonly treeFiles: number
  readonly randomSeconds: number
  readonly inserts: number
}

export const fullScale: Scale = {
  bigBytes: 1 << 30,
  files: 10_000,
  syncedFiles: 10_000,
  treeFiles: 10_000,
  randomSeconds: 10,
  inserts: 1000,
}

export const quickScale: Scale = {
  bigBytes: 256 << 20,
  files: 2000,
  syncedFiles: 500,
  treeFiles: 3000,
  randomSeconds: 4,
  inserts: 200,
}

/** Where a peer's lines work, and what earlier lines left there. */
export interface Bench {
  readonly path: string
  readonly scale: Scale
  readonly material: Material
  readonly tools: { readonly python: string; readonly fio: string | undefined }
  /** Names of trees that stand untarred below `path`. */
  readonly trees: string[]
  bigFile: string | undefined
  clone: string | undefined
  serial: number
}

export interface Workload {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** A small-file line: the goal is three times the peer, not once. */
  readonly small: boolean
  /** The client is mounted anew and caches are dropped before it. */
  readonly cold: boolean
  /** Over in under a second, so that one hiccup of the machine decides it: run three times as often. */
  readonly short?: boolean
  /** It calls fsync: compared with the peer whose fsync comes nearest to ours. */
  readonly fsync: boolean
  prepare?(bench: Bench): Promise<void>
  run(bench: Bench): Promise<number>
}

const worker = fileURLToPath(new URL('worker.py', import.meta.url))
const smallBytes = 4096
/** Directories of a mail store or a cache have about this many entries; ext4, MooseFS and we all take more. */
const perDirectory = 1000

async function work(bench: Bench, ...args: (string | number)[]): Promise<{ seconds: number; count: number }> {
  return JSON.parse(await run(bench.tools.python, [worker, ...args.map(String)])) as { seconds: number; count: number }
}

async function seconds(command: string, args: readonly string[], env?: Record<string, string>): Promise<number> {
  const start = performance.now()
  await run(command, args, env ? { env } : {})
  return (performance.now() - start) / 1000
}

function fresh(bench: Bench, kind: string): string {
  bench.serial++
  return `${bench.path}/${kind}-${bench.serial}`
}

/** By a program with a time limit: a mount that hangs must not take the benchmark's own threads with it. */
const remove = (path: string) => run('rm', ['-r', path])

async function writeBig(bench: Bench): Promise<number> {
  if (bench.bigFile !== undefined) await remove(bench.bigFile)
  const path = fresh(bench, 'big')
  const { seconds, count } = await work(bench, 'write', path, bench.scale.bigBytes)
  bench.bigFile = path
  return count / 1e6 / seconds
}

async function needBig(bench: Bench): Promise<void> {
  if (bench.bigFile === undefined) await writeBig(bench)
}

async function untar(bench: Bench): Promise<number> {
  const path = fresh(bench, 'tree')
  await mkdir(path)
  const took = await seconds('tar', ['-xf', bench.material.tar, '-C', path])
  bench.trees.push(path)
  return bench.material.files / took
}

async function needTree(bench: Bench): Promise<void> {
  if (bench.trees.length === 0) await untar(bench)
}

/** Dropping caches also drops the programs; a cold line is not about loading git from the system's disk. */
export async function wakeTools(bench: Bench): Promise<void> {
  const empty = bench.material.empty
  await run('find', [empty, '-ls'])
  await git('-C', empty, 'status', '--porcelain')
  await work(bench, 'readtree', empty)
  if (bench.tools.fio !== undefined) await run(bench.tools.fio, ['--version'])
}

function lastTree(bench: Bench): string {
  const path = bench.trees.at(-1)
  if (path === undefined) throw new Error('no tree stands: prepare did not run')
  return path
}

async function find(bench: Bench): Promise<number> {
  const start = performance.now()
  const out = await run('find', [lastTree(bench), '-ls'])
  return out.split('\n').length / ((performance.now() - start) / 1000)
}

async function create(bench: Bench, files: number, writers: number, sync: boolean): Promise<number> {
  const path = fresh(bench, 'create')
  const how = [sync ? 'fsync' : 'plain', smallBytes, perDirectory]
  const { seconds, count } = await work(bench, 'create', path, files, writers, ...how)
  await remove(path)
  return count / seconds
}

async function randomRead(bench: Bench, jobs: number): Promise<number> {
  if (bench.bigFile === undefined) throw new Error('no big file stands: prepare did not run')
  if (bench.tools.fio === undefined) {
    const { seconds, count } = await work(bench, 'randread', bench.bigFile, jobs, bench.scale.randomSeconds)
    return count / seconds
  }
  // Each job has a slice of its own and reads no block twice, so that no read is answered by another's page.
  const slice = Math.floor(bench.scale.bigBytes / jobs)
  const how = ['--rw=randread', '--bs=4k', '--ioengine=psync', '--direct=0', '--invalidate=0', '--readonly']
  const amount = [`--numjobs=${jobs}`, `--runtime=${bench.scale.randomSeconds}`, '--group_reporting']
  const file = [
    `--filename=${bench.bigFile}`,
    `--size=${slice}`,
    `--offset_increment=${slice}`,
    '--allow_file_create=0',
  ]
  const text = await run(bench.tools.fio, ['--name=random', ...how, ...amount, ...file, '--output-format=json'])
  const report = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: { read: { iops: number } }[] }
  return report.jobs[0]?.read.iops ?? 0
}

async function sqlite(bench: Bench, journal: string): Promise<number> {
  const path = fresh(bench, 'sqlite')
  await mkdir(path)
  const { seconds, count } = await work(bench, 'sqlite', `${path}/data.db`, bench.scale.inserts, journal)
  await remove(path)
  return count / seconds
}

const git = (...args: readonly string[]) => seconds('git', args, gitEnvironment)

async function clone(bench: Bench): Promise<number> {
  const path = fresh(bench, 'clone')
  const took = await git('clone', '--quiet', '--no-local', `file://${bench.material.repository}`, path)
  bench.clone = path
  return took
}

async function gitStatus(bench: Bench): Promise<number> {
  if (bench.clone === undefined) throw new Error('no clone stands: prepare did not run')
  const start = performance.now()
  const out = await run('git', ['-C', bench.clone, 'status', '--porcelain'], { env: gitEnvironment })
  if (out !== '') throw new Error(`git status is not clean after a clone: ${out.slice(0, 200)}`)
  return (performance.now() - start) / 1000
}

const warm = { cold: false, fsync: false, better: 'higher' } as const
const chilled = { ...warm, cold: true } as const
const synced = { ...warm, fsync: true } as const
const large = { small: false } as const
const small = { small: true } as const

export const workloads: readonly Workload[] = [
  { id: 'write', title: 'sequential write, fsync at the end', unit: 'MB/s', ...synced, ...large, run: writeBig },
  {
    id: 'read',
    title: 'sequential read, cold',
    unit: 'MB/s',
    ...chilled,
    ...large,
    prepare: needBig,
    run: async (bench) => {
      const { seconds, count } = await work(bench, 'read', bench.bigFile ?? '')
      return count / 1e6 / seconds
    },
  },
  {
    id: 'random-1',
    title: 'random 4 KiB reads, 1 job, cold',
    unit: 'reads/s',
    ...chilled,
    ...large,
    prepare: needBig,
    run: (bench) => randomRead(bench, 1),
  },
  {
    id: 'random-8',
    title: 'random 4 KiB reads, 8 jobs, cold',
    unit: 'reads/s',
    ...chilled,
    ...large,
    prepare: needBig,
    run: (bench) => randomRead(bench, 8),
  },
  {
    id: 'create-1',
    title: 'create 4 KiB files, 1 writer',
    unit: 'files/s',
    ...warm,
    ...small,
    run: (bench) => create(bench, bench.scale.files, 1, false),
  },
  {
    id: 'create-8',
    title: 'create 4 KiB files, 8 writers',
    unit: 'files/s',
    ...warm,
    ...small,
    run: (bench) => create(bench, bench.scale.files, 8, false),
  },
  {
    id: 'create-fsync-1',
    title: 'create + fsync 4 KiB files, 1 writer',
    unit: 'files/s',
    ...synced,
    ...small,
    run: (bench) => create(bench, bench.scale.syncedFiles, 1, true),
  },
  {
    id: 'create-fsync-8',
    title: 'create + fsync 4 KiB files, 8 writers',
    unit: 'files/s',
    ...synced,
    ...small,
    run: (bench) => create(bench, bench.scale.syncedFiles, 8, true),
  },
  { id: 'untar', title: 'untar', unit: 'files/s', ...warm, ...small, run: untar },
  {
    id: 'find-cold',
    title: 'find -ls, cold',
    unit: 'entries/s',
    ...chilled,
    ...small,
    short: true,
    prepare: needTree,
    run: find,
  },
  {
    id: 'find-warm',
    title: 'find -ls, warm',
    unit: 'entries/s',
    ...warm,
    ...small,
    short: true,
    prepare: async (bench) => {
      await needTree(bench)
      await find(bench)
    },
    run: find,
  },
  {
    id: 'read-small',
    title: 'read small files, cold',
    unit: 'files/s',
    ...chilled,
    ...small,
    prepare: needTree,
    run: async (bench) => {
      const { seconds, count } = await work(bench, 'readtree', lastTree(bench))
      return count / seconds
    },
  },
  {
    id: 'rm',
    title: 'rm -r',
    unit: 'files/s',
    ...warm,
    ...small,
    prepare: needTree,
    run: async (bench) => {
      const rate = bench.material.files / (await seconds('rm', ['-r', lastTree(bench)]))
      bench.trees.pop()
      return rate
    },
  },
  {
    id: 'git-clone',
    title: 'git clone, then git status',
    unit: 's',
    ...warm,
    ...small,
    better: 'lower',
    prepare: async (bench) => {
      if (bench.clone !== undefined) await remove(bench.clone)
    },
    run: async (bench) => (await clone(bench)) + (await gitStatus(bench)),
  },
  {
    id: 'git-status',
    title: 'git status, cold',
    unit: 's',
    ...chilled,
    ...small,
    short: true,
    better: 'lower',
    prepare: async (bench) => {
      if (bench.clone === undefined) await clone(bench)
    },
    run: gitStatus,
  },
  {
    id: 'sqlite-delete',
    title: 'SQLite inserts, rollback journal',
    unit: 'inserts/s',
    ...synced,
    ...large,
    run: (bench) => sqlite(bench, 'delete'),
  },
  {
    id: 'sqlite-wal',
    title: 'SQLite inserts, WAL',
    unit: 'inserts/s',
    ...synced,
    ...large,
    run: (bench) => sqlite(bench, 'wal'),
  },
]
