/*
 * Names, attributes, extended attributes: what a mount asks most. Reads are answered at once from the state and note what
 * the session has been told; changes go through the loop.
 */

import type { Attr } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import type { Answer, Handlers } from '../wire/peer.ts'
import type { NameChange } from '../wire/protocol.ts'
import type { Wanted } from './holdings.ts'
import { attrOf, change, chunksOf, directoryOf, inodeOf, NOTHING, type Parts } from './parts.ts'
import { OPENS_MAX } from './sessions.ts'

type NamespaceCalls =
  | 'lookup'
  | 'getattr'
  | 'setattr'
  | 'make'
  | 'create'
  | 'unlink'
  | 'rmdir'
  | 'rename'
  | 'link'
  | 'readlink'
  | 'readdir'
  | 'open'
  | 'release'
  | 'getxattr'
  | 'setxattr'
  | 'listxattr'
  | 'removexattr'
  | 'names'
  | 'inosReserve'
  | 'letGo'

/** Extents that ride along with open: a file of some GiB written in order is complete. */
const OPEN_EXTENTS = 256

export function namespaceHandlers(parts: Parts): Handlers<NamespaceCalls> {
  const { state, sessions, holdings, loop } = parts
  /** Runs it when nobody else holds anything back of what is wanted: at once, nearly always. */
  const settled = <T>(by: number, wanted: Wanted, run: () => T | Promise<T>): T | Promise<T> =>
    holdings.settle(by, wanted)?.then(run) ?? run()
  const answerAttr = (session: SessionId, ino: Ino): { reply: Attr } | Promise<{ reply: Attr }> =>
    settled(session, { inos: [ino] }, () => {
      const asking = sessions.heard(session)
      const attr = attrOf(state, ino)
      asking.told(ino)
      return { reply: attr }
    })
  /** The directory that a name stands for, as something whose own names are wanted. */
  const directoryAt = (parent: Ino, name: string): Wanted => {
    const entry = state.lookup(parent, name)
    return entry?.type === 'dir' ? { directories: [entry.ino] } : {}
  }
  return {
    lookup: ({ session, parent, name }) => {
      const look = (): { reply: Attr } | Promise<{ reply: Attr }> => {
        const asking = sessions.heard(session)
        const dir = directoryOf(state, parent)
        asking.told(parent)
        if (name === '.') return { reply: dir.attr }
        if (name === '..') {
          asking.told(dir.parent)
          return { reply: attrOf(state, dir.parent) }
        }
        const entry = state.lookup(parent, name)
        if (entry === undefined) throw new FsError('ENOENT')
        return answerAttr(session, entry.ino)
      }
      return settled(session, { directories: [parent] }, look)
    },

    getattr: ({ session, ino }) => answerAttr(session, ino),

    setattr: ({ stamp, ino, change: wish }) =>
      settled(stamp.session, { inos: [ino], directories: [ino] }, () =>
        change<'setattr'>(parts, stamp, () => ({ kind: 'setattr', ino, change: wish }), { tells: [ino] }),
      ),

    make: ({ stamp, ...wish }) =>
      settled(stamp.session, { directories: [wish.parent] }, () =>
        change<'make'>(parts, stamp, () => ({ kind: 'make', ...wish, ino: state.nextIds().ino }), {
          tells: [wish.parent],
          holds: wish.parent,
          applied: ({ attr }) => {
            const asking = sessions.find(stamp.session)
            asking?.told(attr.ino)
            if (asking !== undefined && attr.type === 'dir') holdings.hold(asking, attr.ino)
          },
        }),
      ),

    create: ({ stamp, ...wish }) =>
      settled(stamp.session, { directories: [wish.parent] }, () =>
        change<'create'>(parts, stamp, () => ({ kind: 'create', ...wish, ino: state.nextIds().ino }), {
          tells: [wish.parent],
          holds: wish.parent,
          applied: ({ attr, created }) => {
            const asking = sessions.find(stamp.session)
            if (asking === undefined) return
            if (created) holdings.made(asking, attr.ino)
            else asking.opens?.add(attr.ino)
            asking.told(attr.ino)
          },
        }),
      ),

    unlink: ({ stamp, parent, name }) =>
      settled(stamp.session, { directories: [parent] }, () =>
        change<'unlink'>(
          parts,
          stamp,
          () => {
            const entry = state.lookup(parent, name)
            const openIn = entry === undefined ? [] : sessions.openIn(entry.ino)
            return { kind: 'unlink', parent, name, openIn }
          },
          { holds: parent },
        ),
      ),

    rmdir: ({ stamp, parent, name }) =>
      settled(stamp.session, { directories: [parent] }, () =>
        settled(stamp.session, directoryAt(parent, name), () =>
          change<'rmdir'>(parts, stamp, () => ({ kind: 'rmdir', parent, name }), { holds: parent }),
        ),
      ),

    names: ({ stamp, changes }) => {
      for (const { parent } of changes) holdings.takeOver(stamp.session, parent)
      return change<'names'>(
        parts,
        stamp,
        () => ({ kind: 'names', changes, openIn: changes.map((one) => mayHaveOpen(one, stamp.session)) }),
        {
          applied: ({ errnos }) =>
            remember(
              stamp.session,
              changes.filter((_, i) => errnos[i] === 0),
            ),
        },
      )
    },

    inosReserve: ({ stamp, count }) =>
      change<'inosReserve'>(parts, stamp, () => ({ kind: 'inosReserve', count }), {
        applied: ({ first, count }) => {
          const asking = sessions.find(stamp.session)
          if (asking !== undefined) holdings.reserved(asking, first, count)
        },
      }),

    letGo: ({ session, directories }) => {
      const leaving = sessions.find(session)
      if (leaving !== undefined) holdings.letGo(leaving, directories)
      return NOTHING
    },

    rename: ({ stamp, ...wish }) =>
      settled(stamp.session, { directories: [wish.parent, wish.newParent] }, () =>
        settled(stamp.session, directoryAt(wish.newParent, wish.newName), () =>
          change<'rename'>(
            parts,
            stamp,
            () => {
              const replaced = wish.exchange || wish.noReplace ? undefined : state.lookup(wish.newParent, wish.newName)
              const openIn = replaced === undefined ? [] : sessions.openIn(replaced.ino)
              return { kind: 'rename', ...wish, openIn }
            },
            { tells: [wish.parent, wish.newParent] },
          ),
        ),
      ),

    link: ({ stamp, ino, newParent, newName }) =>
      settled(stamp.session, { directories: [newParent] }, () =>
        change<'link'>(parts, stamp, () => ({ kind: 'link', ino, newParent, newName }), { tells: [ino, newParent] }),
      ),

    readlink: ({ session, ino }) => {
      sessions.heard(session)
      const record = inodeOf(state, ino)
      if (record.attr.type !== 'symlink') throw new FsError('EINVAL', `inode ${ino} is not a symlink`)
      return { reply: { target: record.target } }
    },

    readdir: ({ session, ino, cookie, limit }) => {
      const list = (): Answer<'readdir'> => {
        const asking = sessions.heard(session)
        const dir = directoryOf(state, ino)
        asking.told(ino)
        const page = state.readdirPage(ino, cookie, limit)
        const entries = page.entries.map((entry) => {
          asking.told(entry.ino)
          return { name: entry.name, cookie: entry.cookie, attr: attrOf(state, entry.ino) }
        })
        return { reply: { entries, end: page.end, version: dir.attr.version } }
      }
      if (sessions.isAlone(session)) return list()
      return settled(session, { directories: [ino] }, () => {
        const inos = state.readdirPage(ino, cookie, limit).entries.map((entry) => entry.ino)
        return settled(session, { inos }, list)
      })
    },

    open: ({ session, ino }) => {
      const open = (): Answer<'open'> => {
        const asking = sessions.heard(session)
        const attr = attrOf(state, ino)
        if (attr.type === 'dir') throw new FsError('EISDIR', `inode ${ino}`)
        if (asking.opens !== undefined && asking.opens.size >= OPENS_MAX) throw new FsError('ENFILE')
        asking.opens?.add(ino)
        asking.told(ino)
        if (attr.used === 0) return { reply: { attr, extents: [], complete: true, chunks: [] } }
        const { extents, complete } = state.extents.from(ino, 0, OPEN_EXTENTS)
        return { reply: { attr, extents, complete, chunks: chunksOf(parts, extents) } }
      }
      return settled(session, { inos: [ino] }, open)
    },

    release: ({ session, inos }) => {
      const asking = sessions.find(session)
      // One way: a session that is over has given up everything already.
      if (asking === undefined) return NOTHING
      const unlinked = inos.filter((ino) => {
        holdings.released(asking, ino)
        return state.inode(ino)?.attr.nlink === 0 && state.sustainedBy(ino).includes(session)
      })
      if (unlinked.length > 0) giveUp(loop, session, unlinked)
      return NOTHING
    },

    getxattr: ({ session, ino, name }) => {
      sessions.heard(session)
      const { attr } = inodeOf(state, ino)
      const value = attr.hasXattr ? state.xattr(ino, name) : undefined
      if (value === undefined) throw new FsError('ENODATA')
      return { reply: { value } }
    },

    setxattr: ({ stamp, ...wish }) =>
      settled(stamp.session, { directories: [wish.ino] }, () =>
        change<'setxattr'>(parts, stamp, () => ({ kind: 'setxattr', ...wish }), { tells: [wish.ino] }),
      ),

    listxattr: ({ session, ino }) => {
      sessions.heard(session)
      const { attr } = inodeOf(state, ino)
      return { reply: { names: attr.hasXattr ? state.xattrs(ino) : [] } }
    },

    removexattr: ({ stamp, ino, name }) =>
      settled(stamp.session, { directories: [ino] }, () =>
        change<'removexattr'>(parts, stamp, () => ({ kind: 'removexattr', ino, name }), { tells: [ino] }),
      ),
  }

  /** Of a name that goes. One made in the same batch is not there yet: then the session itself may have it open. */
  function mayHaveOpen({ kind, parent, name, ino }: NameChange, by: SessionId): SessionId[] {
    if (kind !== 'unlink') return []
    return state.lookup(parent, name)?.ino === ino ? sessions.openIn(ino) : [by]
  }

  /** What was made: known to the session, held by it, open in it. */
  function remember(by: SessionId, made: readonly NameChange[]): void {
    const asking = sessions.find(by)
    if (asking === undefined) return
    for (const { kind, ino, node } of made) {
      if (kind !== 'make') continue
      asking.told(ino)
      if (node?.type === 'dir') holdings.hold(asking, ino)
      else if (node?.opened) holdings.made(asking, ino)
    }
  }
}

/** The last opens of unlinked inodes are gone. Refused only while the disk takes no writes: the session's end repeats it. */
export function giveUp(loop: Parts['loop'], session: number, inos: Parameters<typeof inodeOf>[1][]): void {
  loop.submit({
    prepare: () => ({ ok: { kind: 'released', session: session as never, inos } }),
    done: () => undefined,
  })
}
