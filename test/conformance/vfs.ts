/*
 * What every Vfs must do. A suite with a factory: the reference model in memory, a cluster in one process and a cluster of
 * real processes are judged by the same sentences. With a second client of the same cluster it also says what the two see
 * of each other.
 */

import { afterAll, beforeAll, describe } from 'vitest'
import type { Vfs } from '../../src/client/vfs.ts'
import { attributeTests } from './vfs-attributes.ts'
import { dataTests } from './vfs-data.ts'
import { lockTests } from './vfs-locks.ts'
import { nameTests } from './vfs-names.ts'
import { twoClientTests } from './vfs-two-clients.ts'

export interface Started {
  readonly vfs: Vfs
  /** Another client of the same cluster. */
  readonly second?: Vfs
  /** Ends and starts whatever keeps the metadata; `vfs` goes on afterwards. */
  readonly restart?: () => Promise<void>
  stop(): Promise<void>
}

export function vfsConformance(name: string, start: () => Promise<Started>, has: { second: boolean }): void {
  describe(`vfs: ${name}`, () => {
    let running: Started | undefined
    const started = (): Started => {
      if (running === undefined) throw new Error('not started')
      return running
    }
    beforeAll(async () => {
      running = await start()
    })
    afterAll(async () => {
      await running?.stop()
    })
    nameTests(started)
    dataTests(started)
    attributeTests(started)
    lockTests(started)
    if (has.second) twoClientTests(started)
  })
}
