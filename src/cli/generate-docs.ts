/*
 * The pages of docs/ that are made from the tables: protocol, configuration, errors, command line. A test compares the
 * files with what is made here, so a table cannot change without its page.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from '@oclif/core'
import { errno } from '../base/errno.ts'
import type { Schema } from '../base/schema.ts'
import type { ConfigRows } from '../config/rows.ts'
import { sections } from '../config/tables.ts'
import { fuseNativePage } from '../fuse/fuse-native-limits.ts'
import { commands } from '../master/core/commands.ts'
import { type CallRow, calls, PROTOCOL_VERSION } from '../wire/protocol.ts'
import { COMMANDS } from './commands.ts'

const NOTE = '<!-- Made by `npm run docs` from the tables in src/; edit those. -->'

export function generatedPages(): Record<string, string> {
  return {
    'docs/protocol.md': protocolPage(),
    'docs/config.md': configPage(),
    'docs/errors.md': errorsPage(),
    'docs/cli.md': cliPage(),
    'docs/fuse-native.md': fuseNativePage(),
  }
}

const page = (title: string, intro: string, ...parts: string[]): string =>
  `${[`# ${title}`, NOTE, intro, ...parts].map((part) => part.trim()).join('\n\n')}\n`

/** In a Markdown table a bar ends the cell. */
const cell = (text: string | number): string => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ')
const row = (...cells: (string | number)[]): string => `| ${cells.map(cell).join(' | ')} |`
const grid = (head: string[], rows: string[]): string =>
  [row(...head), row(...head.map(() => '---')), ...rows].join('\n')
const code = (text: string): string => `\`${text}\``

function shape(schema: Schema<never>): string {
  const fields = (schema as { fields?: Record<string, Schema<never>> }).fields
  if (fields === undefined) return code(schema.describe)
  const names = Object.entries(fields)
  if (names.length === 0) return 'nothing'
  return names.map(([name, field]) => `\`${name}\`: ${field.describe}`).join('; ')
}

function protocolPage(): string {
  const callRows = (Object.entries(calls) as unknown as [string, CallRow][]).map(([name, c]) => {
    const marks = [
      c.oneWay ? 'one way' : '',
      c.bulk === 'none' ? '' : `bytes ride on the ${c.bulk}`,
      c.idempotent ? '' : 'not repeatable',
    ].filter((mark) => mark !== '')
    return [
      `### ${c.id} ${name}`,
      `${c.says}${marks.length === 0 ? '' : ` *(${marks.join('; ')})*`}`,
      `- asked by: ${c.by.join(', ')}`,
      `- request: ${shape(c.request as unknown as Schema<never>)}`,
      ...(c.oneWay ? [] : [`- reply: ${shape(c.reply as unknown as Schema<never>)}`]),
      ...(c.failures.length === 0 ? [] : [`- failures: ${c.failures.join(', ')}`]),
    ].join('\n')
  })
  const commandRows = Object.entries(commands).map(([name, c]) =>
    row(
      c.id,
      code(name),
      c.from === undefined ? 'the master itself' : code(c.from),
      c.says,
      shape(c.fields as unknown as Schema<never>),
    ),
  )
  return page(
    'Protocol and changelog',
    `Everything two processes of Holdfast say to each other (protocol version ${PROTOCOL_VERSION}), and every command of the ` +
      'changelog. A frame is a fixed header, a msgpack body and raw bytes beside it. Fields travel as a tuple in the order ' +
      'given; new fields go last. Names are byte strings. Every call may also fail with the errors of a connection ' +
      '(ECONNRESET, ETIMEDOUT, EPROTO).',
    '## Calls',
    ...callRows,
    '## Commands of the changelog',
    'What changes the state of the master. A command stands in the changelog with index, time, session and sequence number.',
    grid(['id', 'command', 'answers', 'what it does', 'fields'], commandRows),
  )
}

