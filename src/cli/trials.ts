/*
 * What a change would mean, for people: the chunks of which something would be copied, the bytes between sites, and what
 * stands against it. The master is asked page by page; whoever waits sees how far it is and may stop.
 */

import { Flags } from '@oclif/core'
import { FsError } from '../base/fault.ts'
import type { ChunkId, DiskId, Ino, NodeId } from '../base/ids.ts'
import { formatBytes } from '../base/units.ts'
import { dangersOf } from '../topology/danger.ts'
import { type ClassText, readClass, type StorageClass } from '../topology/storage-class.ts'
import type { ClassesReport, ClassMoves, LabelMoves } from '../wire/reports.ts'
import { CLASS_MOVES_MAX } from '../wire/shapes.ts'
import type { Admin } from './admin.ts'
import {
  type Explained,
  explained,
  meaningOf,
  type Places,
  placesFrom,
  placesOf,
  placingsOf,
  renderExplained,
} from './classes.ts'
import { ProgressLine } from './progress.ts'
import { count, printable } from './render.ts'
import { TreeWalk } from './tree-walk.ts'

/** Chunks looked at, or remembered, by one trial: some minutes and some ten megabytes. Beyond, the answer says so. */
const LOOKED_MAX = 1_000_000

export const dryRun = Flags.boolean({
  summary: 'Say what it would mean on the disks there are; change nothing.',
  default: false,
})
export const forced = Flags.boolean({ summary: 'Also when that endangers data.', default: false })

export interface Moving {
  readonly chunks: number
  readonly moving: number
  readonly nowhere: number
  readonly links: readonly { readonly from: string; readonly to: string; readonly bytes: number }[]
  /** Not all chunks were looked at. */
  readonly cut: boolean
}

class Sum {
  readonly #links = new Map<string, { from: string; to: string; bytes: number }>()
  chunks = 0
  moving = 0
  nowhere = 0
  cut = false

