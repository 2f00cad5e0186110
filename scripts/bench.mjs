/*
 * `npm run bench -- [e2e|memory|micro|plan|snapshot|repair|wan] [options]`: builds what it measures, then runs the benchmark. The build is left out
 * when nothing built is measured. Ctrl-C and TERM are passed on, and the benchmark's own clean-up is waited for.
 */

import { spawn, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const project = fileURLToPath(new URL('..', import.meta.url))
const kinds = {
  e2e: ['bench/e2e/run.ts'],
  memory: ['bench/memory.ts'],
  plan: ['bench/planner.ts'],
  snapshot: ['bench/snapshot.ts'],
  repair: ['bench/repair.ts'],
  wan: ['bench/wan/run.ts'],
  micro: readdirSync(`${project}bench/micro`)
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => `bench/micro/${name}`),
}
const [first = '', ...rest] = process.argv.slice(2)
const named = Object.hasOwn(kinds, first)
const programs = kinds[named ? first : 'e2e']
const args = named ? rest : process.argv.slice(2)

const at = args.findIndex((arg) => /^--peers?(=|$)/.test(arg))
const peers = at < 0 ? 'holdfast' : args[at].includes('=') ? args[at].split('=')[1] : (args[at + 1] ?? '')
if (
  !['micro', 'plan', 'snapshot'].includes(first) &&
  peers.split(',').includes('holdfast') &&
  !args.includes('--help')
) {
  // Its words go to standard error: with --json, standard output belongs to the result.
  const build = spawnSync(process.execPath, ['scripts/build.mjs'], { cwd: project, stdio: ['ignore', 2, 2] })
  if (build.status !== 0) process.exit(build.status ?? 1)
}

let child
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child?.kill(signal))
for (const program of programs) {
  child = spawn(process.execPath, ['--import', 'tsx', program, ...args], { cwd: project, stdio: 'inherit' })
  const code = await new Promise((done) =>
    child.on('close', (status, signal) => done(status ?? (signal === 'SIGINT' ? 130 : 143))),
  )
  if (code !== 0) process.exit(code)
}
