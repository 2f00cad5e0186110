/*
 * What the workloads move: a tar of real small files and a git repository, both made of the project's node_modules so that
 * everybody who has installed the project has them. Same input, same bytes: paths sorted, dates and owners fixed. Made once
 * per run in a directory of its own on the local disk, and read before it is used so that no line pays for reading it.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { run } from './machine.ts'

export interface Material {
  /** Holds `files` regular files under `copy-1`, `copy-2`, …. */
  readonly tar: string
  readonly files: number
  readonly repository: string
  readonly repositoryFiles: number
  /** A repository without a commit: something for programs to look at before they are timed. */
  readonly empty: string
}

/** Larger files are left out: three native compilers are most of node_modules' bytes and are no small-file workload. */
const largestBytes = 256 * 1024
const commits = 300

/** Settings of the person who runs the benchmark must not change what git does. */
export const gitEnvironment = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_SYSTEM: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
}

export async function makeMaterial(source: string, directory: string, files: number): Promise<Material> {
  const { path: tar, list } = await makeTar(source, directory, files)
  const repository = `${directory}/repository.git`
  await run('git', ['init', '--quiet', '--bare', '--initial-branch=main', repository], { env: gitEnvironment })
  await run('git', ['-C', repository, 'fast-import', '--quiet'], { env: gitEnvironment, input: history(source, list) })
  await run('git', ['-C', repository, 'repack', '-adq', '--threads=1'], { env: gitEnvironment })
  const empty = `${directory}/empty`
  await run('git', ['init', '--quiet', empty], { env: gitEnvironment })
  return { tar, files, repository, repositoryFiles: list.length, empty }
}

export interface Tar {
  readonly path: string
  readonly files: number
  /** What one copy is made of, relative to the source. */
  readonly list: readonly string[]
}

/** So many files: whole copies of the source and the beginning of one more. */
export async function makeTar(source: string, directory: string, files: number): Promise<Tar> {
  const list = smallFiles(source)
  if (list.length === 0) throw new Error(`no files below ${source}: npm ci first`)
  await mkdir(directory, { recursive: true })
  const path = `${directory}/tree.tar`
  for (let done = 0, copy = 1; done < files; done += list.length, copy++) {
    const taken = list.slice(0, files - done)
    await writeFile(`${directory}/list`, taken.map((path) => `${path}\0`).join(''))
    const fixed = ['--owner=0', '--group=0', '--numeric-owner', '--mtime=@1700000000', '--format=gnu']
    const names = [`--transform=s,^,copy-${copy}/,`, '--null', '--no-recursion', `--files-from=${directory}/list`]
    await run('tar', [copy === 1 ? '-cf' : '-rf', path, '-C', source, ...fixed, ...names])
  }
  return { path, files, list }
}

function smallFiles(source: string): string[] {
  const found: string[] = []
  const walk = (below: string) => {
    for (const entry of readdirSync(`${source}/${below}`, { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`
      // Names that git itself would obey, and tool caches that change from day to day, would make runs differ.
      if (entry.name.startsWith('.git') || entry.name.startsWith('.cache') || entry.name.startsWith('.vite')) continue
      if (entry.isDirectory()) walk(path)
      else if (entry.isFile() && statSync(`${source}/${path}`).size <= largestBytes) found.push(path)
    }
  }
  walk('')
  return found.sort()
}

/** A git fast-import stream: everything in the first commit, then commits that each change seven files. */
function* history(source: string, list: readonly string[]): Generator<Buffer | string> {
  const data = function* (bytes: Buffer) {
    yield `data ${bytes.length}\n`
    yield bytes
    yield '\n'
  }
  for (let commit = 0; commit <= commits; commit++) {
    yield `commit refs/heads/main\ncommitter Bench <bench@example.org> ${1_700_000_000 + commit * 60} +0000\n`
    yield* data(Buffer.from(`change ${commit}\n`))
    const changed =
      commit === 0 ? list : Array.from({ length: 7 }, (_, n) => list[(commit * 131 + n * 977) % list.length]!)
    for (const path of new Set(changed)) {
      yield `M 100644 inline ${JSON.stringify(path)}\n`
      const text = readFileSync(`${source}/${path}`)
      yield* data(commit === 0 ? text : Buffer.concat([text, Buffer.from(`\n# change ${commit}\n`)]))
    }
  }
  yield 'done\n'
}
