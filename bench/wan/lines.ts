/*
 * What is measured of a filesystem on a bed, line by line. Everything that touches the mount is a process in the namespace of
 * the machine that has it; this process only keeps time. A line that fails says why and the next one is measured.
 */

import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ask, serve } from '../../test/wan/traffic.ts'
import type { Scale } from './cases.ts'
import { CLIENT, MASTER, type WanSystem } from './system.ts'

const WORKER = fileURLToPath(new URL('../e2e/worker.py', import.meta.url))
/** Longer than writing 256 MiB takes anywhere, with a cut of a minute in the middle. */
const WORK_MS = 400_000
const SAMPLE_MS = 250
const ECHO_MS = 20
/** What begins to be copied shows with so many bytes on the disks: more than empty files of chunks take. */
const BEGUN_BYTES = 512 * 1024
const MiB = 1024 * 1024
const seconds = (sinceMs: number): number => (performance.now() - sinceMs) / 1000

export interface Replication {
  /** Until the first bytes of it were on a disk of the other site. */
  readonly waitedS: number
  readonly seconds: number
  readonly mib: number
  /** Of the file's bytes, from the first of them on; not the bytes of packets. */
  readonly mbit: number
  /** Packets towards the other site, in bytes, for each byte that arrived. */
  readonly sentPerByte: number
  readonly complete: boolean
}
export interface Echo {
  readonly medianMs: number
  readonly p99Ms: number
  readonly lossRate: number
}
export interface Cut {
  /** One program of 256 MiB (as scaled), begun just before the cut; seconds without those of the cut. */
  readonly writeS: number | null
  readonly untarFilesDuringCut: number
  /** Until the untar made its next file after the line was back; null: it did not within the limit. */
  readonly untarResumedS: number | null
  readonly copyResumedS: number | null
  /** As with replication, over the cut: what was sent twice shows here. */
  readonly copySentPerByte: number | null
  readonly failures: readonly string[]
}
export interface Lines {
  /** MB/s of 10^6 bytes, fsync included; reading with a mount that knows nothing. */
  write?: number
  read?: number
  /** Files or entries each second. */
  untar?: number
  findCold?: number
  findWarm?: number
  /** Something copied across while the echo runs, and the echo before it. */
  replication?: Replication
  echoIdle?: Echo
  echoBusy?: Echo
  cut?: Cut
}
export type LineName = 'write' | 'read' | 'untar' | 'find' | 'replication' | 'cut'
export const LINES: readonly LineName[] = ['write', 'read', 'untar', 'find', 'replication', 'cut']

export interface Measured {
  readonly lines: Lines
  readonly errors: Partial<Record<LineName, string>>
}

/** What a line has to work with. */
export interface Ground {
  readonly system: WanSystem
  readonly tar: { readonly path: string; readonly files: number }
  readonly scale: Scale
  readonly signal: AbortSignal
}

export async function measure(
  ground: Ground,
  wanted: readonly LineName[],
  said: (line: string) => void,
): Promise<Measured> {
  const { system, scale, signal } = ground
  await shell(system, `mkdir '${system.path}/local'`)
  await system.setClass(`${system.path}/local`, 'local')
  // Written first, so that they lie still when they are to be copied.
  for (const name of ['replication', 'cut'] as const)
    if (wanted.includes(name)) await write(system, name, scale.mirrorBytes)
  const lines: Lines = {}
  const errors: Measured['errors'] = {}
  for (const name of wanted) {
    signal.throwIfAborted()
    const sinceMs = performance.now()
    try {
      const found = await table[name](ground)
      Object.assign(lines, found)
      said(`${name} in ${seconds(sinceMs).toFixed(0)} s: ${JSON.stringify(found)}`)
    } catch (error) {
      signal.throwIfAborted()
      errors[name] = error instanceof Error ? error.message : String(error)
      said(`${name} failed after ${seconds(sinceMs).toFixed(0)} s: ${errors[name]}`)
    }
  }
  return { lines, errors }
}

