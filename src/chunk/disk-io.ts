/*
 * The edge to one disk: files and directories below one root, nothing else. The real one is here, over node:fs; tests have
 * one in memory that loses what was not synced, tears writes and fails on demand. One conformance suite runs over both.
 *
 * Errors are Node's system errors or FsErrors: `code` says which; disk-health.ts decides what they mean for the disk.
 *
 * `writeNow` and `readNow` are synchronous. Measured on the machine this was written on: a 4 KiB write into the page cache
 * takes 1.3 µs so, and 28 µs (24 µs of it CPU) through the thread pool; most appends are small, so this decides how many a
 * core can take. What makes it safe is that the callers bound it (quick-writes.ts, quick-reads.ts).
 */

import * as fs from 'node:fs'
import * as net from 'node:net'
import { join } from 'node:path'
import { sliceParts } from '../base/bytes.ts'
import { FsError } from '../base/fault.ts'
import { DiskThreads } from './disk-threads.ts'

export interface DiskFile {
  /** Fills `into` from `position`; fewer bytes only at the end of the file. */
  read(into: Buffer, position: number): Promise<number>
  readNow(into: Buffer, position: number): number
  /** Writes all of it, gathered. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>
  writeNow(parts: readonly Uint8Array[], position: number): void
  /** Everything written before is durable when this returns, and the size needed to read it. */
  datasync(): Promise<void>
  truncate(length: number): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

export type OpenMode =
  /** Must exist. */
  | 'read'
  | 'write'
  /** Must not exist. */
  | 'create'
  /** Either. */
  | 'ensure'

export interface Space {
  readonly totalBytes: number
  readonly availableBytes: number
}

export interface DiskIo {
  /** For messages. */
  readonly root: string
  open(path: string, mode: OpenMode): Promise<DiskFile>
  /** Names, files and directories alike. */
  list(path: string): Promise<string[]>
  /** Makes the directory and those above it; existing ones are fine. */
  makeDir(path: string): Promise<void>
  unlink(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  exists(path: string): Promise<boolean>
  /** Names made, removed or renamed in the directory before are durable when this returns. */
  syncDir(path: string): Promise<void>
  space(): Promise<Space>
  /**
   * Takes the name for this process; EBUSY when another holds it. Given back by the returned function or by the death of
   * the process, however it dies.
   */
  lock(name: string): Promise<() => Promise<void>>
  /** The number of the operation that the disk owes an answer for longest; undefined: it owes none. */
  owes(): number | undefined
  /** What is unanswered fails now, and what is asked later at once: for a disk that hangs, until it is opened anew. */
  giveUp(why: string): void
}

/** Linux's IOV_MAX: more parts in one call is EINVAL. */
const PARTS_MAX = 1024

const sum = (parts: readonly Uint8Array[]): number => parts.reduce((bytes, part) => bytes + part.length, 0)

class RealFile implements DiskFile {
  readonly #fd: number
  readonly #threads: DiskThreads
  constructor(fd: number, threads: DiskThreads) {
    this.#fd = fd
    this.#threads = threads
  }

  async read(into: Buffer, position: number): Promise<number> {
    let done = 0
    while (done < into.length) {
      const n = await this.#threads.run<number>((answer) =>
        fs.read(this.#fd, into, done, into.length - done, position + done, answer),
      )
      if (n === 0) break
      done += n
    }
    return done
  }

