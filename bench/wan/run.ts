/*
 * `npm run bench -- wan`: both systems on the same lines between two sites, one after the other, each on a bed of its own that
 * is gone before the next begins. Prints JSON; the table and what was missed go to standard error and, with everything,
 * to bench/results/. Whatever ends it, nothing stays: no namespace, mount, process or directory.
 */

import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release, setPriority, tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { whyNoBed } from '../../test/wan/bed.ts'
import { removeTree, type Undo, withUndo } from '../e2e/machine.ts'
import { makeTar } from '../e2e/material.ts'
import { type Congestion, cases, fullScale, quickScale, type WanCase } from './cases.ts'
import { HoldfastOnBed } from './holdfast.ts'
import { LINES, type LineName, type Measured, measure } from './lines.ts'
import { MoosefsOnBed, whyNoMoosefs } from './moosefs.ts'
import { type Cell, misses, table } from './report.ts'
import type { SystemName, WanSystem } from './system.ts'

const SYSTEMS: readonly SystemName[] = ['holdfast', 'moosefs']
const SEED = 2026
/**
 * What MooseFS gives itself; on few cores it would decide lines. Everything of the bed inherits it. Where the kernel shares the
 * processors by session (sched_autogroup) it counts among these processes only, so a busy machine shows in every line.
 */
const NICE = -19

const help = `usage: npm run bench -- wan [options]
  --case A,B       of ${cases.map(({ id }) => id).join(', ')} (default: all)
  --system A,B     of ${SYSTEMS.join(', ')} (default: both)
  --line A,B       of ${LINES.join(', ')} (default: all)
  --bbr            BBR as congestion control of TCP in the tunnels, for both (default: cubic, for both)
  --quick          the same in small: does it work, roughly how fast`

const { values: options } = parseArgs({
  options: {
    case: { type: 'string', default: cases.map(({ id }) => id).join(',') },
    system: { type: 'string', default: SYSTEMS.join(',') },
    line: { type: 'string', default: LINES.join(',') },
    bbr: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const project = resolve(fileURLToPath(import.meta.url), '../../..')
const scale = options.quick ? quickScale : fullScale
const congestion: Congestion = options.bbr ? 'bbr' : 'cubic'
const say = (text: string): void => void process.stderr.write(`${text}\n`)

if (options.help) console.log(help)
else await withUndo(main)

async function main(undo: Undo, signal: AbortSignal): Promise<void> {
  const why = whyNoBed()
  if (why !== undefined) throw new Error(`there can be no test bed on this machine: ${why}`)
  const wanted = chosen('case', cases)
  const systems = chosen('system', SYSTEMS.map(named))
  const lines = chosen('line', LINES.map(named)).map(({ id }) => id)
  setPriority(NICE)
  const base = await mkdtemp(`${tmpdir()}/holdfast-wan-`)
  undo.add(`remove ${base}`, () => removeTree(base))
  const tar = await makeTar(`${project}/node_modules`, base, scale.files)
  const cells: Cell[] = []
  for (const wan of wanted)
    for (const { id: system } of systems) {
      signal.throwIfAborted()
      const loadBefore = loadavg()[0] ?? 0
      const where = { system, case: wan.id, congestion, loadBefore }
      say(`${system}, ${wan.title}, ${congestion} (load ${loadBefore.toFixed(1)})`)
      const missing = system === 'moosefs' ? await whyNoMoosefs() : undefined
      if (missing !== undefined) cells.push({ ...where, missing })
      else cells.push({ ...where, ...(await cell(system, wan, lines, tar, undo, signal)) })
    }
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, kernel: release(), node: process.version }
  const result = { date: new Date().toISOString(), quick: options.quick, seed: SEED, scale, machine, cells }
  await mkdir(`${project}/bench/results`, { recursive: true })
  const file = `${project}/bench/results/wan-${congestion}-${result.date.replaceAll(':', '-')}.json`
  await writeFile(file, `${JSON.stringify(result, undefined, 2)}\n`)
  console.log(JSON.stringify(result))
  say(`\n${table(cells, congestion)}`)
  for (const miss of misses(cells)) say(miss)
  say(`written to ${file}`)
  if (cells.some(({ measured }) => measured !== undefined && Object.keys(measured.errors).length > 0))
    process.exitCode = 1
}

/** A bed of its own from beginning to end. What cannot even be set up is told like a line that failed. */
async function cell(
  name: SystemName,
  wan: WanCase,
  lines: readonly LineName[],
  tar: { path: string; files: number },
  undo: Undo,
  signal: AbortSignal,
): Promise<{ measured: Measured } | { missing: string }> {
  let system: WanSystem | undefined
  const stop = async (): Promise<void> => {
    const ending = system
    system = undefined
    await ending?.stop()
  }
  undo.add(`stop ${name}`, stop)
  try {
    if (name === 'holdfast') {
      const holdfast = await HoldfastOnBed.on(wan, SEED)
      system = holdfast
      await holdfast.start(congestion)
    } else {
      const moosefs = await MoosefsOnBed.on(wan, congestion, SEED)
      system = moosefs
      await moosefs.start()
    }
    return { measured: await measure({ system, tar, scale, signal }, lines, (line) => say(`  ${line}`)) }
  } catch (error) {
    signal.throwIfAborted()
    const { message, cause } = error as Error
    say(`  ${message}`)
    return { missing: cause === undefined ? message : `${message} (${String(cause)})` }
  } finally {
    await stop()
  }
}

function named<T extends string>(id: T): { id: T } {
  return { id }
}

function chosen<T extends { id: string }>(option: 'case' | 'system' | 'line', all: readonly T[]): T[] {
  return options[option].split(',').map((id) => {
    const found = all.find((one) => one.id === id)
    if (found === undefined) throw new Error(`no ${option} ${id}; there are ${all.map((one) => one.id).join(', ')}`)
    return found
  })
}
