/*
 * The rules that keep the rooms apart, held by reading the sources. A rule is a row of data; breaking one names the file.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { sections } from '../src/config/tables.ts'
import { commands } from '../src/master/core/commands.ts'
import { calls } from '../src/wire/protocol.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Which rooms a room may import. A `daemon.ts` may import config and host as well: it is where a trade meets the world. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  base: [],
  topology: ['base'],
  wire: ['base'],
  config: ['base'],
  host: ['base'],
  client: ['base', 'topology', 'wire'],
  master: ['base', 'topology', 'wire'],
  chunk: ['base', 'topology', 'wire'],
  mesh: ['base', 'topology', 'wire'],
  fuse: ['base', 'topology', 'wire', 'client'],
  gateway: ['base', 'topology', 'wire', 'client'],
  cli: ['base', 'topology', 'wire', 'config', 'host', 'client', 'master', 'chunk', 'mesh', 'fuse', 'gateway'],
}
const DAEMON_ALSO = ['config', 'host']
/** Of the trades and doors the command line sees the daemons and these; the rest is behind them. */
const cliMaySee: readonly string[] = [
  'src/fuse/mounts.ts',
  'src/fuse/mount.ts',
  'src/fuse/fusermount.ts',
  'src/fuse/fuse-native-door.ts',
  'src/fuse/fuse-native-limits.ts',
  'src/master/core/',
  'src/master/lmdb-store.ts',
  'src/master/reports.ts',
  'src/chunk/core/',
  // Founding and joining a mesh are done before there is a role that could.
  'src/mesh/core/',
  'src/mesh/files.ts',
  'src/mesh/join-client.ts',
  'src/mesh/keys.ts',
  'src/mesh/map-keys.ts',
  // Leaving takes the interface away, also where no agent runs.
  'src/mesh/wireguard.ts',
]

/** Packages that only these files know, so that replacing one is a small change. */
const packageHomes: Readonly<Record<string, readonly string[]>> = {
  '@oclif/core': ['src/cli/'],
  execa: ['src/mesh/wireguard.ts', 'src/cli/commands/mesh.ts', 'src/cli/commands/doctor.ts'],
  'fuse-native': ['src/fuse/fuse-native-door.ts'],
  lmdb: ['src/master/lmdb-store.ts'],
  msgpackr: ['src/wire/codec.ts', 'src/master/core/records.ts'],
  '@node-rs/crc32': ['src/base/checksum.ts'],
  '@peculiar/x509': ['src/host/certificates.ts'],
  'reflect-metadata': ['src/host/certificates.ts'],
  'p-queue': ['src/master/orders.ts'],
  pino: ['src/host/log.ts'],
  'smol-toml': ['src/config/'],
}

/** Values in, values out: no I/O, no clock, no dice, nothing that waits. */
const isPure = (file: string): boolean =>
  /^src\/(topology\/|[^/]+\/core\/)/.test(file) || (file.startsWith('src/base/') && !impureBase.includes(file))
/** Worker is a loop over a clock that it is given. */
const impureBase = ['src/base/worker.ts', 'src/base/places.ts', 'src/base/lifecycle.ts', 'src/base/world.ts']
/** The built-in CRC is a function without state. */
const mayUseNode = ['src/base/checksum.ts']

/** Time and chance come from host/ through World; the command line is a shell of its own. */
const TIME_AND_CHANCE =
  /\b(setTimeout|setInterval|Date\.now|new Date\b|Math\.random|performance\.now|process\.hrtime)\b/
/** A thread that measures time cannot ask another one for it. */
const ownTime = ['src/mesh/probe-thread.ts']
const WAITS = /\basync\b|\bawait\b|\bnew Promise\b|\bqueueMicrotask\b|\bsetImmediate\b/

/** Programs start here; what none of them reaches is dead. */
const entries = ['src/cli/main.ts', 'src/cli/commands.ts', 'src/cli/generate-docs.ts']
/** The in-memory store is for tests and simulation, and lives beside the interface it fulfils. */
const reachedOtherwise: readonly string[] = ['src/master/memory-store.ts']

interface Source {
  readonly file: string
  readonly text: string
  /** Without comments and the inside of strings. */
  readonly code: string
  readonly imports: readonly string[]
}

function filesBelow(dir: string, ending: RegExp): string[] {
  if (!existsSync(join(root, dir))) return []
  return readdirSync(join(root, dir), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort()
}

function read(file: string): Source {
  const text = readFileSync(join(root, file), 'utf8')
  // Strings, template texts, comments, in one pass so that none hides in another. Regular expressions are kept.
  const code = text.replaceAll(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`/g,
    (match) => (match.startsWith('/') ? ' ' : "''"),
  )
  const imports = [
    ...text.matchAll(
      /^(?:import|export)\b[^'"`;]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'|\bimport\(\s*'([^']+)'|new URL\(\s*'(\.[^']+\.[tj]s)'/gm,
    ),
  ].map((match) => (match[1] ?? match[2] ?? match[3] ?? match[4])!)
  return { file, text, code, imports }
}

