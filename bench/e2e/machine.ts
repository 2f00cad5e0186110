/*
 * What the benchmark asks of the machine: run a program, know a mount, drop caches, find a port, and undo everything it
 * did. It knows nothing of filesystems under test. Undo steps run in reverse order of what they undo, once, on success,
 * failure and Ctrl-C alike; a directory is removed only when nothing is mounted below it any more.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Record<string, string>
  readonly input?: Iterable<Buffer | string>
  /** 20 minutes unless said: longer than any line on a slow disk, short enough to notice a hang. */
  readonly timeoutMs?: number
}

const running = new Set<ChildProcess>()

/** Programs still at work would keep a mount busy; clean-up ends them first. */
function endRunning(): void {
  for (const child of running) child.kill('SIGKILL')
}

/** Runs a program to its end and returns what it printed; its standard error is the message of a failure. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: [options.input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
    })
    running.add(child)
    const out: Buffer[] = []
    let errors = ''
    let expired = false
    const timer = setTimeout(() => {
      expired = true
      child.kill('SIGKILL')
    }, options.timeoutMs ?? 1_200_000)
    child.stdout?.on('data', (bytes: Buffer) => out.push(bytes))
    child.stderr?.on('data', (bytes: Buffer) => {
      errors = (errors + bytes.toString()).slice(-2000)
    })
    child.on('error', (cause) => {
      clearTimeout(timer)
      running.delete(child)
      reject(new Error(`cannot run ${command}`, { cause }))
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      const text = Buffer.concat(out).toString()
      if (code === 0) resolve(text)
      else {
        const why = expired ? 'took too long' : `ended with ${code ?? signal}`
        reject(new Error(`${command} ${args.slice(0, 4).join(' ')} ${why}: ${errors.trim() || text.slice(-500)}`))
      }
    })
    if (options.input && child.stdin) {
      // A program that stops reading early says why itself; the broken pipe is only its echo.
      child.stdin.on('error', () => child.stdin?.destroy())
      void feed(child.stdin, options.input)
    }
  })
}

async function feed(pipe: Writable, input: Iterable<Buffer | string>): Promise<void> {
  for (const piece of input) {
    if (pipe.destroyed) return
    if (!pipe.write(piece)) {
      await new Promise<void>((resolve) => {
        const go = () => {
          pipe.off('drain', go).off('close', go)
          resolve()
        }
        pipe.on('drain', go).on('close', go)
      })
    }
  }
  pipe.end()
}

/** The first of these programs that is installed. */
export async function which(...names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    try {
      return (await run('sh', ['-c', `PATH="$PATH:/usr/sbin:/sbin" command -v ${name}`])).trim()
    } catch {
      // Not installed: the next name.
    }
  }
  return undefined
}

/** Asks until the answer is neither undefined nor false. Exceptions of `ask` count as "not yet". */
export async function until<T>(
  what: string,
  timeoutMs: number,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  everyMs = 50,
): Promise<T> {
  const end = performance.now() + timeoutMs
  let last: unknown
  while (performance.now() < end) {
    try {
      const answer = await ask()
      if (answer !== undefined && answer !== false) return answer
    } catch (error) {
      last = error
    }
    await sleep(everyMs)
  }
  throw new Error(`waited ${Math.round(timeoutMs / 1000)} s for ${what}`, { cause: last })
}

/** Mount points as the kernel lists them; never touches a mount, so a dead one cannot block it. */
export function mountPoints(): string[] {
  const octal = (text: string) => text.replace(/\\([0-7]{3})/g, (_, n: string) => String.fromCharCode(parseInt(n, 8)))
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => octal(line.split(' ')[4] ?? ''))
}

export async function unmount(path: string): Promise<void> {
  if (!mountPoints().includes(path)) return
  try {
    await until(`unmount of ${path}`, 20_000, () => run('umount', [path], { timeoutMs: 15_000 }).then(() => true), 500)
  } catch {
    // Something still stands in it, or its server is dead: take it out of the tree and let the kernel finish.
    await run('umount', ['-l', path], { timeoutMs: 15_000 })
  }
}

