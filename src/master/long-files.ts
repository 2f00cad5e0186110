/*
 * Files of very many extents (databases, images written at random) are cut in bounded steps before the call that cuts
 * them is carried out as a whole: one command for a million extents would hold up everybody for seconds.
 *
 * A truncation goes from the end of the file, so between two steps, and after a crash, the file is one that has been
 * truncated less far: nothing that is left reads as zeros. A hole is punched piece by piece, each as it was asked for.
 * What was answered before is not done again, so a repeated request has no steps.
 */

import type { Ino } from '../base/ids.ts'
import type { Handlers } from '../wire/peer.ts'
import type { Stamp } from '../wire/shapes.ts'
import type { Parts } from './parts.ts'

/** As many extents as one command frees at most anywhere else: about 20 ms. */
export const CUT_AT_ONCE = 4_096

type Cutting = 'setattr' | 'create' | 'fallocate'

export function cutInSteps(
  { state, loop }: Pick<Parts, 'state' | 'loop'>,
  handlers: Handlers<Cutting>,
): Handlers<Cutting> {
  const isMany = (ino: Ino, from: number, to?: number): boolean => {
    // Every extent has a byte at least, so that most files need no look at their extents.
    if ((state.inode(ino)?.attr.used ?? 0) <= CUT_AT_ONCE) return false
    return !state.extents.from(ino, from, CUT_AT_ONCE, to).complete
  }
  const isFresh = ({ session, seq }: Stamp): boolean => {
    const known = state.session(session)
    return known !== undefined && seq >= known.acked && state.reply(session, seq) === undefined
  }
  const truncate = async (ino: Ino, size: number): Promise<void> => {
    while (isMany(ino, size)) await loop.command(() => ({ ok: { kind: 'shrunk', ino, size, limit: CUT_AT_ONCE } }))
  }
  const punch = async (ino: Ino, offset: number, end: number): Promise<void> => {
    for (let from = offset; isMany(ino, from, end); ) {
      const last = state.extents.from(ino, from, CUT_AT_ONCE, end).extents.at(-1)!
      const piece = { ino, offset: from, length: Math.min(end, last.offset + last.length) - from }
      await loop.command(() => ({
        ok: { kind: 'fallocate', what: 'punch', keepSize: true, killSuidGid: undefined, ...piece },
      }))
      from += piece.length
    }
  }
  return {
    setattr: (request, bulk, context) => {
      const { stamp, ino, change } = request
      const { size } = change
      if (size === undefined || !isMany(ino, size) || !isFresh(stamp)) return handlers.setattr(request, bulk, context)
      return truncate(ino, size).then(() => handlers.setattr(request, bulk, context))
    },
    create: (request, bulk, context) => {
      const { stamp, parent, name, truncate: cuts, exclusive } = request
      const ino = cuts && !exclusive ? state.lookup(parent, name)?.ino : undefined
      if (ino === undefined || !isMany(ino, 0) || !isFresh(stamp)) return handlers.create(request, bulk, context)
      return truncate(ino, 0).then(() => handlers.create(request, bulk, context))
    },
    fallocate: (request, bulk, context) => {
      const { stamp, ino, kind, offset, length } = request
      const end = offset + length
      if (kind === 'reserve' || !isMany(ino, offset, end) || !isFresh(stamp))
        return handlers.fallocate(request, bulk, context)
      return punch(ino, offset, end).then(() => handlers.fallocate(request, bulk, context))
    },
  }
}
