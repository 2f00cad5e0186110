/*
 * Measures the way to every peer: starts the thread that asks and answers, tells it whom to ask, and hands on what became of
 * each round. What rounds mean (base, loss, distance) is for others. A thread that fails (its address is gone with the
 * tunnel) is started again.
 */

import { Worker } from 'node:worker_threads'
import type { Clock, Log } from '../base/world.ts'
import type { ProbeNews, ProbeOptions, ProbeOrder, ProbePeer, ProbeRound } from './core/probe-packet.ts'

const SOURCE = new URL('./probe-thread.ts', import.meta.url)
const AGAIN_MS = 2_000

/** Starts the thread of a source file. Built code has it beside itself; a test runner has its own way to read sources. */
export type StartThread = (source: URL, data: ProbeOptions) => Worker
const startBuilt: StartThread = (source, workerData) =>
  new Worker(new URL(source.href.replace(/\.ts$/, '.js')), { workerData, execArgv: [] })

export class Probe {
  readonly #clock: Clock
  readonly #log: Log
  readonly #told: (round: ProbeRound) => void
  readonly #options: ProbeOptions
  readonly #start: StartThread
  #peers: readonly ProbePeer[] = []
  #thread: Worker | undefined
  #forget: () => void = () => {}
  #closed = false
  #ready: ((port: number) => void) | undefined

  constructor(
    clock: Clock,
    log: Log,
    told: (round: ProbeRound) => void,
    options: ProbeOptions,
    start: StartThread = startBuilt,
  ) {
    this.#clock = clock
    this.#log = log
    this.#told = told
    this.#options = options
    this.#start = start
  }

  /** Resolves with the port when it is heard on for the first time. */
  start(): Promise<number> {
    const ready = new Promise<number>((resolve) => {
      this.#ready = resolve
    })
    this.#begin()
    return ready
  }

  /** Whom to ask from now on. Who is in the list as before is not disturbed. */
  setPeers(peers: readonly ProbePeer[]): void {
    this.#peers = peers
    this.#order({ kind: 'peers', peers })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#forget()
    await this.#thread?.terminate()
  }

  #order(order: ProbeOrder): void {
    this.#thread?.postMessage(order)
  }

  #begin(): void {
    if (this.#closed) return
    const thread = this.#start(SOURCE, this.#options)
    thread.unref()
    this.#thread = thread
    let why = 'ended'
    thread.on('message', (news: ProbeNews) => {
      switch (news.kind) {
        case 'ready':
          this.#order({ kind: 'peers', peers: this.#peers })
          this.#ready?.(news.port)
          return
        case 'round':
          this.#told(news.round)
          return
        case 'failed':
          why = news.message
      }
    })
    thread.on('error', (error) => {
      why = error.message
    })
    thread.once('exit', () => {
      if (this.#closed) return
      this.#thread = undefined
      this.#log.warn({ address: this.#options.address, why }, 'the thread that measures peers is started again')
      this.#forget = this.#clock.timer(AGAIN_MS, () => this.#begin())
    })
  }
}
