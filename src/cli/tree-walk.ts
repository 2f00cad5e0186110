/*
 * One change for everything below a directory: each call changes a page of one directory and answers the directories in
 * it, which wait here. So no command is long, the line says how far it is, and who stops it keeps what is changed.
 */

import { FsError } from '../base/fault.ts'
import type { Ino } from '../base/ids.ts'
import type { Admin } from './admin.ts'
import type { ProgressLine } from './progress.ts'

/** Entries of one call: a command of a few milliseconds, and the line is redrawn often enough. */
const PAGE = 500

/** What is to be changed: a path, or (of a directory by its number) a page of what is in it. */
export interface Where {
  readonly path: string | undefined
  readonly ino: Ino | undefined
  readonly page: { readonly cookie: number; readonly limit: number } | undefined
}

interface Changed {
  readonly changed: number
  readonly left: number
  readonly directories: readonly Ino[]
  readonly cookie: number | undefined
}

export class TreeWalk {
  readonly #admin: Admin
  readonly #change: (where: Where) => Promise<Changed>
  readonly line: ProgressLine
  changed = 0
  left = 0

  constructor(admin: Admin, change: (where: Where) => Promise<Changed>, line: ProgressLine) {
    this.#admin = admin
    this.#change = change
    this.line = line
  }

  async one(path: string): Promise<void> {
    this.#count(await this.#change({ path, ino: undefined, page: undefined }))
  }

  async tree(path: string, signal: AbortSignal): Promise<void> {
    const { type, ino: top } = await this.#admin.call('classGet', { path })
    await this.one(path)
    const directories: Ino[] = type === 'dir' ? [top] : []
    for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
      for (let cookie: number | undefined = 0; cookie !== undefined; ) {
        signal.throwIfAborted()
        const page: Changed = await this.#page(next, cookie)
        this.#count(page)
        directories.push(...page.directories)
        cookie = page.cookie
        this.line.show(`${this.changed} changed, ${directories.length} directories to go`)
      }
    }
  }

  /** A directory that is removed meanwhile has nothing left to change. */
  async #page(at: Ino, cookie: number): Promise<Changed> {
    try {
      return await this.#change({ path: undefined, ino: at, page: { cookie, limit: PAGE } })
    } catch (error) {
      if (error instanceof FsError && error.code === 'ESTALE')
        return { changed: 0, left: 0, directories: [], cookie: undefined }
      throw error
    }
  }

  #count({ changed, left }: Changed): void {
    this.changed += changed
    this.left += left
  }
}
