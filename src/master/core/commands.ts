/*
 * THE table of commands: everything that changes the master's state, as it stands in the changelog. A command is prepared
 * by the leader (time, new ids and chosen servers are filled in) and then applied by `apply`, which is deterministic,
 * total and the only code that changes state: live, replay, standby, offline check and simulator all call it.
 *
 * `id` is never reused. Fields travel as a tuple in the order of the table; new fields go last and are optional.
 * `from` names the wire call that it answers: the reply of `apply` has that call's shape and is remembered by the stamp.
 * Commands without `from` are the master's own (no one waits for a reply).
 */

import { type Schema, struct, uint } from '../../base/schema.ts'
import { session } from '../../wire/shapes.ts'
import { chunkCommands } from './commands-chunks.ts'
import { fileCommands } from './commands-files.ts'
import { meshCommands } from './commands-mesh.ts'
import { treeCommands } from './commands-trees.ts'

export const commands = {
  ...fileCommands,
  ...chunkCommands,
  ...treeCommands,
  ...meshCommands,
} as const

export type Commands = typeof commands
export type CommandName = keyof Commands
type FieldsOf<N extends CommandName> = Commands[N]['fields'] extends Schema<infer F> ? F : never
/** A command ready for `apply`: its kind and its fields. */
export type Command = { readonly [N in CommandName]: { readonly kind: N } & FieldsOf<N> }[CommandName]
export type CommandOf<N extends CommandName> = Extract<Command, { kind: N }>

/** What stands around a command in the changelog: when, and whose request it was (session 0 = the master's own). */
export const envelope = struct({ index: uint(), sec: uint(), nsec: uint(), session, seq: uint(), acked: uint() })
