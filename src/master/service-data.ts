/*
 * Where the bytes of files are, and new places for new bytes.
 */

import { refuse } from '../base/fault.ts'
import type { ChunkId } from '../base/ids.ts'
import { CHUNK_BYTES_MAX } from '../base/limits.ts'
import { inForce } from '../topology/storage-class.ts'
import type { Handlers } from '../wire/peer.ts'
import { wishedCopies, wishOf } from './core/wishes.ts'
import { attrOf, change, chunksOf, NOTHING, type Parts, placesOf } from './parts.ts'
import { quotaSpace } from './quota-room.ts'
import { ranked } from './read-order.ts'

type DataCalls =
  | 'locate'
  | 'chunkPlaces'
  | 'chunkOpen'
  | 'chunkSeal'
  | 'commit'
  | 'fallocate'
  | 'copyRange'
  | 'sync'
  | 'statfs'

const LOCATE_EXTENTS = 4096
/** Inodes cost about 200 bytes of the metadata disk each; this says "no limit worth naming" to df -i. */
const FILES_FREE = 2 ** 40

export function dataHandlers(parts: Parts): Handlers<DataCalls> {
  const { state, sessions, holdings, nodes, measured, loop } = parts
  return {
    locate: ({ session, ino, offset, length }) => {
      const asking = sessions.heard(session)
      const attr = attrOf(state, ino)
      asking.told(ino)
      const end = offset + length
      const { extents, complete } = state.extents.from(ino, offset, LOCATE_EXTENTS, end)
      const last = extents.at(-1)
      const upTo = complete || last === undefined ? end : last.offset + last.length
      return { reply: { attr, extents, upTo, chunks: ranked(parts, asking, chunksOf(parts, extents)) } }
    },

    chunkPlaces: ({ session, chunks }) => {
      const asking = sessions.heard(session)
      const places = chunks.flatMap((chunk) => placesOf(state, nodes, chunk) ?? [])
      return { reply: { chunks: ranked(parts, asking, places) } }
    },

    chunkOpen: ({ stamp, count, avoid, classId = 0 }, _bulk, { peer }) => {
      const near = measured.whereIs(peer, sessions.find(stamp.session)?.place)
      const opened = change<'chunkOpen'>(parts, stamp, () => {
        const cls = state.classes.meaning(classId)
        const wanted = inForce(cls, 'create')
        const first = state.nextIds().chunk
        const chunks = []
        for (let i = 0; i < count; i++) {
          const wish = { bytes: CHUNK_BYTES_MAX, room: 'some', near } as const
          let placement = nodes.chooseFor(wanted, { ...wish, avoidDisks: new Set(avoid) })
          // Disks that failed a moment ago are better than none.
          if (placement.disks.length === 0) placement = nodes.chooseFor(wanted, wish)
          if (placement.disks.length === 0) {
            const only = wanted.mode === 'strict' ? ` of those that class ${cls.name} writes to` : ''
            return nodes.waitingHelps()
              ? refuse('EAGAIN', `no chunkserver${only} that takes new data is connected`)
              : refuse('ENOSPC', `no disk${only} takes new data, and none is expected back`)
          }
          for (const disk of placement.disks) nodes.disk(disk)!.opened++
          chunks.push({ chunk: (first + i) as ChunkId, disks: [...placement.disks] })
        }
        const bytesMax = nodes.bytesMax(chunks.flatMap(({ disks }) => disks))
        return {
          kind: 'chunkOpen',
          chunks,
          // Until it is sealed it has those it was created with; what is missing is made then.
          copies: wishedCopies(wishOf(cls, 'keep')),
          bytesMax: bytesMax < CHUNK_BYTES_MAX ? bytesMax : undefined,
          classId: classId === 0 ? undefined : classId,
        }
      })
      // The order of writing is the command's; what it reads of its own is read like anything else.
      return opened.then(({ reply }) => {
        const asking = sessions.find(stamp.session)
        return { reply: { ...reply, chunks: ranked(parts, asking, reply.chunks) } }
      })
    },

    chunkSeal: ({ stamp, chunk, length, failed }) =>
      change<'chunkSeal'>(parts, stamp, () => ({ kind: 'chunkSeal', chunk, length, failed })),

    commit: ({ stamp, files, sync }) =>
      change<'commit'>(parts, stamp, () => ({ kind: 'commit', files }), { sync, tells: files.map((file) => file.ino) }),

    fallocate: ({ stamp, kind: what, ...wish }) => {
      const allocate = () =>
        change<'fallocate'>(
          parts,
          stamp,
          () => {
            // Nothing is kept aside: this is a warning in time, and while disks are away nobody can give it.
            const away = (): boolean => [...nodes.disks()].some((disk) => disk.awaySinceMs !== undefined)
            const tooMuch = wish.length > nodes.capacity(state.settings().copies).availableBytes
            if (what === 'reserve' && tooMuch && !away()) return refuse('ENOSPC')
            return { kind: 'fallocate', what, ...wish }
          },
          { tells: [wish.ino] },
        )
      return holdings.settle(stamp.session, { inos: [wish.ino] })?.then(allocate) ?? allocate()
    },

    copyRange: async ({ stamp, ...wish }) => {
      await holdings.settle(stamp.session, { inos: [wish.source, wish.target] })
      return change<'copyRange'>(parts, stamp, () => ({ kind: 'copyRange', ...wish }), { tells: [wish.target] })
    },

    sync: async ({ session }) => {
      sessions.heard(session)
      await loop.flushed()
      return NOTHING
    },

    statfs: ({ session, ino }) => {
      sessions.heard(session)
      const { bytes, inodes } = ino === undefined ? {} : quotaSpace(state, ino, parts.clock.now().sec)
      const { totalBytes, availableBytes } = nodes.capacity(state.settings().copies)
      const { files, directories } = state.counters()
      return {
        reply: {
          totalBytes: bytes?.total ?? totalBytes,
          freeBytes: bytes?.free ?? availableBytes,
          availableBytes: Math.min(bytes?.free ?? availableBytes, availableBytes),
          files: inodes?.total ?? files + directories + FILES_FREE,
          filesFree: inodes?.free ?? FILES_FREE,
        },
      }
    },
  }
}