const sources = filesBelow('src', /\.ts$/).map(read)
const tests = filesBelow('test', /\.ts$/).map(read)
const roomOf = (file: string): string => file.split('/')[1]!
const target = (source: Source, specifier: string): string =>
  normalize(join(dirname(source.file), specifier)).replace(/\.js$/, '.ts')
const local = (source: Source): string[] =>
  source.imports.filter((name) => name.startsWith('.')).map((name) => target(source, name))
const packageOf = (name: string): string =>
  name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/')

function broken(find: (source: Source) => string[]): string[] {
  return sources.flatMap((source) => find(source).map((what) => `${source.file}: ${what}`))
}

describe('imports', () => {
  it('go down the rooms only, and every room is in the table', () => {
    expect(
      broken((source) => {
        const room = roomOf(source.file)
        const allowed = mayImport[room]
        if (allowed === undefined) return ['is in no known room']
        const also = source.file === `src/${room}/daemon.ts` ? DAEMON_ALSO : []
        return local(source)
          .filter((file) => file.startsWith('src/'))
          .map(roomOf)
          .filter((other) => other !== room && !allowed.includes(other) && !also.includes(other))
          .map((other) => `must not import ${other}`)
      }),
    ).toEqual([])
  })

  it('of the command line reach trades and doors at their daemons and named files only', () => {
    const deep = ['client', 'master', 'chunk', 'mesh', 'fuse', 'gateway']
    expect(
      broken((source) =>
        roomOf(source.file) !== 'cli'
          ? []
          : local(source)
              .filter((file) => deep.includes(roomOf(file)) && !file.endsWith('/daemon.ts'))
              .filter((file) => !cliMaySee.some((seen) => file.startsWith(seen)))
              .map((file) => `must not import ${file}`),
      ),
    ).toEqual([])
  })

  it('of a core stay in cores, topology, wire tables and base', () => {
    const tables = [
      'src/wire/protocol.ts',
      'src/wire/shapes.ts',
      'src/wire/mesh-shapes.ts',
      'src/wire/reports.ts',
      'src/wire/reports-mesh.ts',
      'src/client/vfs.ts',
    ]
    expect(
      broken((source) =>
        !source.file.includes('/core/')
          ? []
          : local(source)
              .filter((file) => !file.startsWith('src/base/') && !file.startsWith('src/topology/'))
              .filter((file) => dirname(file) !== dirname(source.file) && !tables.includes(file))
              .map((file) => `must not import ${file}`),
      ),
    ).toEqual([])
  })

  it('of a package stand in the files that own it, and every package in package.json', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
      string,
      Record<string, string>
    >
    const known = { ...manifest.dependencies, ...manifest.optionalDependencies }
    expect(
      broken((source) =>
        source.imports
          .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
          .map(packageOf)
          .filter(
            (name) => !(packageHomes[name] ?? []).some((home) => source.file.startsWith(home)) || !(name in known),
          )
          .map((name) => `must not import ${name}`),
      ),
    ).toEqual([])
  })

  it('name files with their ending and exist', () => {
    expect(
      [...sources, ...tests].flatMap((source) =>
        source.imports
          .filter((name) => name.startsWith('.') && !existsSync(join(root, dirname(source.file), name)))
          // What a program loads beside itself after the build.
          .filter((name) => !name.endsWith('.js'))
          .map((name) => `${source.file}: ${name}`),
      ),
    ).toEqual([])
  })
})

describe('pure rooms', () => {
  it('use no node: module, no clock, no chance, and never wait', () => {
    expect(
      broken((source) => {
        if (!isPure(source.file)) return []
        const node = source.imports.filter((name) => name.startsWith('node:') && !mayUseNode.includes(source.file))
        const waits = WAITS.exec(source.code)?.[0]
        return [...node, ...(waits === undefined ? [] : [waits])].map((what) => `is pure and must not use ${what}`)
      }),
    ).toEqual([])
  })

  it('are not the only ones without a clock: only host/ and cli/ read time and chance', () => {
    expect(
      broken((source) => {
        if (['host', 'cli'].includes(roomOf(source.file)) || ownTime.includes(source.file)) return []
        const found = TIME_AND_CHANCE.exec(source.code)?.[0]
        return found === undefined ? [] : [`must take ${found} from World`]
      }),
    ).toEqual([])
  })
})

