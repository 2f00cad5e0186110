/*
 * The lines between the two sites that the benchmark plays, and how much is moved over them. Data only.
 *
 * Losses are given as those of a round trip and split evenly: 1 % there and back is half a per cent in each direction. So
 * is the delay. The rate holds for each direction by itself, whole IP packets counted, behind a queue of 100 ms.
 */

import type { LinkShape } from '../../test/wan/link-model.ts'

export interface WanCase {
  readonly id: 'lan' | '20ms' | '40ms' | '160ms'
  readonly title: string
  readonly rttMs: number
  /** Of packets there and back. */
  readonly lossRate: number
  /** null: as fast as the machine carries it. */
  readonly mbit: number | null
}

export const cases: readonly WanCase[] = [
  { id: 'lan', title: 'LAN', rttMs: 0, lossRate: 0, mbit: null },
  { id: '20ms', title: '20 ms, 0 %', rttMs: 20, lossRate: 0, mbit: null },
  { id: '40ms', title: '40 ms, 1 %, 100 Mbit/s', rttMs: 40, lossRate: 0.01, mbit: 100 },
  { id: '160ms', title: '160 ms, 0.5 %, 100 Mbit/s', rttMs: 160, lossRate: 0.005, mbit: 100 },
]

export function shapeOf({ rttMs, lossRate, mbit }: WanCase): Partial<LinkShape> {
  return { delayMs: rttMs / 2, lossRate: lossRate / 2, mbit, queueMs: 100 }
}

/** cubic is what a Linux kernel comes with; both are set as the congctl of the route into the tunnels. */
export type Congestion = 'cubic' | 'bbr'

export interface Scale {
  readonly writeBytes: number
  readonly writeRuns: number
  readonly files: number
  /** An untar or a find that takes longer is ended: what counts is the rate until then. */
  readonly smallLimitS: number
  readonly mirrorBytes: number
  /** Copying to the other site is watched for so long at most, from its first bytes on. */
  readonly mirrorLimitS: number
  /** MooseFS looks through its chunks every five minutes; whoever has not begun by then will not. */
  readonly beginLimitS: number
  /** Round trips of the echo, twenty milliseconds apart, idle and again beside the copying. */
  readonly echoes: number
  readonly cutS: number
  /** After the line is back: whoever has not gone on by then has not. */
  readonly resumeLimitS: number
}

const MiB = 1024 * 1024

export const fullScale: Scale = {
  writeBytes: 256 * MiB,
  writeRuns: 3,
  files: 5000,
  smallLimitS: 30,
  mirrorBytes: 512 * MiB,
  mirrorLimitS: 45,
  beginLimitS: 330,
  echoes: 500,
  cutS: 60,
  resumeLimitS: 30,
}

export const quickScale: Scale = {
  writeBytes: 32 * MiB,
  writeRuns: 1,
  files: 500,
  smallLimitS: 5,
  mirrorBytes: 64 * MiB,
  mirrorLimitS: 8,
  beginLimitS: 15,
  echoes: 100,
  cutS: 5,
  resumeLimitS: 10,
}
