/*
 * The store, as it is, for everybody; and how it was when a snapshot began, for whoever makes that. While a snapshot is
 * made, the first change of a record that says what a file or directory is (inode, names, extents, attributes) leaves an
 * image of what stood there. So the making of a snapshot can take as long as it likes: it reads what has an image there and
 * the rest in place, and cannot tell what happened meanwhile.
 *
 * What State holds decoded must have been flushed when imaging begins (snapshot.ts does it): from then on the first write
 * of a key meets the value that was true at that moment. Inodes made since then can be reached by nothing that existed
 * then, so they leave no images; neither does the copy itself.
 */

import type { Ino } from '../../base/ids.ts'
import type { Kv } from './kv.ts'
import { after, key, numAt, tables } from './tables.ts'

export interface Imaging {
  readonly job: number
  /** Inodes with a smaller number existed, or may have, when it began. */
  readonly before: number
}

/** All of them are ordered by inode first. */
const KEPT: ReadonlySet<string> = new Set([
  tables.inode.prefix,
  tables.dentry.prefix,
  tables.extent.prefix,
  tables.xattr.prefix,
])

/** An image begins with one byte, so that "there was nothing" differs from an empty value. */
const NOTHING: Uint8Array = new Uint8Array(0)
const SOMETHING = 1

export class ImagingKv implements Kv {
  readonly #kv: Kv
  readonly #imaging: () => Imaging | undefined

  constructor(kv: Kv, imaging: () => Imaging | undefined) {
    this.#kv = kv
    this.#imaging = imaging
  }

  get(at: string): Uint8Array | undefined {
    return this.#kv.get(at)
  }
  scan(range: Parameters<Kv['scan']>[0], visit: Parameters<Kv['scan']>[1]): void {
    this.#kv.scan(range, visit)
  }
  put(at: string, value: Uint8Array): void {
    if (KEPT.has(at[0]!)) this.#keep(at)
    this.#kv.put(at, value)
  }
  delete(at: string): boolean {
    if (KEPT.has(at[0]!)) this.#keep(at)
    return this.#kv.delete(at)
  }

  #keep(at: string): void {
    const imaging = this.#imaging()
    if (imaging === undefined || numAt(at, 1) >= imaging.before) return
    const image = key.image(imaging.job, at)
    if (this.#kv.get(image) !== undefined) return
    const value = this.#kv.get(at)
    if (value === undefined) {
      this.#kv.put(image, NOTHING)
      return
    }
    const copy = new Uint8Array(value.length + 1)
    copy[0] = SOMETHING
    copy.set(value, 1)
    this.#kv.put(image, copy)
  }
}

export interface Row {
  readonly at: string
  readonly value: Uint8Array
}

/** The records of files and directories as they were when a snapshot began. */
export class Beginning {
  readonly #kv: Kv
  readonly #job: number

  constructor(kv: Kv, job: number) {
    this.#kv = kv
    this.#job = job
  }

  get(at: string): Uint8Array | undefined {
    const image = this.#kv.get(key.image(this.#job, at))
    if (image === undefined) return this.#kv.get(at)
    return image.length === 0 ? undefined : image.subarray(1)
  }
  inode(ino: Ino): Uint8Array | undefined {
    return this.get(key.inode(ino))
  }

  /**
   * Rows whose keys begin with `prefix` and come after `afterKey`, in order: some at least, about `limit`, while there are
   * any. `last`: where to go on when there are more.
   */
  rows(prefix: string, afterKey: string, limit: number): { rows: Row[]; last: string | undefined } {
    let from = afterKey < prefix ? prefix : `${afterKey}\0`
    for (;;) {
      const now = this.#page('', from, after(prefix), limit)
      const then = this.#page(key.imagesOf(this.#job), from, after(prefix), limit)
      // Beyond the end of a page that is full there may be more of its kind.
      const last = [now, then].flatMap((page) => (page.length < limit ? [] : [page.at(-1)!.at])).sort()[0]
      const rows = merged(now, then).filter(({ at }) => last === undefined || at <= last)
      if (rows.length > 0 || last === undefined) return { rows, last }
      from = `${last}\0`
    }
  }
  #page(inFront: string, from: string, to: string, limit: number): Row[] {
    const rows: Row[] = []
    this.#kv.scan({ from: inFront + from, to: inFront + to }, (at, value) => {
      // Values are only lent.
      rows.push({ at: at.slice(inFront.length), value: value.slice() })
      return rows.length < limit
    })
    return rows
  }
}

/** Each key once; where there is an image, that, or nothing when there was nothing. */
function merged(now: readonly Row[], images: readonly Row[]): Row[] {
  const rows: Row[] = []
  let i = 0
  for (const image of images) {
    while (i < now.length && now[i]!.at < image.at) rows.push(now[i++]!)
    if (now[i]?.at === image.at) i++
    if (image.value.length > 0) rows.push({ at: image.at, value: image.value.subarray(1) })
  }
  while (i < now.length) rows.push(now[i++]!)
  return rows
}