const table: Readonly<Record<LineName, (ground: Ground) => Promise<Lines>>> = {
  async write({ system, scale }) {
    const rates: number[] = []
    for (let run = 0; run < scale.writeRuns; run++) rates.push(await write(system, `big-${run}`, scale.writeBytes))
    return { write: median(rates) }
  },

  async read({ system, scale }) {
    const rates: number[] = []
    await write(system, 'read', scale.writeBytes)
    for (let run = 0; run < scale.writeRuns; run++) {
      await system.remount()
      rates.push(await work(system, 'read', fileOf(system, 'read')))
    }
    return { read: median(rates) }
  },

  async untar({ system, tar, scale }) {
    const untar = new Untar(system, tar.path, 'tree', scale.smallLimitS)
    const files = await untar.ended
    if (untar.failure !== undefined) throw new Error(untar.failure)
    return { untar: files / seconds(untar.startMs) }
  },

  async find({ system, scale }) {
    const find = async (): Promise<number> => {
      const startMs = performance.now()
      const words = `timeout ${scale.smallLimitS} find '${system.path}/local/tree' -ls | wc -l`
      return Number(await shell(system, words)) / seconds(startMs)
    }
    await system.remount()
    return { findCold: await find(), findWarm: await find() }
  },

  async replication(ground) {
    const { system, scale, signal } = ground
    const { bed } = system
    const echo = await serve(bed, MASTER, 'echo')
    try {
      const to = await system.address(MASTER)
      const asked = async (): Promise<Echo> => {
        const trips = await ask(bed, CLIENT, to, echo.port, { count: scale.echoes, everyMs: ECHO_MS })
        const { medianMs, p99Ms, lossRate } = trips
        return { medianMs, p99Ms, lossRate }
      }
      const echoIdle = await asked()
      const copying = new Copying(ground, 'replication', scale.mirrorBytes)
      await copying.begun()
      const [echoBusy] = await Promise.all([asked(), copying.ended(scale.mirrorLimitS, signal)])
      return { echoIdle, echoBusy, replication: copying.result() }
    } finally {
      await echo.stop()
    }
  },

  async cut(ground) {
    const { system, tar, scale, signal } = ground
    const { bed } = system
    const failures: string[] = []
    const copying = new Copying(ground, 'cut', scale.mirrorBytes)
    const began = await copying.begun().then(
      () => true,
      (error: unknown) => {
        failures.push(`copy: ${String(error)}`)
        return false
      },
    )
    const untar = new Untar(system, tar.path, 'tree-cut', scale.cutS + scale.resumeLimitS)
    await sleep(1000)
    const writeMs = performance.now()
    const writing = write(system, 'during-cut', scale.writeBytes).then(
      () => seconds(writeMs),
      (error: unknown) => {
        failures.push(`write: ${String(error)}`)
        return null
      },
    )
    await sleep(200)
    await bed.cut('home', 'fra')
    const filesBefore = untar.files
    const cutMs = performance.now()
    await sleep(scale.cutS * 1000, undefined, { signal })
    await bed.heal('home', 'fra')
    const healMs = performance.now()
    const files = untar.files
    const bytes = await system.homeBytes()
    const within = async (moved: () => Promise<boolean> | boolean): Promise<number | null> => {
      while (seconds(healMs) < scale.resumeLimitS) {
        if (await moved()) return seconds(healMs)
        await sleep(SAMPLE_MS, undefined, { signal })
      }
      return null
    }
    const [untarResumedS, copyResumedS, writeS] = await Promise.all([
      within(() => untar.files > files || (untar.isOver && untar.failure === undefined)),
      began ? within(async () => copying.isOver || (await system.homeBytes()) > bytes + BEGUN_BYTES) : null,
      writing,
    ])
    if (began) await copying.ended(scale.resumeLimitS, signal)
    untar.stop()
    await untar.ended
    if (untar.failure !== undefined) failures.push(`untar: ${untar.failure}`)
    const writeLastedS = writeS === null ? null : writeS - (writeMs + writeS * 1000 > cutMs ? scale.cutS : 0)
    return {
      cut: {
        // Whoever was done before the line came back has waited for nothing.
        writeS: writeS === null || writeLastedS! < 0 ? writeS : writeLastedS,
        untarFilesDuringCut: files - filesBefore,
        untarResumedS,
        copyResumedS,
        copySentPerByte: began ? copying.result().sentPerByte : null,
        failures,
      },
    }
  },
}

/** A file of the client's site that has been given a copy at the other one, and what of it has arrived. */
class Copying {
  readonly #ground: Ground
  readonly #path: string
  readonly #bytes: number
  #askedMs = 0
  #begunMs = 0
  #nowMs = 0
  #first = { disk: 0, link: 0 }
  #now = { disk: 0, link: 0 }
  #before = 0

  constructor(ground: Ground, name: string, bytes: number) {
    this.#ground = ground
    this.#path = fileOf(ground.system, name)
    this.#bytes = bytes
  }