  readNow(into: Buffer, position: number): number {
    let done = 0
    while (done < into.length) {
      const n = fs.readSync(this.#fd, into, done, into.length - done, position + done)
      if (n === 0) break
      done += n
    }
    return done
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    let rest = parts
    let at = position
    let left = sum(parts)
    while (left > 0) {
      const n = await this.#threads.run<number>((answer) => fs.writev(this.#fd, rest.slice(0, PARTS_MAX), at, answer))
      left -= n
      at += n
      if (left > 0) rest = sliceParts(rest, n)
    }
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    const only = parts[0]
    if (parts.length === 1 && only !== undefined) {
      let done = 0
      while (done < only.length) done += fs.writeSync(this.#fd, only, done, only.length - done, position + done)
      return
    }
    let rest = parts
    let at = position
    let left = sum(parts)
    while (left > 0) {
      const n = fs.writevSync(this.#fd, rest.slice(0, PARTS_MAX), at)
      left -= n
      at += n
      if (left > 0) rest = sliceParts(rest, n)
    }
  }

  datasync(): Promise<void> {
    return this.#threads.run((answer) => fs.fdatasync(this.#fd, plain(answer)))
  }

  truncate(length: number): Promise<void> {
    return this.#threads.run((answer) => fs.ftruncate(this.#fd, length, plain(answer)))
  }

  async size(): Promise<number> {
    return (await this.#threads.run<fs.Stats>((answer) => fs.fstat(this.#fd, answer))).size
  }

  close(): Promise<void> {
    return this.#threads.run((answer) => fs.close(this.#fd, plain(answer)), { always: true })
  }
}

/** Node answers some calls with an error and nothing else. */
const plain =
  (answer: (error: Error | null, value: undefined) => void) =>
  (error?: Error | null): void =>
    answer(error ?? null, undefined)

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants
const OPEN_FLAGS: Record<OpenMode, number> = {
  read: O_RDONLY | O_NOFOLLOW,
  write: O_RDWR | O_NOFOLLOW,
  create: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
  ensure: O_RDWR | O_CREAT | O_NOFOLLOW,
}

export class RealDiskIo implements DiskIo {
  readonly root: string
  readonly #threads = new DiskThreads()
  constructor(root: string) {
    this.root = root
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const name = join(this.root, path)
    const fd = await this.#threads.run<number>((answer) => fs.open(name, OPEN_FLAGS[mode], 0o600, answer), {
      late: (fd) => fs.closeSync(fd),
    })
    return new RealFile(fd, this.#threads)
  }

  list(path: string): Promise<string[]> {
    return this.#threads.run((answer) => fs.readdir(join(this.root, path), answer))
  }

  async makeDir(path: string): Promise<void> {
    const options = { recursive: true, mode: 0o700 } as const
    await this.#threads.run<string | undefined>((answer) =>
      fs.mkdir(join(this.root, path), options, (error, first) => answer(error, first)),
    )
  }

  unlink(path: string): Promise<void> {
    return this.#threads.run((answer) => fs.unlink(join(this.root, path), plain(answer)))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#threads.run((answer) => fs.rename(join(this.root, from), join(this.root, to), plain(answer)))
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.#threads.run<fs.Stats>((answer) => fs.lstat(join(this.root, path), answer))
      return true
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ENOTDIR') return false
      throw error
    }
  }

  async syncDir(path: string): Promise<void> {
    const fd = await this.#threads.run<number>((answer) => fs.open(join(this.root, path), O_RDONLY, answer), {
      late: (fd) => fs.closeSync(fd),
    })
    try {
      await this.#threads.run((answer) => fs.fsync(fd, plain(answer)))
    } finally {
      await this.#threads.run((answer) => fs.close(fd, plain(answer)), { always: true })
    }
  }

  async space(): Promise<Space> {
    const stat = await this.#threads.run<fs.StatsFs>((answer) => fs.statfs(this.root, answer))
    return { totalBytes: stat.blocks * stat.bsize, availableBytes: stat.bavail * stat.bsize }
  }

  owes(): number | undefined {
    return this.#threads.oldest
  }

  giveUp(why: string): void {
    this.#threads.giveUp(new FsError('EIO', `${this.root} is given up: ${why}`))
  }

  /**
   * An abstract Unix socket of that name: the kernel frees it with the process, so there is no stale lock to judge, which
   * a lock file with a process number would need. Only processes of one network namespace see each other's.
   */
  lock(name: string): Promise<() => Promise<void>> {
    return new Promise((resolve, reject) => {
      const server = net.createServer((socket) => socket.destroy())
      server.unref()
      server.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE')
          reject(new FsError('EBUSY', `${this.root} is in use by another process (${name})`, { cause: error }))
        else reject(error)
      })
      server.listen({ path: `\0holdfast-${name}` }, () => {
        resolve(() => new Promise<void>((done) => server.close(() => done())))
      })
    })
  }
}