  add(page: ClassMoves): void {
    this.chunks += page.chunks
    this.moving += page.moving
    this.nowhere += page.nowhere
    for (const { from, to, bytes } of page.links) {
      const link = this.#links.get(`${from}/${to}`) ?? { from, to, bytes: 0 }
      this.#links.set(`${from}/${to}`, { ...link, bytes: link.bytes + bytes })
    }
  }
  moves(): Moving {
    const { chunks, moving, nowhere, cut } = this
    return { chunks, moving, nowhere, links: [...this.#links.values()].sort((a, b) => b.bytes - a.bytes), cut }
  }
}

/** `ask`: for the page after a chunk. */
async function paged(ask: (after: number) => Promise<ClassMoves>, line: ProgressLine): Promise<Moving> {
  const sum = new Sum()
  let looked = 0
  for (let after: number | null = 0; after !== null; ) {
    const page: ClassMoves = await ask(after)
    sum.add(page)
    after = page.after
    looked += CLASS_MOVES_MAX
    if (after === null) break
    line.show(`${count(sum.chunks, 'chunk')} looked at`)
    sum.cut = looked >= LOOKED_MAX
    if (sum.cut) break
  }
  line.end()
  return sum.moves()
}

/** If a class that there is said this. */
export const movesOfClass = (admin: Admin, classId: number, text: ClassText, line: ProgressLine): Promise<Moving> =>
  paged((after) => admin.call('classMoves', { classId, text, after, limit: CLASS_MOVES_MAX }), line)

// ---- files

export interface GivenTrial extends Moving {
  readonly changed: number
  readonly left: number
}

/** If these files and directories were given a class. Chunks that others share count as if those had it, too. */
export async function movesOfGiven(
  admin: Admin,
  paths: readonly string[],
  wish: { readonly classId: number; readonly onlyFrom: number | undefined; readonly recursive: boolean },
  line: ProgressLine,
  stop: AbortSignal,
): Promise<GivenTrial> {
  const { classId, onlyFrom, recursive } = wish
  const chunks = new Set<ChunkId>()
  const sum = new Sum()
  const note = (some: readonly ChunkId[]): void => {
    for (const chunk of some)
      if (chunks.size < LOOKED_MAX) chunks.add(chunk)
      else sum.cut = true
  }
  const walk = new TreeWalk(
    admin,
    async (where) => {
      const page = await admin.call('classTry', { ...where, classId, onlyFrom, offset: 0 })
      note(page.chunks)
      await onwards(page.rest)
      return page
    },
    line,
  )
  /** Of files that have more extents than one call looks at. */
  async function onwards(rest: readonly { ino: Ino; offset: number }[]): Promise<void> {
    const queue = [...rest]
    for (let next = queue.pop(); next !== undefined && !sum.cut; next = queue.pop()) {
      stop.throwIfAborted()
      const page = await admin.call('classTry', { ...next, classId, onlyFrom, path: undefined, page: undefined })
      note(page.chunks)
      queue.push(...page.rest)
    }
  }
  for (const path of paths) await (recursive ? walk.tree(path, stop) : walk.one(path))
  const all = [...chunks]
  for (let at = 0; at < all.length; at += CLASS_MOVES_MAX) {
    stop.throwIfAborted()
    sum.add(await admin.call('chunkMoves', { classId, chunks: all.slice(at, at + CLASS_MOVES_MAX) }))
    line.show(`${count(Math.min(at + CLASS_MOVES_MAX, all.length), 'chunk')} looked at`)
  }
  line.end()
  return { changed: walk.changed, left: walk.left, ...sum.moves() }
}

// ---- labels

/** A chunkserver, or a disk, and the labels that it shall have; without: those of its configuration. */
export type Labelling = { readonly labels: string[] | undefined } & (
  | { readonly node: NodeId; readonly disk?: undefined }
  | { readonly disk: DiskId; readonly node?: undefined }
)

export interface LabelTrial {
  /** Its own labels then. */
  readonly labels: readonly string[]
  readonly moves: Moving
  /** Classes of which other disks, or others losses, count then. */
  readonly classes: readonly { readonly name: string; readonly explained: readonly Explained[] }[]
  readonly dangers: readonly string[]
}

export async function labelDangers(admin: Admin, wish: Labelling): Promise<readonly string[]> {
  return (await tried(admin, wish)).dangers
}

/** With everything told to `log`; `said` is the sentence with the labels in it. */
export async function labelTrial(
  admin: Admin,
  wish: Labelling,
  said: (labels: readonly string[]) => string,
  line: ProgressLine,
  log: (text: string) => void,
): Promise<LabelTrial> {
  const { labels, dangers, changed, after } = await tried(admin, wish)
  log(said(labels))
  for (const { name, explained: placings } of changed) {
    log(printable(`class ${name}:`))
    for (const one of placings) log(renderExplained(one, after))
  }
  const moves = await paged((from) => ask(admin, wish, from, CLASS_MOVES_MAX), line)
  log(renderMoves(moves))
  return { labels, moves, classes: changed, dangers }
}

const ask = (admin: Admin, { node, disk, labels }: Labelling, after: number, limit: number): Promise<LabelMoves> =>
  admin.call('labelMoves', { node, disk, labels, after, limit })

async function tried(admin: Admin, wish: Labelling) {
  const [{ labels }, report, before] = await Promise.all([
    ask(admin, wish, 0, 1),
    admin.call('classList', {}),
    placesOf(admin),
  ])
  const after = placesFrom(
    before.disks.map((one) => (one.disk === wish.disk ? { ...one, labels } : one)),
    before.nodes.map((one) => (one.node === wish.node ? { ...one, labels } : one)),
  )
  const changed = report.classes.flatMap((one) => {
    const placings = placingsOf(meaningOf(one, report))
    const then = explained(placings, after)
    const same = JSON.stringify(explained(placings, before)) === JSON.stringify(then)
    return same ? [] : [{ name: one.name, explained: then }]
  })
  const dangers = report.classes.flatMap((one) => {
    if (!isInUse(one.classId, report)) return []
    const meaning = meaningOf(one, report)
    const found = dangersOf({ meaning, disks: before.candidates }, { meaning, disks: after.candidates })
    return found.map((what) => `${one.name}, ${what}`)
  })
  return { labels, after, changed, dangers }
}

// ---- what stands against it

/** Whether there is data of this class: chunks, or files that may have some. */
export function isInUse(classId: number, { classes, usage }: ClassesReport): boolean {
  const inodes = classes.find((one) => one.classId === classId)?.inodes ?? 0
  return usage.counting || inodes > 0 || (usage.classes.find((one) => one.classId === classId)?.chunks ?? 0) > 0
}

/** Of a class that is changed. */
export function classDangers(classId: number, after: StorageClass, report: ClassesReport, places: Places): string[] {
  const one = report.classes.find((known) => known.classId === classId)
  if (one === undefined || !isInUse(classId, report)) return []
  const disks = places.candidates
  return dangersOf({ meaning: readClass(one, report.copies), disks }, { meaning: after, disks })
}

/** Only tried, it is said; meant, it is refused unless it is forced. */
export function answerDangers(
  dangers: readonly string[],
  { dry, force }: { readonly dry: boolean; readonly force: boolean },
  log: (text: string) => void,
): void {
  if (dangers.length === 0) return
  const what = dangers.map(printable).join('; ')
  if (!dry && !force) throw new FsError('EPERM', `that endangers data (${what}); --force does it all the same`)
  log(dry ? `This endangers data and needs --force: ${what}` : `Data is endangered: ${what}`)
}

// ---- in words

const siteOf = (site: string): string => (site === '' ? 'an unnamed site' : printable(site))

export function renderMoves({ chunks, moving, nowhere, links, cut }: Moving): string {
  const lines = moving === 0 && nowhere === 0 ? [] : [`would copy something of ${moving} of ${count(chunks, 'chunk')}:`]
  for (const { from, to, bytes } of links)
    lines.push(
      `  ${formatBytes(bytes)} ${from === to ? `within ${siteOf(from)}` : `from ${siteOf(from)} to ${siteOf(to)}`}`,
    )
  if (nowhere > 0) lines.push(`  ${nowhere} copies or parts would find no place`)
  if (lines.length === 0) lines.push('would copy nothing')
  if (cut) lines.push(`Only the first ${LOOKED_MAX} chunks were looked at; there are more.`)
  return lines.join('\n')
}

/** Shown where a person waits. */
export const trialLine = (json: boolean): ProgressLine => new ProgressLine(!json)
