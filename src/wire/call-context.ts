/*
 * What the one who answers a call knows of it: who asks, and that the answer is no longer wanted. The signal is made for those
 * that look at it only: most calls are answered before anybody could.
 */

import type { CallContext, Peer } from './peer.ts'

export class Context implements CallContext {
  readonly peer: Peer
  readonly deadline: number
  #controller: AbortController | undefined
  #reason: Error | undefined

  constructor(peer: Peer, deadline: number) {
    this.peer = peer
    this.deadline = deadline
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  abort(reason: Error): void {
    this.#reason ??= reason
    this.#controller?.abort(reason)
  }
}
