/*
 * What time it is in the cluster. A client says when a file was changed before the master hears of it, and the time that it
 * has shown stays; so it must be the master's time, also on a machine whose clock is wrong. Clocks that agree within
 * TOLERANCE_MS, as all that are set over the network do, are left alone: following every answer would make time jump.
 */

import type { Time } from '../../base/attr.ts'

const TOLERANCE_MS = 1_000

export class ClusterClock {
  #aheadMs = 0

  /** How far the master's clock is ahead of the own one, as far as it counts. */
  get aheadMs(): number {
    return this.#aheadMs
  }

  /** The master said that it was `there` when it answered; asked at `asked`, heard at `heard` by the own clock. */
  learn(there: Time, asked: Time, heard: Time): void {
    const ahead = millis(there) - (millis(asked) + millis(heard)) / 2
    if (Math.abs(ahead - this.#aheadMs) < TOLERANCE_MS) return
    this.#aheadMs = Math.abs(ahead) < TOLERANCE_MS ? 0 : Math.round(ahead)
  }

  /** The cluster's time when the own clock says `own`. */
  at(own: Time): Time {
    if (this.#aheadMs === 0) return own
    const nsec = own.nsec + (this.#aheadMs % 1000) * 1_000_000
    const carry = Math.floor(nsec / 1_000_000_000)
    return { sec: own.sec + Math.trunc(this.#aheadMs / 1000) + carry, nsec: nsec - carry * 1_000_000_000 }
  }
}

const millis = ({ sec, nsec }: Time): number => sec * 1000 + nsec / 1_000_000
