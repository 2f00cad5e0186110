/*
 * The text of `info` on a meta mount: the cluster, how much is deleted and kept, whose mounts there are. Made anew when it is
 * opened, and when somebody asks for its size after a while; in between its readers see one text.
 */

import { formatBytes } from '../base/units.ts'
import type { Clock } from '../base/world.ts'
import { timeText } from './core/trash-names.ts'
import type { DeletedFiles } from './deleted-files.ts'
import type { Interruptible } from './patience.ts'
import type { MasterSession } from './session.ts'

const LIFE_MS = 1_000
/** Nobody counts the bytes of the trash; so many of its files are added up, which is some tens of milliseconds of the master's. */
const SUMMED_MAX = 8_192
const PAGE = 512

export class MetaInfo {
  readonly #session: MasterSession
  readonly #files: DeletedFiles
  readonly #clock: Clock
  #made: { readonly text: Buffer; readonly atMs: number } | undefined

  constructor(session: MasterSession, files: DeletedFiles, clock: Clock) {
    this.#session = session
    this.#files = files
    this.#clock = clock
  }

  async text(caller: Interruptible): Promise<Buffer> {
    const made = this.#made
    return made !== undefined && this.#clock.monotonicMs() - made.atMs < LIFE_MS ? made.text : this.renew(caller)
  }

  async renew(caller: Interruptible): Promise<Buffer> {
    const { cluster, trashed, sustained, sessions } = await this.#session.ask('deletedCount', {}, caller)
    const lines = [
      `cluster    ${cluster}`,
      `time       ${timeText(this.#session.now().sec)}`,
      `trash      ${files(trashed)}, ${await this.#sum(caller)}`,
      `sustained  ${files(sustained)}`,
      `sessions   ${sessions.length}`,
      ...sessions.map(({ session, host, mountpoint, connected, openFiles }) => {
        const state = connected ? `${openFiles} open` : 'away'
        return `  ${session}  ${oneLine(host)}:${oneLine(mountpoint)}  ${state}`
      }),
    ]
    const text = Buffer.from(`${lines.join('\n')}\n`)
    this.#made = { text, atMs: this.#clock.monotonicMs() }
    return text
  }

  async #sum(caller: Interruptible): Promise<string> {
    let bytes = 0
    let summed = 0
    let from = { sec: 0, ino: 0 }
    while (summed < SUMMED_MAX) {
      const { files, end } = await this.#files.page('trash', from, PAGE, summed === 0, caller)
      for (const { attr } of files) bytes += attr.size
      summed += files.length
      const last = files.at(-1)
      if (end || last?.trash === undefined) return formatBytes(bytes)
      from = { sec: last.trash.expirySec, ino: last.attr.ino + 1 }
    }
    return `more than ${formatBytes(bytes)} (the first ${summed} to expire)`
  }
}

const files = (n: number): string => `${n} ${n === 1 ? 'file' : 'files'}`

/** What others call their hosts and directories is not to make lines of its own. */
const oneLine = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f]/g, '?')
