/*
 * One role of a local cluster as a child process: started, asked until it answers, started again when it ends by itself,
 * stopped when told to. Restarts rest 0.25 s, doubled up to 30 s; a role that had run for a minute begins anew at 0.25 s.
 *
 * A role that ends GIVE_UP times before it was ready even once is not tried again: its own log says why.
 */

import { spawn } from 'node:child_process'
import { open, readFile, rename, stat } from 'node:fs/promises'
import { FsError } from '../../base/fault.ts'
import type { Clock } from '../../base/world.ts'
import type { Program } from '../mount-program.ts'
import { identify, type ProcessId, type RoleRecord, type RoleState } from './state.ts'

const REST_MS = 250
const REST_MS_MAX = 30_000
const STEADY_MS = 60_000
const GIVE_UP = 3
const PROBE_EVERY_MS = 50
/** A log above this is moved aside (one old one is kept) when its role is started. */
const LOG_BYTES_MAX = 16 * 1024 * 1024

export interface RoleOptions {
  readonly name: string
  readonly logFile: string
  /** Prepares (clears a stale mount) and answers what to start. */
  readonly program: () => Promise<Program>
  /** Whether it answers; throws only what must stop the start. */
  readonly probe: () => Promise<boolean>
  readonly onChange: () => void
}

export class RoleProcess {
  readonly name: string
  readonly #options: RoleOptions
  readonly #clock: Clock
  #state: RoleState = 'stopped'
  #process: ProcessId | undefined
  #sinceMs = 0
  #restarts = 0
  #lastExit = ''
  #everReady = false
  #failed: FsError | undefined
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined
  #exited: Promise<void> = Promise.resolve()

  constructor(options: RoleOptions, clock: Clock) {
    this.name = options.name
    this.#options = options
    this.#clock = clock
  }

  record(): RoleRecord {
    return {
      process: this.#process,
      state: this.#state,
      sinceMs: this.#sinceMs,
      restarts: this.#restarts,
      lastExit: this.#lastExit,
    }
  }

  start(): void {
    this.#running = this.#keepRunning()
  }

  /** True when it became ready, false when the time was over first; throws when it was given up. */
  async ready(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const until = this.#clock.monotonicMs() + timeoutMs
    while (!this.#everReady) {
      signal.throwIfAborted()
      if (this.#failed !== undefined) throw this.#failed
      if (this.#clock.monotonicMs() > until) return false
      await this.#clock.sleep(PROBE_EVERY_MS)
    }
    return true
  }

  /** SIGTERM, and SIGKILL when it has not ended in time. Returns when the process is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort(new FsError('ECANCELED', 'stopping'))
    if (this.#process !== undefined) {
      await endProcess(this.#process, graceMs, this.#clock)
      await this.#exited
    }
    await this.#running
    this.#set('stopped')
  }

  async #keepRunning(): Promise<void> {
    let restMs = REST_MS
    let ends = 0
    while (!this.#stopping.signal.aborted) {
      const begun = this.#clock.monotonicMs()
      this.#lastExit = await this.#runOnce()
      this.#process = undefined
      if (this.#stopping.signal.aborted) break
      ends++
      if (!this.#everReady && ends >= GIVE_UP) {
        this.#failed = new FsError(
          'EIO',
          `${this.name} ended ${ends} times (${this.#lastExit}): ${await lastWords(this.#options.logFile)}`,
        )
        this.#set('stopped')
        return
      }
      if (this.#clock.monotonicMs() - begun > STEADY_MS) restMs = REST_MS
      this.#set('waiting')
      try {
        await this.#clock.sleep(restMs, { signal: this.#stopping.signal })
      } catch (error) {
        if (!this.#stopping.signal.aborted) throw error
        break
      }
      restMs = Math.min(restMs * 2, REST_MS_MAX)
      this.#restarts++
    }
  }

  /** From start to end of one process; answers how it ended. */
  async #runOnce(): Promise<string> {
    let program: Program
    try {
      program = await this.#options.program()
    } catch (error) {
      if (!(error instanceof FsError)) throw error
      this.#failed ??= this.#everReady ? undefined : error
      return error.message
    }
    await moveLargeLog(this.#options.logFile)
    const log = await open(this.#options.logFile, 'a')
    // A session of its own: Ctrl-C at the terminal reaches the supervisor, which stops the roles in order.
    const child = spawn(program.file, program.args, {
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
      env: { ...process.env, ...program.env },
    })
    const ended = new Promise<string>((done) => {
      child.on('error', (error) => done(error.message))
      child.on('exit', (code, signal) => done(signal ?? `exit ${code}`))
    })
    this.#exited = ended.then(() => undefined)
    await log.close()
    if (child.pid !== undefined) this.#process = await identify(child.pid)
    this.#sinceMs = Date.now()
    this.#set('starting')
    const over = new AbortController()
    // Stopped between the decision to start and the start itself: nobody else would end it.
    if (this.#stopping.signal.aborted) child.kill('SIGTERM')
    const probing = this.#probe(over.signal)
    const how = await ended
    over.abort()
    await probing
    return how
  }

  async #probe(over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      if (await this.#options.probe()) {
        if (over.aborted) return
        this.#everReady = true
        this.#set('ready')
        return
      }
      await this.#clock.sleep(PROBE_EVERY_MS)
    }
  }

  #set(state: RoleState): void {
    this.#state = state
    this.#options.onChange()
  }
}

/** Ends a process that need not be our child: SIGTERM, and SIGKILL after the grace. True when SIGTERM was enough. */
export async function endProcess(target: ProcessId, graceMs: number, clock: Clock): Promise<boolean> {
  if (!(await signalProcess(target, 'SIGTERM'))) return true
  if (await gone(target, graceMs, clock)) return true
  await signalProcess(target, 'SIGKILL')
  if (!(await gone(target, KILL_MS, clock)))
    throw new FsError('EBUSY', `process ${target.pid} does not end, not even by SIGKILL (it waits inside the kernel)`)
  return false
}
/** A killed process ends at once unless the kernel holds it (a disk or mount that does not answer). */
const KILL_MS = 10_000

async function signalProcess(target: ProcessId, name: 'SIGTERM' | 'SIGKILL'): Promise<boolean> {
  const now = await identify(target.pid)
  if (now?.startTicks !== target.startTicks) return false
  try {
    return process.kill(target.pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

/** True when the process is gone within the time. */
export async function gone(target: ProcessId, withinMs: number, clock: Clock): Promise<boolean> {
  const until = clock.monotonicMs() + withinMs
  while ((await identify(target.pid))?.startTicks === target.startTicks) {
    if (clock.monotonicMs() > until) return false
    await clock.sleep(25)
  }
  return true
}

/** What a log ends with, as a person reads it; its path when it says nothing. */
export async function lastWords(logFile: string): Promise<string> {
  const text = await readFile(logFile, 'utf8')
  const line = text.trim().split('\n').at(-1)?.slice(0, 2000) ?? ''
  let words = line
  if (line.startsWith('{')) {
    const { error, msg } = JSON.parse(line) as { error?: string; msg?: string }
    words = error ?? msg ?? line
  }
  return words === '' ? `see ${logFile}` : `${words} (${logFile})`
}

async function moveLargeLog(file: string): Promise<void> {
  try {
    if ((await stat(file)).size > LOG_BYTES_MAX) await rename(file, `${file}.1`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
