/*
 * Commands and their answers as bytes: a record of the changelog, and the answer that is remembered for a session's request.
 * Both name the command by its number, which is never given again, so old records can always be read.
 */

import { type Errno, errno, errnoFromNumber } from '../../base/errno.ts'
import { assert, type Result } from '../../base/fault.ts'
import type { SessionId } from '../../base/ids.ts'
import { calls } from '../../wire/protocol.ts'
import { type Command, type CommandName, commands, envelope as envelopeSchema } from './commands.ts'
import { pack, unpack } from './records.ts'

/** What stands around a command: see commands.ts. */
export interface Envelope {
  readonly index: number
  readonly sec: number
  readonly nsec: number
  readonly session: SessionId
  readonly seq: number
  readonly acked: number
}

export interface ChangelogEntry {
  readonly envelope: Envelope
  readonly command: Command
  /** undefined: it was carried out. */
  readonly errno: Errno | undefined
}

const commandById: ReadonlyMap<number, CommandName> = new Map(
  (Object.keys(commands) as CommandName[]).map((kind) => [commands[kind].id, kind]),
)

/** A command as it stands in the changelog: [envelope, kind id, fields, errno]. */
export function encodeChangelog(envelope: Envelope, command: Command, code: Errno | undefined): Uint8Array {
  const row = commands[command.kind] as { id: number; fields: { encode: (value: unknown) => unknown } }
  const number = code === undefined ? 0 : errno[code].number
  return pack([envelopeSchema.encode(envelope), row.id, row.fields.encode(command), number])
}

export function decodeChangelog(value: Uint8Array): ChangelogEntry {
  const [around, id, fields, number] = unpack(value) as [unknown, number, unknown, number]
  const kind = commandById.get(id)
  assert(kind !== undefined, `command ${id} of the changelog is known`)
  return {
    envelope: envelopeSchema.decode(around, 'envelope'),
    command: { kind, ...(commands[kind].fields.decode(fields, kind) as object) } as Command,
    errno: number === 0 ? undefined : errnoFromNumber(number),
  }
}

/** The answer in the shape of the call that the command answers: [kind id, errno, reply or detail]. */
export function encodeReply(kind: CommandName, result: Result<unknown>): Uint8Array {
  const { id, from } = commands[kind]
  if ('errno' in result) return pack([id, errno[result.errno].number, result.detail ?? null])
  const schema = from === undefined ? undefined : (calls[from].reply as { encode: (value: unknown) => unknown })
  return pack([id, 0, schema === undefined ? [] : schema.encode(result.ok)])
}

export function decodeReply(value: Uint8Array): Result<unknown> {
  const [id, number, rest] = unpack(value) as [number, number, unknown]
  if (number !== 0) {
    const code = errnoFromNumber(number)
    return typeof rest === 'string' ? { errno: code, detail: rest } : { errno: code }
  }
  const from = commands[commandById.get(id)!].from
  return { ok: from === undefined ? {} : calls[from].reply.decode(rest, 'reply') }
}
