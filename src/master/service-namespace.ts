/*
 * Names, attributes, extended attributes: what a mount asks most. Reads are answered at once from the state and note what
 * the session has been told; changes go through the loop.
 */

import type { Attr } from '../base/attr.ts'
import { FsError } from '../base/fault.ts'
import type { Ino, SessionId } from '../base/ids.ts'
import type { Answer, Handlers } from '../wire/peer.ts'
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

/** Extents that ride along with open: a file of some GiB written in order is complete. */
const OPEN_EXTENTS = 256

export function namespaceHandlers(parts: Parts): Handlers<NamespaceCalls> {
  const { state, sessions, loop } = parts
  const answerAttr = (session: SessionId, ino: Ino): { reply: Attr } | Promise<{ reply: Attr }> => {
    const answer = (): { reply: Attr } => {
      const asking = sessions.heard(session)
      const attr = attrOf(state, ino)
      asking.told(ino)
      return { reply: attr }
    }
    return sessions.recall(session, [ino])?.then(answer) ?? answer()
  }
  return {
    lookup: ({ session, parent, name }) => {
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
    },

    getattr: ({ session, ino }) => answerAttr(session, ino),

    setattr: ({ stamp, ino, change: wish }) => {
      const set = () =>
        change<'setattr'>(parts, stamp, () => ({ kind: 'setattr', ino, change: wish }), { tells: [ino] })
      return sessions.recall(stamp.session, [ino])?.then(set) ?? set()
    },

    make: ({ stamp, ...wish }) =>
      change<'make'>(parts, stamp, () => ({ kind: 'make', ...wish, ino: state.nextIds().ino }), {
        tells: [wish.parent],
        applied: (attr) => sessions.find(stamp.session)?.told(attr.ino),
      }),

    create: ({ stamp, ...wish }) =>
      change<'create'>(parts, stamp, () => ({ kind: 'create', ...wish, ino: state.nextIds().ino }), {
        tells: [wish.parent],
        applied: ({ attr, created }) => {
          const asking = sessions.find(stamp.session)
          if (created) sessions.made(stamp.session, attr.ino)
          else asking?.opens?.add(attr.ino)
          asking?.told(attr.ino)
        },
      }),

    unlink: ({ stamp, parent, name }) =>
      change<'unlink'>(parts, stamp, () => {
        const entry = state.lookup(parent, name)
        const openIn = entry === undefined ? [] : sessions.openIn(entry.ino)
        return { kind: 'unlink', parent, name, openIn }
      }),

    rmdir: ({ stamp, parent, name }) => change<'rmdir'>(parts, stamp, () => ({ kind: 'rmdir', parent, name })),

    rename: ({ stamp, ...wish }) =>
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

    link: ({ stamp, ino, newParent, newName }) =>
      change<'link'>(parts, stamp, () => ({ kind: 'link', ino, newParent, newName }), { tells: [ino, newParent] }),

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
      if (!sessions.anyMakerBut(session)) return list()
      const inos = state.readdirPage(ino, cookie, limit).entries.map((entry) => entry.ino)
      return sessions.recall(session, inos)?.then(list) ?? list()
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
        const { extents, complete } = state.extentsFrom(ino, 0, OPEN_EXTENTS)
        return { reply: { attr, extents, complete, chunks: chunksOf(parts, extents) } }
      }
      return sessions.recall(session, [ino])?.then(open) ?? open()
    },

    release: ({ session, inos }) => {
      const asking = sessions.find(session)
      // One way: a session that is over has given up everything already.
      if (asking === undefined) return NOTHING
      const unlinked = inos.filter((ino) => {
        sessions.released(asking, ino)
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
      change<'setxattr'>(parts, stamp, () => ({ kind: 'setxattr', ...wish }), { tells: [wish.ino] }),

    listxattr: ({ session, ino }) => {
      sessions.heard(session)
      const { attr } = inodeOf(state, ino)
      return { reply: { names: attr.hasXattr ? state.xattrs(ino) : [] } }
    },

    removexattr: ({ stamp, ino, name }) =>
      change<'removexattr'>(parts, stamp, () => ({ kind: 'removexattr', ino, name }), { tells: [ino] }),
  }
}

/** The last opens of unlinked inodes are gone. Refused only while the disk takes no writes: the session's end repeats it. */
export function giveUp(loop: Parts['loop'], session: number, inos: Parameters<typeof inodeOf>[1][]): void {
  loop.submit({
    prepare: () => ({ ok: { kind: 'released', session: session as never, inos } }),
    done: () => undefined,
  })
}
