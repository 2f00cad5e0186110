/*
 * Names that a session changed first and tells of afterwards, because it held the directories (service-namespace.ts says
 * who may hold one). Each change is carried out, or refused, by itself, in the order in which the session made them.
 *
 * What is told again after the session was lost, when nobody knows any more whether it was heard the first time, does no
 * harm: an inode number belongs to one session for ever, so the inode itself says whether it has been made, and a name is
 * removed only while it stands for the inode that it was to be taken from.
 */

import { later } from '../../base/attr.ts'
import { errno } from '../../base/errno.ts'
import { isRefusal, ok, type Result, refuse } from '../../base/fault.ts'
import type { Ino, SessionId } from '../../base/ids.ts'
import type { NameChange } from '../../wire/shapes.ts'
import { setattr } from './attributes.ts'
import type { CommandOf } from './commands.ts'
import { attrOf, makeNamed, rmdir, unlink } from './namespace.ts'
import { badName, type Work } from './work.ts'

export function names(work: Work, command: CommandOf<'names'>): Result<unknown> {
  const parents = new Set<Ino>()
  const errnos = command.changes.map((change, i) => {
    parents.add(change.parent)
    const result = carryOut(work, change, command.openIn[i] ?? [])
    return isRefusal(result) ? errno[result.errno].number : 0
  })
  return ok({ errnos, parents: [...parents].flatMap((ino) => attrOf(work, ino) ?? []) })
}

export function inosReserve(work: Work, { count }: CommandOf<'inosReserve'>): Result<unknown> {
  const { nextIno } = work.state.counters()
  work.state.setCounters({ nextIno: nextIno + count })
  return ok({ first: nextIno, count })
}

function carryOut(work: Work, change: NameChange, openIn: readonly SessionId[]): Result<unknown> {
  const dir = work.directory(change.parent)
  if (isRefusal(dir)) return dir
  // A directory's times never go back, whatever the clock of the session says.
  work.now = later(change.time, dir.ok.attr.ctime)
  const { parent, name, ino, node } = change
  if (change.kind === 'setattr') return setattr(work, { kind: 'setattr', ino: parent, change: change.change ?? {} })
  const entry = work.state.lookup(parent, name)
  if (change.kind !== 'make') {
    if (entry === undefined || entry.ino !== ino) return refuse('ENOENT', 'the name stands for something else')
    return change.kind === 'rmdir'
      ? rmdir(work, { ...change, kind: 'rmdir' })
      : unlink(work, { kind: 'unlink', parent, name, openIn: [...openIn] })
  }
  if (node === undefined) return refuse('EINVAL', 'nothing said of what is to be made')
  const bad = badName(name)
  if (bad !== undefined) return bad
  if (entry !== undefined) return entry.ino === ino ? ok(undefined) : refuse('EEXIST')
  // Told again: it was made, and has been removed since.
  if (work.state.inode(ino) !== undefined) return ok(undefined)
  if (ino >= work.state.counters().nextIno) return refuse('EINVAL', `inode number ${ino} was given to nobody`)
  return makeNamed(work, dir.ok, name, { ...node, ino, umask: 0 })
}
