/*
 * `npm test`: installs what the tests need, builds, runs all of them and ends with vitest's summary. Under CI a test that
 * cannot run here is a failure, not a skip: set HOLDFAST_NO_SKIP=1 for the same elsewhere.
 */

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { build } from './build.mjs'
import { checkNode, installDebianPackages, installNpmPackages, root, say } from './machine.mjs'

checkNode()
installNpmPackages()
const missing = installDebianPackages(['mount', 'test'])
const noSkip = process.env.HOLDFAST_NO_SKIP ?? (/^(1|true)$/i.test(process.env.CI ?? '') ? '1' : '')
if (missing.length > 0) {
  const names = missing.map((row) => row.has ?? row.lib).join(', ')
  say(
    noSkip
      ? `missing on this machine, tests that need it will fail: ${names}`
      : `tests that need these will be skipped: ${names}`,
  )
}
build()
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
const skips = join(root, 'scripts', 'skip-reporter.mjs')
const result = spawnSync(
  process.execPath,
  [vitest, 'run', `--reporter=${skips}`, '--reporter=default', ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, HOLDFAST_NO_SKIP: noSkip },
  },
)
if (result.error) throw result.error
process.exit(result.status ?? 1)
