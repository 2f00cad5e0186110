/*
 * The other direction: a role's settings as a TOML file, for clusters that a tool sets up. Only what differs from the
 * defaults needs to be given; the file written is read back by load.ts like any other.
 */

import { stringify } from 'smol-toml'
import type { RoleConfigs, RoleName, SectionName } from './tables.ts'

type Writable<R extends RoleName> = Partial<Omit<RoleConfigs[R], 'cluster' | 'log'>>

export function configToml<R extends RoleName>(
  role: R,
  values: Writable<R>,
  common: { cluster?: Partial<RoleConfigs[R]['cluster']>; log?: Partial<RoleConfigs[R]['log']> } = {},
): string {
  const tables: Partial<Record<SectionName, object>> = {}
  if (common.cluster !== undefined) tables.cluster = common.cluster
  if (common.log !== undefined) tables.log = common.log
  tables[role] = values
  return stringify(tables)
}
