/*
 * What the scripts need from the machine: Node's version, npm packages, Debian packages. Runs before anything is installed,
 * so it uses nothing but Node itself. Everything it does is safe to do again.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
export const isRoot = process.getuid?.() === 0

const NODE_FLOOR = [20, 19]

/**
 * Debian packages: what is looked for, the package (alternatives: the first that this Debian has), and why.
 * `start`: needed to mount; `test`: only the tests use it.
 */
export const debianPackages = [
  { has: 'fusermount3', packages: ['fuse3'], when: 'user-mount', why: 'ordinary users mount through fusermount3' },
  { has: 'perl', packages: ['perl-base'], when: 'user-mount', why: "receives the mount's descriptor from fusermount3" },
  { has: 'mount', packages: ['mount'], when: 'mount', why: 'root mounts with mount(8)' },
  {
    lib: 'libfuse.so.2',
    packages: ['libfuse2t64', 'libfuse2'],
    when: 'fuse-native',
    why: 'what fuse-native is linked to',
  },
  { has: 'fusermount', packages: ['fuse3'], when: 'fuse-native', why: 'libfuse 2 unmounts with fusermount' },
  { has: 'fusermount3', packages: ['fuse3'], when: 'test', why: 'the tests of mounts by ordinary users' },
  {
    lib: 'libfuse.so.2',
    packages: ['libfuse2t64', 'libfuse2'],
    when: 'test',
    why: 'the tests of the fuse-native door',
  },
  { has: 'getfattr', packages: ['attr'], when: 'test', why: 'extended attributes on a mount' },
  { has: 'setfacl', packages: ['acl'], when: 'test', why: 'POSIX ACLs on a mount' },
  { has: 'rsync', packages: ['rsync'], when: 'test', why: 'real programs on a mount' },
  { has: 'sqlite3', packages: ['sqlite3'], when: 'test', why: 'a database on a mount' },
  { has: 'fio', packages: ['fio'], when: 'test', why: 'verified random I/O on a mount' },
  { has: 'git', packages: ['git'], when: 'test', why: 'a working tree on a mount' },
  {
    has: 'python3',
    packages: ['python3-minimal'],
    when: 'test',
    why: 'system calls that Node does not have (locks, seek holes)',
  },
  { has: 'wg', packages: ['wireguard-tools'], when: 'test', why: 'the tests of the mesh' },
  {
    has: 'wireguard-go',
    packages: ['wireguard-go'],
    when: 'test',
    why: 'the tests of the mesh, where the kernel has none',
  },
  { has: 'nft', packages: ['nftables'], when: 'test', why: 'the tests of the mesh make routers with NAT' },
  { has: 'ip', packages: ['iproute2'], when: 'test', why: 'the tests of the mesh make network namespaces' },
  { has: 'setpriv', packages: ['util-linux'], when: 'test', why: 'acting as another user' },
  {
    has: 'nsenter',
    packages: ['util-linux'],
    when: 'test',
    why: 'programs in the network namespaces of the WAN tests',
  },
  { has: 'perl', packages: ['perl-base'], when: 'test', why: 'opens the TUN device of the WAN tests' },
]

export function fail(sentence) {
  process.stderr.write(`holdfast: ${sentence}\n`)
  process.exit(1)
}
export const say = (sentence) => process.stderr.write(`holdfast: ${sentence}\n`)

export function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < NODE_FLOOR[0] || (major === NODE_FLOOR[0] && minor < NODE_FLOOR[1]))
    fail(
      `Node ${NODE_FLOOR.join('.')} or newer is needed, this is ${process.versions.node} (Debian 13: apt-get install nodejs npm)`,
    )
}

/** node_modules as package-lock.json says. npm writes its hidden lockfile last, so a broken-off install is seen. */
export function installNpmPackages() {
  const stamp = join(root, 'node_modules', '.package-lock.json')
  const lock = join(root, 'package-lock.json')
  if (existsSync(stamp) && (statSync(stamp).mtimeMs >= statSync(lock).mtimeMs || sameVersions(stamp, lock))) return
  say('installing npm packages (npm ci)')
  // A registry mirror may lack packages of other platforms, and then `npm ci` cannot be satisfied; `npm install` can, with
  // the versions of the lock file and without writing to it.
  if (npm('ci')) return
  say('npm ci failed, trying npm install')
  if (npm('install', '--no-save')) return
  fail('the npm packages could not be installed (see above); is the npm registry reachable?')
}

function npm(...words) {
  const result = spawnSync('npm', [...words, '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    // The caller may run under `npm --omit=dev` or in production: building needs the compiler all the same.
    env: { ...process.env, NODE_ENV: '', npm_config_omit: '', npm_config_production: '' },
  })
  if (result.error) fail(`npm cannot be run: ${result.error.message}`)
  return result.status === 0
}

/** A checkout gives every file the present time; what counts is whether the versions agree. */
function sameVersions(stamp, lock) {
  const read = (file) => JSON.parse(readFileSync(file, 'utf8')).packages
  const present = read(stamp)
  return Object.entries(read(lock)).every(
    ([path, wanted]) => path === '' || wanted.optional || present[path]?.version === wanted.version,
  )
}

const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`
function hasProgram(name) {
  return PATH.split(':').some((dir) => dir !== '' && existsSync(join(dir, name)))
}
function hasLibrary(name) {
  const result = spawnSync('ldconfig', ['-p'], { encoding: 'utf8', env: { ...process.env, PATH } })
  return result.status === 0 && result.stdout.includes(`${name} `)
}

/** Installs what is missing as root; otherwise says the exact line. Returns the rows that are still missing. */
export function installDebianPackages(when) {
  const missing = () =>
    debianPackages.filter((row) => when.includes(row.when) && !(row.lib ? hasLibrary(row.lib) : hasProgram(row.has)))
  let rows = missing()
  if (rows.length === 0) return []
  const reasons = () => rows.map((row) => `${row.packages.at(-1)} (${row.why})`).join(', ')
  if (!hasProgram('apt-get')) {
    say(`not on Debian, please install: ${reasons()}`)
    return rows
  }
  const line = (names) => `apt-get install --yes --no-install-recommends ${names.join(' ')}`
  if (!isRoot) {
    say(`missing Debian packages: ${reasons()}`)
    say(`as root: ${line([...new Set(rows.map((row) => row.packages.at(-1)))])}`)
    return rows
  }
  say(`installing Debian packages: ${reasons()}`)
  const env = { ...process.env, PATH, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args) => spawnSync('apt-get', args, { stdio: ['ignore', 2, 2], env }).status === 0
  const names = () => [...new Set(rows.map((row) => row.packages.find(isAvailable) ?? row.packages.at(-1)))]
  const install = () => apt('install', '--yes', '--no-install-recommends', ...names())
  // The lists are fetched only when they are needed: most machines have them.
  if (!install() && !(apt('update') && install())) say(`could not install them; by hand: ${line(names())}`)
  rows = missing()
  return rows
}

function isAvailable(name) {
  try {
    const text = execFileSync('apt-cache', ['policy', name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return /Candidate: (?!\(none\))/.test(text)
  } catch {
    // apt-cache exits non-zero for names it does not know: not available is the answer.
    return false
  }
}
