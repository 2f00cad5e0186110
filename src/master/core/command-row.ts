/* What a row of the table of commands is. The rows stand in files by what they are about; `commands.ts` is the one table. */

import { list, type Schema } from '../../base/schema.ts'
import type { CallName } from '../../wire/protocol.ts'
import { session } from '../../wire/shapes.ts'

export interface Row<F, C extends CallName | undefined> {
  readonly id: number
  readonly from: C
  readonly fields: Schema<F>
  readonly says: string
}
export const command = <F, const C extends CallName | undefined>(
  id: number,
  from: C,
  says: string,
  fields: Schema<F>,
): Row<F, C> => ({
  id,
  from,
  fields,
  says,
})

/** A session that has the inode open when its last name goes: the inode lives until all of them have released it. */
export const openIn = list(session, 4096)
