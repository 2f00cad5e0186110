/*
 * `npm start`: from a fresh clone to a mounted filesystem. Installs what is missing, builds what is stale, then becomes
 * `holdfast local start` with the options given (in this very process, so that Ctrl-C needs no forwarding).
 */

import { join } from 'node:path'
import { build } from './build.mjs'
import { checkNode, installDebianPackages, installNpmPackages, isRoot, root } from './machine.mjs'

checkNode()
const options = process.argv.slice(2)
const native = options.some(
  (word, i) => word === '--door=fuse-native' || (word === 'fuse-native' && options[i - 1] === '--door'),
)
installNpmPackages()
// What is still missing is not the end: `local start` says what it cannot do without it.
installDebianPackages([isRoot ? 'mount' : 'user-mount', ...(native ? ['fuse-native'] : [])])
build()
process.argv = [process.execPath, join(root, 'bin', 'holdfast'), 'local', 'start', ...options]
await import('../dist/cli/main.js')
