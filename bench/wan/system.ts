/*
 * What the lines ask of a filesystem under test, whichever it is. Both stand alike on the bed: home1 has the master, home2
 * and home3 store chunks; fra1 and fra2 store chunks at the other site, and fra1 has the mount that everything is done in.
 * Two storage classes, by labels that say the site: `local` is one copy at fra, `both` one at fra and one at home.
 */

import type { Bed } from '../../test/wan/bed.ts'
import { run } from '../e2e/machine.ts'

export type SystemName = 'holdfast' | 'moosefs'
export type Class = 'local' | 'both'

export const SITES = { home: { nodes: 3 }, fra: { nodes: 2 } }
export const MASTER = 'home1'
export const CLIENT = 'fra1'
/** Chunkservers by the label of their site. */
export const STORES = [
  { node: 'home2', site: 'home', label: 'H' },
  { node: 'home3', site: 'home', label: 'H' },
  { node: 'fra1', site: 'fra', label: 'F' },
  { node: 'fra2', site: 'fra', label: 'F' },
] as const
/** By the labels above, in the words that both systems share. */
export const KEEP: Readonly<Record<Class, string>> = { local: 'F', both: 'F,H' }

export interface WanSystem {
  readonly name: SystemName
  readonly bed: Bed
  /** Of the mount, at the client's site. */
  readonly path: string
  /** Inside the tunnels. */
  address(node: string): Promise<string>
  /** A mount that knows nothing, for lines that are to be cold. Chunkservers keep what their kernel has of the chunks. */
  remount(): Promise<void>
  setClass(path: string, to: Class): Promise<void>
  /** On the disks of the home site. */
  homeBytes(): Promise<number>
  /** As the system itself says: every chunk of the file has a copy at home. */
  isAtHome(path: string): Promise<boolean>
  /** Safe at any time, also of what has come up by half. */
  stop(): Promise<void>
}

/** Room taken by files below these directories. */
export async function bytesBelow(directories: readonly string[]): Promise<number> {
  const text = await run('du', ['-s', '--block-size=1', ...directories])
  return text
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number.parseInt(line, 10), 0)
}

/** So long may ending in good order take before the bed ends everything in its namespaces. */
const ORDERLY_MS = 20_000

export async function withinReason(ending: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((done) => (timer = setTimeout(done, ORDERLY_MS)))
  await Promise.race([ending, late])
  clearTimeout(timer)
}
