/*
 * What a trade sees of a connection: it can call, and it can be called. Everything about bytes is behind this.
 */

import type { Identity } from '../base/identity.ts'
import type { CallHandle } from './call-handle.ts'
import type { CallName, Hello, Reply, Request } from './protocol.ts'
import type { RoundTrip } from './round-trip.ts'

export interface CallOptions {
  /** Raw bytes beside the body; the link takes them over until the call has ended. */
  readonly bulk?: readonly Uint8Array[]
  /** frame.bulkCrc of `bulk`, if it is known: the same bytes may go to several peers. */
  readonly bulkCrc?: number
  /** Aborting sends a cancel frame and rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** The same, for calls that are made often and hardly ever taken back. */
  readonly handle?: CallHandle
  /**
   * With `signal`: a cancelled call is not given up at once but answered by the other side, which knows whether it was
   * carried out before the cancel came (a lock just granted).
   */
  readonly answersCancel?: boolean
  /**
   * What the other side may take for it; the way there and back is added (round-trip.ts). Travels in the frame; both sides
   * give up after it. Default: the link's. 0 = none (a lock that waits).
   */
  readonly timeoutMs?: number
  /** Bulk bytes that the answer will bring, about: on a long way they are part of how long it takes. */
  readonly answerBytes?: number
  /**
   * Calls with the same number arrive in the order in which they were made, as long as one of them is under way; others may
   * overtake each other where a peer has several connections (bundle.ts).
   */
  readonly order?: number
}

export interface Answered<C extends CallName> {
  readonly reply: Reply<C>
  /** Empty when the reply carries none. Owned by the receiver. */
  readonly bulk: Buffer
}

/** The other side of one connection. */
export interface Peer {
  /** What the other side said of itself. */
  readonly hello: Hello
  /** Who it has proved to be, where connections prove that. */
  readonly identity: Identity | undefined
  /** Its address, for messages. */
  readonly address: string
  readonly closed: boolean
  /** How long its answers take. */
  readonly roundTrip: RoundTrip
  /** Throws FsError with the errno the other side answered, or ECONNRESET / ETIMEDOUT of the connection. */
  call<C extends CallName>(name: C, request: Request<C>, options?: CallOptions): Promise<Answered<C>>
  /** A one-way call; lost without notice when the connection is. */
  tell<C extends CallName>(name: C, request: Request<C>): void
  /** Fires once; at once when already closed. */
  onClose(callback: (error?: Error) => void): void
  close(error?: Error): void
}

export interface CallContext {
  readonly peer: Peer
  /** Aborts when the caller cancels, its deadline passes or the connection is lost. Made on first use. */
  readonly signal: AbortSignal
}

export interface Answer<C extends CallName> {
  readonly reply: Reply<C>
  readonly bulk?: readonly Uint8Array[]
}

/**
 * Answers one call. May return a value at once: nothing waits then. `bulk` is owned by the handler. An FsError becomes
 * its errno on the wire; anything else thrown is a bug of this process and ends it.
 */
export type Handler<C extends CallName> = (
  request: Request<C>,
  bulk: Buffer,
  context: CallContext,
) => Answer<C> | Promise<Answer<C>>

/** Exhaustive for the named calls: a call without a handler does not compile. */
export type Handlers<C extends CallName> = { readonly [N in C]: Handler<N> }
