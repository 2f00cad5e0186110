/* `holdfast wait --site S PATH…`: returns when what is there now is complete at a site. */

import { setTimeout as sleep } from 'node:timers/promises'
import { Args, Flags } from '@oclif/core'
import { FsError } from '../../base/fault.ts'
import type { Ino } from '../../base/ids.ts'
import { formatBytes } from '../../base/units.ts'
import { hostClock } from '../../host/clock.ts'
import type { Reply, Request } from '../../wire/protocol.ts'
import { SITE_LACK_MAX } from '../../wire/shapes.ts'
import type { Admin } from '../admin.ts'
import { ClusterCommand } from '../base.ts'
import { ProgressLine } from '../progress.ts'
import { count, readableName } from '../render.ts'
import { pathInside } from './file.ts'
import { durationOf } from './trash.ts'

/** Files that are asked for again one by one; when there are more, the tree is walked again. */
const REMEMBERED_MAX = 10_000
const LOOK_MS = 1_000
const PAGE = 500

type Where = Pick<Request<'siteLack'>, 'path' | 'ino' | 'page' | 'inos' | 'offset'>
const FROM_START = { path: undefined, ino: undefined, page: undefined, inos: undefined, offset: 0 }

interface Waited {
  site: string
  path: string
  files: number
}

class Waiter {
  readonly #admin: Admin
  readonly #site: string
  readonly #untilMs: number
  readonly #line: ProgressLine
  files = 0
  #lacking = new Set<Ino>()
  #bytes = 0
  #overflowed = false

  constructor(admin: Admin, site: string, untilMs: number, line: ProgressLine) {
    this.#admin = admin
    this.#site = site
    this.#untilMs = untilMs
    this.#line = line
  }

  async wait(path: string): Promise<void> {
    do {
      this.files = 0
      this.#overflowed = false
      await this.#walk(path)
      while (this.#lacking.size > 0) {
        this.#line.show(`${count(this.#lacking.size, 'file')} of ${this.files}, ${formatBytes(this.#bytes)} to come`)
        await this.#pause(path)
        await this.#lookAgain()
      }
    } while (this.#overflowed)
  }

  async #walk(path: string): Promise<void> {
    this.#reset()
    const directories = [...(await this.#look({ ...FROM_START, path })).directories]
    for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
      for (let cookie: number | undefined = 0; cookie !== undefined; ) {
        this.#inTime(path)
        const page: Reply<'siteLack'> | undefined = await this.#page(next, cookie)
        directories.push(...(page?.directories ?? []))
        cookie = page?.cookie
      }
    }
  }

  /** undefined: the directory has been removed meanwhile. */
  async #page(ino: Ino, cookie: number): Promise<Reply<'siteLack'> | undefined> {
    try {
      return await this.#look({ ...FROM_START, ino, page: { cookie, limit: PAGE } })
    } catch (error) {
      if (error instanceof FsError && error.code === 'ESTALE') return undefined
      throw error
    }
  }

  async #lookAgain(): Promise<void> {
    const before = [...this.#lacking]
    this.#reset()
    for (let i = 0; i < before.length; i += SITE_LACK_MAX)
      await this.#look({ ...FROM_START, inos: before.slice(i, i + SITE_LACK_MAX) })
  }

  /** One answer, and what was left out of it because it is large. */
  async #look(where: Where): Promise<Reply<'siteLack'>> {
    const reply = await this.#admin.call('siteLack', { site: this.#site, ...where })
    this.#note(reply, where.inos === undefined)
    for (const left = [...reply.rest]; left.length > 0; ) {
      const { ino, offset } = left.pop()!
      const more = await this.#admin.call('siteLack', { site: this.#site, ...FROM_START, inos: [ino], offset })
      this.#note(more, where.inos === undefined)
      left.push(...more.rest)
    }
    return reply
  }

  #note({ files, lacking, lackingBytes, unwanted, unwantedClass }: Reply<'siteLack'>, counts: boolean): void {
    if (unwanted > 0)
      throw new FsError(
        'EINVAL',
        `class ${unwantedClass} keeps nothing at site ${this.#site}: it will never be complete there`,
      )
    if (counts) this.files += files
    this.#bytes += lackingBytes
    for (const ino of lacking)
      if (this.#lacking.size < REMEMBERED_MAX) this.#lacking.add(ino)
      else this.#overflowed = true
  }

  #reset(): void {
    this.#lacking = new Set()
    this.#bytes = 0
  }

  #inTime(path: string): void {
    if (hostClock.monotonicMs() < this.#untilMs) return
    const still =
      this.#lacking.size === 0
        ? 'not all is looked at'
        : `${count(this.#lacking.size, 'file')}, ${formatBytes(this.#bytes)} still to come`
    throw new FsError('ETIMEDOUT', `${readableName(path)} is not complete at site ${this.#site}: ${still}`)
  }

  async #pause(path: string): Promise<void> {
    this.#inTime(path)
    await sleep(Math.min(LOOK_MS, Math.max(1, this.#untilMs - hostClock.monotonicMs())))
  }
}

export class Wait extends ClusterCommand {
  static override summary = 'Wait until files, or all in directories, are complete at a site.'
  static override description =
    'Complete is what can be read there without any other site, now. Awaited is what is there when the command begins; what a ' +
    'program has not closed, or a mount still holds back, is not: sync first. A chunk that was just written is sealed after half a ' +
    'minute and copied then. With --timeout it ends with exit code 75 when the time is over.'
  static override examples = [
    '<%= config.bin %> wait --site cabin mnt/photos',
    '<%= config.bin %> wait --site cabin --timeout 10min mnt/photos mnt/letters',
  ]
  static override strict = false
  static override args = {
    path: Args.string({ required: true, description: 'Paths in a mount, or from the root of the filesystem.' }),
  }
  static override flags = {
    site: Flags.string({ summary: 'The site (holdfast node list).', required: true }),
    timeout: Flags.string({ summary: 'For so long at most, like 10min.', helpValue: 'TIME' }),
  }

  async run(): Promise<Waited[]> {
    const { argv, flags } = await this.parse(Wait)
    const given = argv as string[]
    const forMs = flags.timeout === undefined ? Number.POSITIVE_INFINITY : durationOf(flags.timeout)
    const untilMs = hostClock.monotonicMs() + forMs
    return this.withMaster({ dir: flags.dir, path: given[0] }, async (admin) => {
      const line = new ProgressLine(!this.jsonEnabled())
      const done: Waited[] = []
      try {
        for (const path of given) {
          const waiter = new Waiter(admin, flags.site, untilMs, line)
          await waiter.wait(await pathInside(path))
          done.push({ site: flags.site, path, files: waiter.files })
        }
      } finally {
        line.end()
      }
      for (const { path, files } of done)
        this.log(`${readableName(path)} is complete at site ${flags.site}: ${count(files, 'file')}.`)
      return done
    })
  }
}