  get isOver(): boolean {
    return this.#now.disk - this.#before >= this.#bytes
  }

  /** Asked for, and on its way when this returns. */
  async begun(): Promise<void> {
    const { system, scale, signal } = this.#ground
    this.#before = await system.homeBytes()
    this.#askedMs = performance.now()
    await system.setClass(this.#path, 'both')
    do {
      await sleep(SAMPLE_MS, undefined, { signal })
      await this.#look()
      if (seconds(this.#askedMs) > scale.beginLimitS) throw new Error(`not begun within ${scale.beginLimitS} s`)
    } while (this.#now.disk < this.#before + BEGUN_BYTES)
    this.#first = this.#now
    this.#begunMs = this.#nowMs
  }

  /** It is complete, or the time is up. */
  async ended(limitS: number, signal: AbortSignal): Promise<void> {
    const sinceMs = performance.now()
    while (!this.isOver && seconds(sinceMs) < limitS) {
      await sleep(SAMPLE_MS, undefined, { signal })
      await this.#look()
    }
    // Room on the disks is not yet a copy that counts.
    if (this.isOver && !(await this.#ground.system.isAtHome(this.#path))) {
      const untilMs = performance.now() + 10_000
      while (!(await this.#ground.system.isAtHome(this.#path)))
        if (performance.now() > untilMs) throw new Error(`${this.#path} has arrived and does not count as a copy`)
    }
  }

  result(): Replication {
    const bytes = this.#now.disk - this.#first.disk
    const took = (this.#nowMs - this.#begunMs) / 1000
    return {
      waitedS: (this.#begunMs - this.#askedMs) / 1000,
      seconds: took,
      mib: bytes / MiB,
      mbit: (bytes * 8) / 1e6 / took,
      sentPerByte: (this.#now.link - this.#first.link) / bytes,
      complete: this.isOver,
    }
  }

  async #look(): Promise<void> {
    const { system } = this.#ground
    const [disk, link] = await Promise.all([system.homeBytes(), system.bed.count('fra', 'home')])
    this.#now = { disk, link: link.bytes }
    this.#nowMs = performance.now()
  }
}

/** tar at work, file by file. */
class Untar {
  files = 0
  failure: string | undefined
  isOver = false
  readonly startMs = performance.now()
  /** How many files it has made when it ends, or is ended. */
  readonly ended: Promise<number>
  readonly #stop: () => void

  constructor(system: WanSystem, tar: string, name: string, limitS: number) {
    const directory = `${system.path}/local/${name}`
    // 124: its time was up. What it made is told to everybody when the directory has been synced.
    const script = `mkdir '${directory}'
      timeout ${limitS} stdbuf -oL tar -xvf '${tar}' -C '${directory}' || [ $? = 124 ]
      timeout ${limitS} sync '${directory}' || [ $? = 124 ]`
    const child = system.bed.spawn(CLIENT, 'sh', ['-ec', script], { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    let stopped = false
    this.#stop = () => {
      stopped = true
      child.kill('SIGTERM')
    }
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (!line.endsWith('/')) this.files++
    })
    child.stderr!.on('data', (data: Buffer) => (said = (said + data.toString()).slice(-2000)))
    this.ended = once(child, 'exit').then(([code, signal]) => {
      this.isOver = true
      if (code !== 0 && !stopped) this.failure = `tar ended with ${code ?? signal}: ${said.trim()}`
      return this.files
    })
  }

  stop(): void {
    if (!this.isOver) this.#stop()
  }
}

const fileOf = (system: WanSystem, name: string): string => `${system.path}/local/${name}`

async function shell(system: WanSystem, script: string): Promise<string> {
  return (await system.bed.run(CLIENT, 'sh', ['-ec', script], { timeoutMs: WORK_MS })).stdout.trim()
}

/** MB each second, of 10^6 bytes. */
async function work(system: WanSystem, ...words: readonly (string | number)[]): Promise<number> {
  const args = [WORKER, ...words.map(String)]
  const { stdout } = await system.bed.run(CLIENT, 'python3', args, { timeoutMs: WORK_MS })
  const { seconds: took, count } = JSON.parse(stdout) as { seconds: number; count: number }
  return count / 1e6 / took
}

const write = (system: WanSystem, name: string, bytes: number): Promise<number> =>
  work(system, 'write', fileOf(system, name), bytes)

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
}