describe('tables', () => {
  const duplicates = (ids: number[]): number[] => ids.filter((id, i) => ids.indexOf(id) !== i)
  it('never use an id twice', () => {
    expect(duplicates(Object.values(calls).map((row) => row.id))).toEqual([])
    expect(duplicates(Object.values(commands).map((row) => row.id))).toEqual([])
  })
  it('name an existing call as the origin of a command', () => {
    const origins = Object.values(commands).flatMap((row) => (row.from === undefined ? [] : [row.from]))
    expect(origins.filter((name) => !Object.hasOwn(calls, name))).toEqual([])
  })
  it('have no row of configuration that nothing reads', () => {
    const readers: Record<string, RegExp> = {
      master: /^src\/master\/daemon\.ts$/,
      chunkserver: /^src\/chunk\/daemon\.ts$/,
      mount: /^src\/fuse\/daemon\.ts$/,
      cluster: /(daemon|host\/world|config\/load)\.ts$/,
      log: /^src\/cli\/role\.ts$/,
      mesh: /^src\/(mesh\/daemon|cli\/find)\.ts$/,
    }
    const unread = Object.entries(sections).flatMap(([section, rows]) => {
      const text = sources.filter((s) => readers[section]!.test(s.file)).map((s) => s.text)
      return Object.keys(rows)
        .filter((key) => !text.some((code) => new RegExp(`\\b${key}\\b`).test(code)))
        .map((key) => `[${section}] ${key}`)
    })
    expect(unread).toEqual([])
  })
})

describe('files', () => {
  it('of src are all reached from a program', () => {
    const byFile = new Map(sources.map((source) => [source.file, source]))
    const reached = new Set<string>()
    const queue = [...entries, ...reachedOtherwise]
    for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
      const source = byFile.get(file)
      if (source === undefined || reached.has(file)) continue
      reached.add(file)
      queue.push(...local(source))
    }
    expect(sources.map((s) => s.file).filter((file) => !reached.has(file))).toEqual([])
  })

  it('export nothing that nobody names', () => {
    const others = filesBelow('test', /\.ts$/).concat(filesBelow('bench', /\.ts$/))
    const texts = others.map((file) => readFileSync(join(root, file), 'utf8'))
    const words = [...sources.map(({ code }) => code), ...texts].map((text) => new Set(text.match(/\w+/g)))
    const unnamed = sources.flatMap(({ file, code }, at) =>
      [...code.matchAll(/^export (?:async )?(?:const|function|class|interface|type) (\w+)/gm)]
        .map(([, name]) => name!)
        .filter((name) => code.split(new RegExp(`\\b${name}\\b`)).length === 2)
        .filter((name) => !words.some((set, i) => i !== at && set.has(name)))
        .map((name) => `${file}: ${name}`),
    )
    expect(unnamed).toEqual([])
  })

  it('have no leftovers: .only, TODO, FIXME, debugger, paths of one machine', () => {
    const own = 'test/tidy.test.ts'
    const leftovers: [string, RegExp][] = [
      ['.only', /\b(?:it|test|describe)\.only\b/],
      ['a note to self', /\b(?:TODO|FIXME|XXX|HACK)\b/],
      ['debugger', /^\s*debugger\b/m],
      ['a path of one machine', /(?:\/home\/|\/Users\/|\/work\/)[a-z]/],
    ]
    const others = [
      ...filesBelow('scripts', /\.mjs$/),
      ...filesBelow('bench', /\.(ts|mjs|md)$/),
      ...filesBelow('docs', /\.md$/),
      ...readdirSync(root).filter((name) => name.endsWith('.md')),
    ]
    const found = [...sources, ...tests, ...others.map(read)]
      .filter((source) => source.file !== own)
      .flatMap((source) =>
        leftovers.filter(([, sign]) => sign.test(source.text)).map(([what]) => `${source.file}: ${what}`),
      )
    expect(found).toEqual([])
  })

  it('of src open with their reason and export names only', () => {
    expect(
      broken((source) => [
        ...(/^(?:#![^\n]*\n)?\/\*/.test(source.text) ? [] : ['opens without its reason']),
        ...(/^export default\b/m.test(source.code) ? ['has a default export'] : []),
        ...(/^export \* from/m.test(source.code) ? ['is a barrel'] : []),
      ]),
    ).toEqual([])
  })

  it('that are generated are fresh (npm run docs)', async () => {
    const { generatedPages } = await import('../src/cli/generate-docs.ts')
    const stale = Object.entries(await generatedPages()).filter(
      ([file, text]) => !existsSync(join(root, file)) || readFileSync(join(root, file), 'utf8') !== text,
    )
    expect(stale.map(([file]) => file)).toEqual([])
  })
})