function configPage(): string {
  const intros: Record<string, string> = {
    cluster: 'For every role.',
    log: 'For every role.',
    master: 'Read by `holdfast run master`.',
    chunkserver: 'Read by `holdfast run chunkserver`.',
    mount: 'Read by `holdfast run mount`.',
  }
  const parts = Object.entries(sections as Record<string, ConfigRows>).flatMap(([name, rows]) => [
    `## [${name}]`,
    intros[name] ?? '',
    grid(
      ['key', 'type', 'unit', 'default', 'meaning', 'danger'],
      Object.entries(rows).map(([key, r]) =>
        row(
          code(key),
          r.type,
          r.unit || '-',
          r.default === undefined ? '**must be given**' : code(r.show(r.default as never)),
          r.means,
          r.danger || '-',
        ),
      ),
    ),
  ])
  return page(
    'Configuration',
    'A role reads one TOML file (`--config`, default `/etc/holdfast/holdfast.toml`). One file may hold the sections of ' +
      'several roles. An unknown key is an error. Relative paths count from the directory of the file. Sizes may be ' +
      'written as `"64 MiB"`, durations as `"10 min"`. Settings of the whole cluster are changed with `holdfast settings set`.',
    ...parts,
  )
}

function errorsPage(): string {
  return page(
    'Errors',
    'What a mount answers to the kernel, what crosses the wire, what the command line exits with. A failure that is not in ' +
      'this table is a bug: the command line then exits 70.',
    grid(
      ['code', 'number', 'sentence', 'repeating may help', 'HTTP', 'exit code'],
      Object.entries(errno).map(([name, e]) => row(name, e.number, e.text, e.retry ? 'yes' : 'no', e.http, e.exit)),
    ),
  )
}

function cliPage(): string {
  const parts = Object.entries(COMMANDS).map(([id, command]) => commandPart(id.replaceAll(':', ' '), command))
  return page(
    'Command line',
    'Every command takes `--json` (its value on standard output; an error as `{ "error": { code, message, exit } }`) and ' +
      '`--help`. A cluster is found by `--dir`, by `HOLDFAST_DIR`, by the mount that a given path lies in, by ' +
      '`/etc/holdfast/holdfast.toml`, in this order; without any, by `./.holdfast`.',
    ...parts,
  )
}

function commandPart(words: string, command: Command.Class): string {
  const args = Object.entries(command.args).map(([name, arg]) => {
    const shown = name.toUpperCase() + (command.strict ? '' : '…')
    return { shown: arg.required ? shown : `[${shown}]`, text: arg.description ?? '', options: arg.options }
  })
  const flags = Object.entries({ ...command.baseFlags, ...command.flags }).map(([name, flag]) => {
    const value = flag.type === 'option' ? ` ${flag.options?.join('\\|') ?? flag.helpValue ?? 'N'}` : ''
    const preset =
      'default' in flag && typeof flag.default !== 'function' && flag.default !== undefined && flag.default !== ''
    const no = flag.type === 'boolean' && flag.allowNo ? '[no-]' : ''
    const char = flag.char === undefined ? '' : `-${flag.char}, `
    return `- \`${char}--${no}${name}${value.replaceAll('\\', '')}\` ${flag.summary ?? ''}${preset ? ` Default: ${String(flag.default)}.` : ''}`
  })
  const examples = (command.examples ?? []).map((example) =>
    String(example).replaceAll('<%= config.bin %>', 'holdfast'),
  )
  return [
    `## holdfast ${words}${args.map((arg) => ` ${arg.shown}`).join('')}`,
    [command.summary ?? '', command.description ?? ''].filter((text) => text !== '').join('\n\n'),
    [
      ...args.map((arg) => `- \`${arg.shown}\` ${arg.text}${arg.options ? ` One of ${arg.options.join(', ')}.` : ''}`),
      ...flags,
    ].join('\n'),
    `\`\`\`sh\n${examples.join('\n')}\n\`\`\``,
  ]
    .filter((part) => part !== '')
    .join('\n\n')
}

const self = fileURLToPath(import.meta.url)
if (process.argv[1] === self) {
  const root = dirname(dirname(dirname(self)))
  for (const [file, text] of Object.entries(generatedPages())) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
  }
}
