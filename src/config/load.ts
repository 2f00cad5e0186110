/*
 * A TOML file becomes the typed configuration of one role. Everything wrong is an EINVAL that names file, line and key and
 * what would be right: an unknown key is refused with the nearest known one, because a typing error that is silently
 * ignored is a setting that silently does not hold.
 *
 * One file may hold the sections of several roles (a node's /etc/holdfast/holdfast.toml); each role checks all sections
 * that it knows and uses its own.
 */

import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { FsError } from '../base/fault.ts'
import type { ConfigRows } from './rows.ts'
import { type RoleConfigs, type RoleName, type SectionName, sections } from './tables.ts'

/** The file of a node that belongs to one cluster. */
export const NODE_CONFIG_FILE = '/etc/holdfast/holdfast.toml'

export async function loadConfig<R extends RoleName>(role: R, file: string): Promise<RoleConfigs[R]> {
  return parseConfig(role, await readText(file), file)
}

export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR')
      throw new FsError(code, `configuration file ${file}`, { cause: error })
    throw error
  }
}

/** `file` is for messages and for relative paths. */
export function parseConfig<R extends RoleName>(role: R, toml: string, file: string): RoleConfigs[R] {
  const found = parseSections(toml, file)
  if (!(role in found)) throw new FsError('EINVAL', `${file}: the section [${role}] is missing`)
  const common = { cluster: section('cluster', found, toml, file), log: section('log', found, toml, file) }
  const config = { ...common, ...section(role, found, toml, file) } as unknown as RoleConfigs[R]
  proveOrStayHome(role, config, toml, file)
  return config
}

/** Who listens where other machines are must know who they are, or have been told that it does not matter. */
function proveOrStayHome(role: RoleName, config: RoleConfigs[RoleName], toml: string, file: string): void {
  const { identityDir, trustNetwork } = config.cluster
  if (!('listenHost' in config) || identityDir !== '' || trustNetwork || isLoopback(config.listenHost)) return
  throw new FsError(
    'EINVAL',
    `${file}:${lineOf(toml, role, 'listenHost')}: listenHost "${config.listenHost}" is reached from other machines, and nobody ` +
      'there would have to prove who he is: give [cluster] identityDir (`holdfast mesh join` makes it), or set [cluster] ' +
      'trustNetwork = true on a LAN that you trust whole',
  )
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127\./.test(host)

/** The sections that are there, each a table of known keys; values are not yet checked. */
export function parseSections(toml: string, file: string): Partial<Record<SectionName, Record<string, unknown>>> {
  let raw: Record<string, unknown>
  try {
    raw = parse(toml)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '')
    throw new FsError('EINVAL', `${file}:${error.line}: ${reason}`, { cause: error })
  }
  for (const [name, table] of Object.entries(raw)) {
    if (!Object.hasOwn(sections, name)) {
      const what = isTable(table) ? `section [${name}]` : `key "${name}" outside a section`
      unknown(
        what,
        name,
        Object.keys(sections).map((known) => `[${known}]`),
        lineOf(toml, name, undefined),
        file,
      )
    }
    if (!isTable(table)) throw new FsError('EINVAL', `${file}: "${name}" must be a section: [${name}]`)
    const rows: ConfigRows = sections[name as SectionName]
    for (const key of Object.keys(table))
      if (!Object.hasOwn(rows, key))
        unknown(`key "${key}" in [${name}]`, key, Object.keys(rows), lineOf(toml, name, key), file)
  }
  return raw
}

/** What every role is told, also where the file is read for another reason than to run one. */
export function parseClusterSection(toml: string, file: string): RoleConfigs[RoleName]['cluster'] {
  return section('cluster', parseSections(toml, file), toml, file) as RoleConfigs[RoleName]['cluster']
}

/** One section's typed values with defaults. */
function section(
  name: SectionName,
  found: Partial<Record<SectionName, Record<string, unknown>>>,
  toml: string,
  file: string,
): Record<string, unknown> {
  const table = found[name] ?? {}
  const base = dirname(resolve(file))
  const out: Record<string, unknown> = {}
  for (const [key, row] of Object.entries(sections[name] as ConfigRows)) {
    if (table[key] === undefined) {
      if (row.default === undefined)
        throw new FsError('EINVAL', `${file}: [${name}] needs the key "${key}" (${row.type}): ${row.means}`)
      out[key] = row.default
      continue
    }
    const value = row.read(table[key], (path) => resolve(base, path))
    if ('expected' in value)
      throw new FsError('EINVAL', `${file}${at(lineOf(toml, name, key))}: "${key}" must be ${value.expected}`)
    out[key] = value.ok
  }
  return out
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

const at = (line: number | undefined): string => (line === undefined ? '' : `:${line}`)

function unknown(what: string, word: string, known: readonly string[], line: number | undefined, file: string): never {
  const close = nearest(word, known)
  const hint =
    close === undefined ? `known are: ${known.join(', ')}` : `did you mean ${close.replace(/^\w+$/, '"$&"')}?`
  throw new FsError('EINVAL', `${file}${at(line)}: unknown ${what}; ${hint}`)
}

/** The known word within a third of the typed one's letters, if any. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const d = distance(plain(word), plain(candidate))
    if (d < bestDistance) {
      best = candidate
      bestDistance = d
    }
  }
  return best
}
const plain = (word: string): string => word.toLowerCase().replaceAll(/[^a-z0-9]/g, '')

function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++)
      current.push(Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    previous = current
  }
  return previous[b.length]!
}

/** The line of a key (or of a section's head) as written; a key in dotted or inline form has none. */
function lineOf(toml: string, sectionName: string, key: string | undefined): number | undefined {
  let inSection = false
  for (const [i, line] of toml.split('\n').entries()) {
    const head = /^\s*\[\s*"?([^"\]]+?)"?\s*\]/.exec(line)
    if (head !== null) inSection = head[1] === sectionName
    if (key === undefined) {
      if (head?.[1] === sectionName || new RegExp(`^\\s*"?${escapeRegExp(sectionName)}"?\\s*[=.]`).test(line))
        return i + 1
    } else if (inSection && new RegExp(`^\\s*"?${escapeRegExp(key)}"?\\s*=`).test(line)) return i + 1
  }
  return undefined
}
const escapeRegExp = (word: string): string => word.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
