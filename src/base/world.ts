/*
 * The edges: everything a trade may want from outside itself, as interfaces. The real ones are in host/, others in test/.
 */

import type { Time } from './attr.ts'
import type { Identity } from './identity.ts'

export interface Clock {
  /** Wall clock, for what people see (times of files). */
  now(): Time
  /** Milliseconds that never go back, for timeouts and rates. */
  monotonicMs(): number
  /** Resolves after `ms`, or rejects with the signal's reason. */
  sleep(ms: number, options?: { signal?: AbortSignal }): Promise<void>
  /** Calls back once after `ms`; the returned function forgets it. Does not keep the process alive. */
  timer(ms: number, callback: () => void): () => void
}

export interface Random {
  /** An integer in 0 … n−1. */
  below(n: number): number
  /** `bytes` random bytes as lower-case hex. */
  hex(bytes: number): string
}

/** Structured log: a constant sentence that tells an operator what to do, and fields. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  /** A log of a part; `component` is the field every line carries. */
  child(fields: { component: string } & Record<string, unknown>): Log
}

export interface World {
  readonly net: Net
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/**
 * One established byte stream to a peer. Data handed to `onData` is only lent: the memory is reused after the callback
 * returns. `onClose` fires exactly once, also after close().
 */
export interface Transport {
  /** For messages: "127.0.0.1:40123". */
  readonly peer: string
  /** Who the other side has proved to be. Undefined where nothing is: on one machine, on a LAN that is trusted whole. */
  readonly identity: Identity | undefined
  send(parts: readonly Uint8Array[]): void
  /** Bytes handed to send() that the network has not taken yet. */
  backlogBytes(): number
  /** Called each time the backlog has become empty. */
  onDrain(callback: () => void): void
  /**
   * `room`: memory of the receiver's in which the next bytes may be put, asked for before each read; what was put there is
   * handed over as a view of it. A transport need not use it.
   */
  onData(callback: (lent: Buffer) => void, room?: () => Buffer | undefined): void
  onClose(callback: (error?: Error) => void): void
  /** Stop or go on reading from the peer (backpressure). */
  pause(): void
  resume(): void
  close(error?: Error): void
}

export interface Listener {
  readonly port: number
  close(): Promise<void>
}

export interface Net {
  /** Throws FsError ECONNREFUSED, ETIMEDOUT or EHOSTUNREACH. */
  connect(host: string, port: number, options: { timeoutMs: number; signal?: AbortSignal }): Promise<Transport>
  /** Port 0 picks a free one. */
  listen(host: string, port: number, onTransport: (transport: Transport) => void): Promise<Listener>
}
