/*
 * What the command line asks and orders of quotas.
 */

import type { Handlers } from '../wire/peer.ts'
import { change, type Parts } from './parts.ts'
import { quotaReport } from './quota-reports.ts'
import { resolvePath } from './reports.ts'
import { allow } from './service-admin.ts'

type QuotaCalls = 'quotaSet' | 'quotaDelete' | 'quotaGet' | 'quotaList'

export function quotaHandlers(parts: Parts): Handlers<QuotaCalls> {
  const { state, holdings } = parts
  return {
    quotaSet: async ({ stamp, path, ...limits }, _bulk, context) => {
      allow(stamp, context)
      // The directory may have been made a moment ago.
      await holdings.settleAll()
      return change<'quotaSet'>(parts, stamp, () => ({ kind: 'quotaSet', ino: resolvePath(state, path), ...limits }))
    },

    quotaDelete: async ({ stamp, path }, _bulk, context) => {
      allow(stamp, context)
      await holdings.settleAll()
      return change<'quotaDelete'>(parts, stamp, () => ({ kind: 'quotaDelete', ino: resolvePath(state, path) }))
    },

    quotaGet: async ({ path }) => {
      await holdings.settleAll()
      const ino = resolvePath(state, path)
      const { quota } = state.inode(ino) ?? { quota: 0 as const }
      const chain = state.quotas.chain(quota).map((above) => above.quota)
      // One that nobody has begun to count yet is named by no inode.
      if (!chain.includes(ino)) chain.unshift(ino)
      return { reply: chain.flatMap((directory) => quotaReport(parts, directory) ?? []) }
    },

    // What mounts have changed within the last milliseconds may be missing: nobody is called in for a list.
    quotaList: ({ cursor, limit }) => {
      const page = state.quotas.page(cursor, Math.max(1, limit))
      const last = page.length < limit ? 0 : (page.at(-1) ?? 0)
      return { reply: { quotas: page.flatMap((directory) => quotaReport(parts, directory) ?? []), cursor: last } }
    },
  }
}
