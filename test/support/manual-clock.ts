/* A clock that stands still until it is moved, or that jumps over every sleep. */

import type { Clock, Log, Random } from '../../src/base/world.ts'

export class ManualClock implements Clock {
  ms = 1_000_000
  /** Sleeping moves the clock instead of waiting. */
  jump = true
  slept = 0

  now() {
    const ms = 1_700_000_000_000 + this.ms
    return { sec: Math.floor(ms / 1000), nsec: (ms % 1000) * 1_000_000 }
  }
  monotonicMs(): number {
    return this.ms
  }
  async sleep(ms: number, options?: { signal?: AbortSignal }): Promise<void> {
    options?.signal?.throwIfAborted()
    if (!this.jump)
      return new Promise((_, reject) =>
        options?.signal?.addEventListener('abort', () => reject(options.signal!.reason)),
      )
    this.ms += ms
    this.slept += ms
    await new Promise((resolve) => setImmediate(resolve))
  }
  timer(): () => void {
    return () => {}
  }
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silentLog }

export const countingRandom = (): Random => {
  let n = 0
  return { below: (max) => n++ % max, hex: (bytes) => (++n).toString(16).padStart(bytes * 2, '0') }
}
