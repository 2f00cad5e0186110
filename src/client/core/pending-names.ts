/*
 * Names that were changed here and that the master has not confirmed: the changes in their order, and what this client
 * shows because of them. An inode or a name is here for as long as one change of it is; then what the master says counts.
 */

import {
  type Attr,
  type AttrChange,
  changedAttr,
  directoryWith,
  later,
  newAttr,
  type Time,
  withClass,
} from '../../base/attr.ts'
import type { Ino } from '../../base/ids.ts'
import { type ClassRule, classByRules } from '../../topology/class-patterns.ts'
import type { NameChange } from '../../wire/shapes.ts'

interface Inode {
  /** As shown here; undefined: it is only known that the master's word about it is not the last. */
  attr: Attr | undefined
  changes: number
  /** The master has not heard of it at all. */
  unborn: boolean
}

interface Name {
  /** 0: there is no such name. */
  ino: number
  changes: number
}

export class PendingNames {
  /** Not confirmed, oldest first. */
  #queue: NameChange[] = []
  readonly #inodes = new Map<Ino, Inode>()
  readonly #names = new Map<Ino, Map<string, Name>>()

  get size(): number {
    return this.#queue.length
  }

  /** The oldest changes, which stay here until they are `done`. */
  oldest(count: number): NameChange[] {
    return this.#queue.slice(0, count)
  }

  /** A new inode with its name; `directory`: the parent as shown before. */
  make(
    directory: Attr,
    name: string,
    ino: Ino,
    node: NonNullable<NameChange['node']>,
    now: Time,
    rules: readonly ClassRule[] = [],
  ): Attr {
    const time = later(now, directory.ctime)
    const born = newAttr(directory, { ...node, ino }, time)
    const classId = classByRules(rules, name, born)
    const attr = classId === undefined ? born : withClass(born, classId)
    this.#add({ kind: 'make', parent: directory.ino, name, ino, time, node, change: undefined }, ino)
    const made = this.#touch(ino)
    made.attr = attr
    made.unborn = true
    this.#touch(directory.ino).attr = directoryWith(directory, 1, attr.type === 'dir' ? 1 : 0, time)
    return attr
  }

  /** A name goes; `child`: what it stands for. */
  remove(kind: 'unlink' | 'rmdir', directory: Attr, name: string, child: Ino, now: Time): void {
    const time = later(now, directory.ctime)
    this.#add({ kind, parent: directory.ino, name, ino: child, time, node: undefined, change: undefined }, 0)
    this.#touch(child).attr = undefined
    this.#touch(directory.ino).attr = directoryWith(directory, -1, kind === 'rmdir' ? -1 : 0, time)
  }

  /** Attributes of a directory itself; set-id bits of a directory mean something else and stay. */
  setattr(directory: Attr, change: AttrChange, now: Time): Attr {
    const { ino } = directory
    const time = later(now, directory.ctime)
    const wish = { ...change, killSuidGid: undefined }
    this.#queue.push({ kind: 'setattr', parent: ino, name: '', ino, time, node: undefined, change: wish })
    const attr = { ...changedAttr(directory, wish, time), version: directory.version + 1 }
    this.#touch(ino).attr = attr
    return attr
  }

  /** What a name stands for here, 0 for nothing; undefined when nothing is pending for it. */
  name(parent: Ino, name: string): number | undefined {
    return this.#names.get(parent)?.get(name)?.ino
  }

  attr(ino: Ino): Attr | undefined {
    return this.#inodes.get(ino)?.attr
  }

  /** Whether the master's word about the inode, or about names in it, may be out of date. */
  involves(ino: Ino): boolean {
    return this.#inodes.has(ino)
  }

  unborn(ino: Ino): boolean {
    return this.#inodes.get(ino)?.unborn ?? false
  }

  /** Directories with changed names that the master knows. */
  parents(): Ino[] {
    return [...new Set(this.#queue.map(({ parent }) => parent))].filter((ino) => !this.unborn(ino))
  }

  /** The oldest change is no longer pending. Answers what was shown of a new inode, when nothing more of it is pending. */
  done(): Attr | undefined {
    const change = this.#queue.shift()
    if (change === undefined) return undefined
    const { parent, name, ino, kind } = change
    if (kind === 'setattr') {
      this.#untouch(ino)
      return undefined
    }
    const names = this.#names.get(parent)
    const entry = names?.get(name)
    if (names !== undefined && entry !== undefined && --entry.changes === 0) {
      names.delete(name)
      if (names.size === 0) this.#names.delete(parent)
    }
    this.#untouch(parent)
    const made = this.#inodes.get(ino)
    if (kind === 'make' && made !== undefined) made.unborn = false
    return this.#untouch(ino)
  }

  #add(change: NameChange, standsFor: number): void {
    this.#queue.push(change)
    let names = this.#names.get(change.parent)
    if (names === undefined) {
      names = new Map()
      this.#names.set(change.parent, names)
    }
    const entry = names.get(change.name)
    if (entry === undefined) names.set(change.name, { ino: standsFor, changes: 1 })
    else {
      entry.ino = standsFor
      entry.changes++
    }
  }

  #touch(ino: Ino): Inode {
    let inode = this.#inodes.get(ino)
    if (inode === undefined) {
      inode = { attr: undefined, changes: 0, unborn: false }
      this.#inodes.set(ino, inode)
    }
    inode.changes++
    return inode
  }

  #untouch(ino: Ino): Attr | undefined {
    const inode = this.#inodes.get(ino)
    if (inode === undefined || --inode.changes > 0) return undefined
    this.#inodes.delete(ino)
    return inode.attr
  }
}
