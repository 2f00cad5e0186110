/*
 * src/ becomes dist/. Nothing is done when dist/ is newer than every source. The compiler writes beside dist/, and only
 * when it succeeded each changed file is moved in place, so that running programs and a second build at the same time
 * never see half a file or no dist/ at all.
 */

import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, root } from './machine.mjs'

const dist = join(root, 'dist')
/** Written last, dated when the compiler was started: what is edited meanwhile is newer. */
const stamp = join(dist, '.built')

function files(dir) {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
}

export function build({ force = false } = {}) {
  const inputs = [...files(join(root, 'src')), join(root, 'tsconfig.json'), join(root, 'package-lock.json')]
  // The list of names is part of the stamp: a deleted source changes no time.
  const list = inputs
    .map((file) => relative(root, file))
    .sort()
    .join('\n')
  const began = new Date()
  const newest = Math.max(...inputs.map((file) => statSync(file).mtimeMs))
  if (!force && existsSync(stamp) && Number(statSync(stamp).mtimeMs) > newest && readFileSync(stamp, 'utf8') === list)
    return false
  const fresh = join(root, `dist.new-${process.pid}`)
  process.once('exit', () => rmSync(fresh, { recursive: true, force: true }))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const args = [tsc, '-p', join(root, 'tsconfig.json'), '--outDir', fresh, '--noEmitOnError']
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (result.error) fail(`the compiler cannot be run: ${result.error.message}`)
  if (result.status !== 0) fail('the sources do not compile (see above)')
  const made = new Set()
  for (const file of files(fresh)) {
    const target = join(dist, relative(fresh, file))
    made.add(target)
    if (existsSync(target) && readFileSync(target).equals(readFileSync(file))) continue
    mkdirSync(dirname(target), { recursive: true })
    renameSync(file, target)
  }
  for (const file of files(dist)) if (!made.has(file) && file !== stamp) rmSync(file, { force: true })
  writeFileSync(stamp, list)
  utimesSync(stamp, began, began)
  return true
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build({ force: process.argv.includes('--force') })
