/*
 * How politely data is moved that nobody reads or writes now, as it is set for the whole cluster. Pure: what was never set has
 * its value here, so that a cluster of an older version goes on with it.
 */

import { ok, type Result, refuse } from '../../base/fault.ts'
import type { Moving } from '../../wire/shapes.ts'
import type { Balance } from './rebalance.ts'

export type MovingRules = { readonly [K in keyof Moving]-?: NonNullable<Moving[K]> }

const UNSET: MovingRules = {
  rebalance: true,
  // Chunks of 64 MiB on disks of some 100 GB, and new data that comes meanwhile, make less of a difference.
  rebalancePercent: 5,
  diskBytesPerSecond: 0,
  nodeBytesPerSecond: 0,
  sitesBytesPerSecond: 0,
}
/** Once begun, it goes on until this part of the difference is left: 2 of 5 percent. */
const END_SHARE = 0.4

export const movingRules = (set: Moving | undefined): MovingRules => ({ ...UNSET, ...said(set) }) as MovingRules

/** What is not said stays. */
export function changedMoving(before: Moving | undefined, change: Moving | undefined): Result<Moving | undefined> {
  if (change === undefined) return ok(before)
  if (change.rebalancePercent === 0) return refuse('EINVAL', 'disks are never quite alike: at least one percent')
  return ok({ ...before, ...said(change) })
}

export const balanceOf = ({ rebalancePercent }: MovingRules): Balance => ({
  beginPercent: rebalancePercent,
  endPercent: rebalancePercent * END_SHARE,
})

const said = (moving: Moving = {}): Moving =>
  Object.fromEntries(Object.entries(moving).filter(([, value]) => value !== undefined))
