/*
 * READDIR and READDIRPLUS: "." and ".." first (cookies 1 and 2), then the vfs's entries under its own stable cookies, as
 * many as the kernel's buffer holds. The rest of a page waits in the door for the next request.
 */

import type { Attr } from '../base/attr.ts'
import { errnoOf } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import { DIRENT_BYTES_MIN, direntBytes, ENTRY_OUT_BYTES, putDirent, type Request, type Validity } from './codec.ts'
import { type Door, type FuseCaller, VALIDITY } from './door.ts'
import { IO_IN } from './protocol.ts'

/** What one listing reply may hold at most: the scratch buffer of the session is sized by it. */
export const LISTING_BYTES_MAX = 256 * 1024

type Row = { name: string; ino: Ino; type: Attr['type']; cookie: number; attr?: Attr }

export interface Listing {
  readonly rows: readonly Row[]
  readonly valid: Validity | undefined
}

const DOT_COOKIE = 1
const DOT_DOT_COOKIE = 2

export async function readDirectory(r: Request, door: Door, caller: FuseCaller, plus: boolean): Promise<Listing> {
  const node = r.ino
  const cookie = r.offset(IO_IN.at.offset)
  const room = Math.min(r.u32(IO_IN.at.size), LISTING_BYTES_MAX)
  const rows: Row[] = []
  let used = 0
  const add = (row: Row): boolean => {
    const bytes = direntBytes(row.name, plus)
    if (used + bytes > room) return false
    used += bytes
    rows.push(row)
    return true
  }

  if (cookie < DOT_COOKIE && !add({ name: '.', ino: node, type: 'dir', cookie: DOT_COOKIE }))
    return { rows, valid: undefined }
  if (cookie < DOT_DOT_COOKIE) {
    const parent = await parentOf(door, node, caller)
    if (!add({ name: '..', ino: parent, type: 'dir', cookie: DOT_DOT_COOKIE }))
      return listing(rows, plus, VALIDITY.attrMs)
  }

  const from = cookie <= DOT_DOT_COOKIE ? 0 : cookie
  let page = door.dirs.take(node, from)
  let lifeMs = VALIDITY.attrMs
  if (page === undefined) {
    const epoch = door.dirs.epoch
    const before = door.plain.changes
    const fitting = Math.ceil(room / (DIRENT_BYTES_MIN + (plus ? ENTRY_OUT_BYTES : 0)))
    const entries = await door.vfs.readdir(node, from, door.dirs.pageEntries(node, from, fitting), caller)
    if (plus) for (const entry of entries) door.plain.note(entry.attr, before)
    page = { entries, from: 0, epoch, expires: Number.POSITIVE_INFINITY }
  } else {
    lifeMs = door.dirs.lifeMs(page)
  }

  let next = page.from
  let last = from
  while (next < page.entries.length) {
    const entry = page.entries[next]!
    if (!add(plus ? entry : { name: entry.name, ino: entry.ino, type: entry.type, cookie: entry.cookie })) break
    last = entry.cookie
    next++
  }
  if (next < page.entries.length && last !== from) {
    const { expires, ...rest } = { ...page, from: next }
    door.dirs.keep(node, last, Number.isFinite(expires) ? { ...rest, expires } : rest)
  }
  return listing(rows, plus, lifeMs)
}

const listing = (rows: Row[], plus: boolean, attrMs: number): Listing => ({
  rows,
  valid: plus ? { entryMs: Math.min(attrMs, VALIDITY.entryMs), attrMs } : undefined,
})

/** A directory removed while open has no parent any more; its listing says itself. */
async function parentOf(door: Door, node: Ino, caller: FuseCaller): Promise<Ino> {
  try {
    return (await door.vfs.lookup(node, '..', caller)).ino
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ESTALE') return node
    throw error
  }
}

export function replyDirectory(out: Buffer, at: number, list: Listing): number {
  let end = at
  for (const row of list.rows) end += putDirent(out, end, row, list.valid)
  return end - at
}