export async function removeTree(path: string): Promise<void> {
  const inside = mountPoints().filter((point) => point === path || point.startsWith(`${path}/`))
  if (inside.length > 0) throw new Error(`still mounted, not removing ${path}: ${inside.join(', ')}`)
  await rm(path, { recursive: true, force: true })
}

/** What is dirty goes to disk, then the kernel forgets pages, dentries and inodes. */
export async function dropCaches(): Promise<void> {
  await run('sync', [])
  await writeFile('/proc/sys/vm/drop_caches', '3')
}

export async function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, host, () => {
      const address = server.address()
      const port = typeof address === 'object' && address ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}

/** An IPv4 address of this machine outside 127/8; packets to it stay inside the machine all the same. */
export function ownAddress(): string | undefined {
  for (const list of Object.values(networkInterfaces())) {
    for (const each of list ?? []) if (each.family === 'IPv4' && !each.internal) return each.address
  }
  return undefined
}

export function alive(pid: number): boolean {
  try {
    // A zombie answers signal 0, so the state is asked instead.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** TERM, then KILL after `graceMs`; returns when the process is gone. Only for pids the benchmark started. */
export async function endProcess(pid: number, graceMs = 20_000): Promise<void> {
  if (!alive(pid)) return
  process.kill(pid, 'SIGTERM')
  try {
    await until(`end of ${pid}`, graceMs, () => !alive(pid))
  } catch {
    if (alive(pid)) process.kill(pid, 'SIGKILL')
    await until(`end of ${pid}`, 10_000, () => !alive(pid))
  }
}

export interface Usage {
  readonly rssMb: number
  /** Heap and stacks; the rest of `rssMb` is mapped files, which the kernel may take back. */
  readonly anonMb: number
  readonly cpuSeconds: number
}

export async function usage(pid: number): Promise<Usage> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
  // Fields after the parenthesised name; user and system time are fields 14 and 15, in USER_HZ, which is 100 on Linux.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const megabytes = (name: string) => Math.round((kilobytes(name) / 1024) * 10) / 10
  return {
    rssMb: megabytes('VmRSS'),
    anonMb: megabytes('RssAnon'),
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100,
  }
}

/** Steps that take back what was done, newest first. */
export class Undo {
  readonly #steps: { title: string; step: () => Promise<void> }[] = []
  #running: Promise<void> | undefined

  add(title: string, step: () => Promise<void>): void {
    this.#steps.push({ title, step })
  }

  /** Every step runs even if an earlier one failed; failures are told, not hidden. */
  run(): Promise<void> {
    this.#running ??= this.#drain()
    return this.#running
  }

  async #drain(): Promise<void> {
    for (let each = this.#steps.pop(); each; each = this.#steps.pop()) {
      try {
        await each.step()
      } catch (error) {
        console.error(`clean-up failed (${each.title}): ${error instanceof Error ? error.message : String(error)}`)
        process.exitCode = 1
      }
    }
  }
}

/**
 * Runs `body` with an Undo that also answers Ctrl-C and TERM. Then `signal` aborts, so that the body starts nothing more
 * while what it had started is taken back; how the body ends after that does not matter.
 */
export async function withUndo(body: (undo: Undo, signal: AbortSignal) => Promise<void>): Promise<void> {
  const undo = new Undo()
  const stop = new AbortController()
  const interrupted = (name: NodeJS.Signals) => {
    if (stop.signal.aborted) return
    console.error(`${name}: cleaning up`)
    stop.abort(new Error(`interrupted by ${name}`))
    endRunning()
    void undo.run().finally(() => process.exit(name === 'SIGINT' ? 130 : 143))
  }
  process.on('SIGINT', interrupted)
  process.on('SIGTERM', interrupted)
  try {
    await body(undo, stop.signal)
  } catch (error) {
    if (!stop.signal.aborted) throw error
  } finally {
    await undo.run()
    if (!stop.signal.aborted) {
      process.off('SIGINT', interrupted)
      process.off('SIGTERM', interrupted)
    }
  }
}
