/*
 * Names, attributes, extended attributes: what a mount asks most. Reads are answered at once from the state and note what
 * the session has been told; changes go through the loop.
 */

import type { Attr } from '../base/attr.ts'
import { FsError, refuse } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import type { Answer, Handlers, Peer } from '../wire/peer.ts'
import type { NameChange } from '../wire/shapes.ts'
import type { Wanted } from './holdings.ts'
import { attrOf, change, chunksOf, directoryOf, inodeOf, NOTHING, type Parts } from './parts.ts'
import { ranked } from './read-order.ts'
import { OPENS_MAX, type Session } from './sessions.ts'

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
  const { state, sessions, holdings, quotaRoom, loop } = parts
  /** Runs it when nobody else holds anything back of what is wanted: at once, nearly always. */
  const settled = <T>(by: number, wanted: Wanted, run: () => T | Promise<T>): T | Promise<T> =>
    holdings.settle(by, wanted)?.then(run) ?? run()
  /**
   * Whether whoever asked is there to hear it. A request that waited while its connection ended is asked again on the next
   * one; what it would open here, nobody would ever close.
   */
  const listens = (session: SessionId, peer: Peer): boolean => sessions.find(session)?.peer === peer
  const answerAttr = (session: SessionId, ino: Ino): { reply: Attr } | Promise<{ reply: Attr }> =>
    settled(session, { inos: [ino] }, () => {
      const asking = sessions.heard(session)
      const attr = attrOf(state, ino)
      asking.told(ino)
      return { reply: attr }
    })
  /**
   * A change in some directories that takes away the directory which a name stands for, if it is one: its own names are
   * wanted then. Which one that is may change while it is waited for, so it is looked at again in the very turn.
   */
  const takingAway = <T>(by: number, directories: Ino[], name: string, run: (again: () => boolean) => Promise<T>) => {
    const lost = (): Ino[] => {
      const entry = state.lookup(directories.at(-1)!, name)
      return entry?.type === 'dir' ? [entry.ino] : []
    }
    const attempt = (): Promise<T> =>
      settled(by, { directories: [...directories, ...lost()] }, async () => {
        let again = false
        try {
          return await run(() => {
            again = lost().some((ino) => holdings.isElsewhere(by, ino))
            return again
          })
        } catch (error) {
          if (!again) throw error
          return attempt()
        }
      }) as Promise<T>
    return attempt()
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

    make: ({ stamp, ...wish }, _bulk, { peer }) =>
      settled(stamp.session, { directories: [wish.parent] }, () =>
        change<'make'>(parts, stamp, () => ({ kind: 'make', ...wish, ino: newIno() }), {
          tells: [wish.parent],
          holds: wish.parent,
          applied: ({ attr }) => {
            const asking = sessions.find(stamp.session)
            if (asking === undefined || !listens(stamp.session, peer)) return
            asking.told(attr.ino)
            holdIfThere(asking, attr)
          },
        }),
      ),

    create: ({ stamp, ...wish }, _bulk, { peer }) =>
      settled(stamp.session, { directories: [wish.parent] }, () =>
        change<'create'>(parts, stamp, () => ({ kind: 'create', ...wish, ino: newIno() }), {
          tells: [wish.parent],
          holds: wish.parent,
          applied: ({ attr, created }) => {
            const asking = sessions.find(stamp.session)
            if (asking === undefined || !listens(stamp.session, peer)) return
            if (created) holdings.made(asking, attr.ino)
            else if (attr.type === 'file') asking.opens?.add(attr.ino)
            asking.told(attr.ino)
          },
        }).then((answer) =>
          quotaRoom.isNear(answer.reply.attr.ino) ? { ...answer, reply: { ...answer.reply, careful: true } } : answer,
        ),
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
      takingAway(stamp.session, [parent], name, (again) =>
        change<'rmdir'>(
          parts,
          stamp,
          () => (again() ? refuse('EAGAIN', 'somebody else holds it') : { kind: 'rmdir', parent, name }),
          { holds: parent, applied: ({ ino }) => holdings.gone(ino) },
        ),
      ),

    names: ({ stamp, changes }, _bulk, { peer }) => {
      const tell = (): Promise<Answer<'names'>> =>
        change<'names'>(parts, stamp, () => ({ kind: 'names', changes, openIn: openInOf(changes, stamp.session) }), {
          applied: ({ errnos, parents }) => {
            const asking = sessions.find(stamp.session)
            if (asking === undefined || !listens(stamp.session, peer)) return
            for (const { ino } of parents) asking.told(ino)
            remember(
              asking,
              changes.filter((_, i) => errnos[i] === 0),
            )
          },
        })
      sessions.heard(stamp.session)
      const directories = new Set(changes.map(({ parent }) => parent))
      return holdings.takeOver(stamp.session, directories)?.then(tell) ?? tell()
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
      takingAway(stamp.session, [wish.parent, wish.newParent], wish.newName, (again) =>
        change<'rename'>(
          parts,
          stamp,
          () => {
            if (again()) return refuse('EAGAIN', 'somebody else holds what it replaces')
            const replaced = wish.exchange || wish.noReplace ? undefined : state.lookup(wish.newParent, wish.newName)
            const openIn = replaced === undefined ? [] : sessions.openIn(replaced.ino)
            return { kind: 'rename', ...wish, openIn }
          },
          {
            tells: [wish.parent, wish.newParent],
            applied: ({ ino, replaced }) => {
              // Whoever holds it may have been given it where there was room.
              const isDirectory = state.inode(ino)?.attr.type === 'dir'
              if (isDirectory && quotaRoom.isNear(ino))
                holdings.callIn((held) => held === ino || quotaRoom.countsIn(held, new Set([ino])))
              if (replaced !== undefined && state.inode(replaced) === undefined) holdings.gone(replaced)
            },
          },
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

    open: ({ session, ino }, _bulk, { peer }) => {
      const open = (): Answer<'open'> => {
        const asking = sessions.heard(session)
        if (!listens(session, peer)) throw new FsError('ECONNRESET', 'asked on a connection that has ended')
        const attr = attrOf(state, ino)
        if (attr.type === 'dir') throw new FsError('EISDIR', `inode ${ino}`)
        if (asking.opens !== undefined && asking.opens.size >= OPENS_MAX) throw new FsError('ENFILE')
        asking.opens?.add(ino)
        asking.told(ino)
        if (attr.used === 0) return { reply: { attr, extents: [], complete: true, chunks: [] } }
        const { extents, complete } = state.extents.from(ino, 0, OPEN_EXTENTS)
        return { reply: { attr, extents, complete, chunks: ranked(parts, asking, chunksOf(parts, extents)) } }
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

  /** The number of a new inode. Whatever is remembered of it is of one that was never stored. */
  function newIno(): Ino {
    const { ino } = state.nextIds()
    holdings.gone(ino)
    return ino
  }

  /** For each change who may have open what it unlinks. What is made in the same batch is nobody else's. */
  function openInOf(changes: readonly NameChange[], by: SessionId): SessionId[][] {
    const opened = new Set<Ino>()
    return changes.map(({ kind, parent, name, ino, node }) => {
      if (kind === 'make' && node?.opened) opened.add(ino)
      if (kind !== 'unlink') return []
      if (state.lookup(parent, name)?.ino === ino) return sessions.openIn(ino)
      return opened.has(ino) ? [by] : []
    })
  }

  /** A directory just made; or long ago, if this answers the request once more. */
  function holdIfThere(asking: Session, { ino, type }: Pick<Attr, 'ino' | 'type'>): void {
    if (type === 'dir' && state.inode(ino) !== undefined) holdings.hold(asking, ino)
  }

  /** What was made: known to the session, held by it, open in it. What was removed is held by nobody. */
  function remember(asking: Session, done: readonly NameChange[]): void {
    for (const { kind, ino, node } of done) {
      if (kind === 'rmdir') holdings.gone(ino)
      if (kind !== 'make') continue
      asking.told(ino)
      if (node?.type === 'dir') holdIfThere(asking, { ino, type: 'dir' })
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
