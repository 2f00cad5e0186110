/*
 * Commits of many files travel together. While one batch is under way the next one gathers, so one writer waits for one
 * round trip and eight writers share it. Two lanes: a batch that wants the flush (fsync) must not make a plain close wait
 * for the disk.
 */

import type { Attr } from '../base/attr.ts'
import { errnoFromNumber } from '../base/errno.ts'
import { assert, FsError } from '../base/fault.ts'
import type { SessionId } from '../base/ids.ts'
import type { FileCommit } from '../wire/shapes.ts'
import type { MasterSession } from './session.ts'

/** Files of one commit: at some 200 bytes each well below a frame's body, and a short transaction at the master. */
const FILES_MAX = 512
/** Batches of one lane under way at a time; a second one hides the round trip of the first. */
const BATCHES_MAX = 2

interface Waiting {
  readonly file: FileCommit
  readonly session: SessionId
  resolve(attr: Attr): void
  reject(error: unknown): void
}

export class Committer {
  readonly #session: MasterSession
  readonly #lanes = { plain: { queue: [] as Waiting[], underWay: 0 }, sync: { queue: [] as Waiting[], underWay: 0 } }

  constructor(session: MasterSession) {
    this.#session = session
  }

  /**
   * The file's attributes after the commit; ESTALE when `session`, which opened the chunks, is over. At most one commit of
   * a file at a time: the caller keeps their order.
   */
  commit(file: FileCommit, sync: boolean, session: SessionId): Promise<Attr> {
    return new Promise((resolve, reject) => {
      const { queue } = this.#lanes[sync ? 'sync' : 'plain']
      queue.push({ file, session, resolve, reject })
      // Files that became ready in one turn travel together.
      if (queue.length === 1) queueMicrotask(() => this.#pump(sync))
    })
  }

  #pump(sync: boolean): void {
    const lane = this.#lanes[sync ? 'sync' : 'plain']
    while (lane.queue.length > 0 && lane.underWay < BATCHES_MAX) {
      const { session } = lane.queue[0]!
      const others = lane.queue.findIndex((waiting) => waiting.session !== session)
      const batch = lane.queue.splice(0, others === -1 ? FILES_MAX : Math.min(others, FILES_MAX))
      lane.underWay++
      void this.#send(batch, sync, session).finally(() => {
        lane.underWay--
        this.#pump(sync)
      })
    }
  }

  async #send(batch: Waiting[], sync: boolean, session: SessionId): Promise<void> {
    try {
      const request = { files: batch.map((waiting) => waiting.file), sync }
      const { files } = await this.#session.change('commit', request, undefined, undefined, session)
      batch.forEach((waiting, i) => {
        const answer = files[i]
        assert(answer !== undefined, 'the master answers a commit file by file')
        if (answer.errno !== 0 || answer.attr === undefined)
          waiting.reject(new FsError(errnoFromNumber(answer.errno), `commit of inode ${waiting.file.ino}`))
        else waiting.resolve(answer.attr)
      })
    } catch (error) {
      for (const waiting of batch) waiting.reject(error)
    }
  }
}
