/* The scripts around the program, in a copy of the checkout: building, building twice at once, the program's own start. */

import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, realpath, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

async function node(cwd: string, ...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    return { code: 0, ...(await run(process.execPath, words, { cwd, timeout: 120_000 })) }
  } catch (error) {
    const failed = error as { code?: unknown; stdout: string; stderr: string }
    if (typeof failed.code !== 'number') throw error
    return { code: failed.code, stdout: failed.stdout, stderr: failed.stderr }
  }
}

describe('a checkout', () => {
  let copy: string
  beforeAll(async () => {
    copy = await realpath(await mkdtemp(join(tmpdir(), 'holdfast-checkout-')))
    for (const name of ['src', 'scripts', 'bin', 'package.json', 'package-lock.json', 'tsconfig.json'])
      await cp(join(root, name), join(copy, name), { recursive: true, preserveTimestamps: true })
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  })
  afterAll(async () => {
    await rm(copy, { recursive: true, force: true })
  })
  const build = (): Promise<{ code: number; stderr: string }> => node(copy, 'scripts/build.mjs')

  it('that is not built says how to build it', async () => {
    const { code, stderr } = await node(copy, 'bin/holdfast', 'status')
    expect([code, stderr]).toEqual([69, expect.stringContaining('run build')])
  })

  it('is built once, then left alone until a source is changed or goes away', async () => {
    expect(await build()).toMatchObject({ code: 0, stderr: '' })
    const stamp = (): Promise<string> => readFile(join(copy, 'dist', 'cli', 'render.js'), 'utf8')
    await writeFile(join(copy, 'dist', 'cli', 'render.js'), 'untouched')
    await build()
    expect(await stamp()).toBe('untouched')
    const later = new Date(Date.now() + 1000)
    await utimes(join(copy, 'src', 'cli', 'render.ts'), later, later)
    await build()
    expect(await stamp()).toContain('export')
    await writeFile(join(copy, 'src', 'cli', 'extra.ts'), '/* Extra. */\nexport const extra = 1\n')
    await build()
    expect(await readdir(join(copy, 'dist', 'cli'))).toContain('extra.js')
    await rm(join(copy, 'src', 'cli', 'extra.ts'))
    await build()
    expect(await readdir(join(copy, 'dist', 'cli'))).not.toContain('extra.js')
  })

  it('with a mistake in it keeps the last good build and says where', async () => {
    const file = join(copy, 'src', 'cli', 'wrong.ts')
    await writeFile(file, '/* Wrong. */\nexport const wrong: number = "text"\n')
    const { code, stderr } = await build()
    expect([code, stderr]).toEqual([1, expect.stringContaining('do not compile')])
    expect((await node(copy, 'bin/holdfast', '--version')).code).toBe(0)
    await rm(file)
  })

  it('can be built twice at once while the program runs', async () => {
    let done = false
    const builds = Promise.all([1, 2].map(() => node(copy, 'scripts/build.mjs', '--force'))).finally(() => {
      done = true
    })
    const seen = new Set<number>()
    while (!done) seen.add((await node(tmpdir(), join(copy, 'bin', 'holdfast'), '--version')).code)
    expect((await builds).map((b) => b.code)).toEqual([0, 0])
    expect([...seen]).toEqual([0])
    expect((await readdir(copy)).filter((name) => name.startsWith('dist.new'))).toEqual([])
  })

  it('runs through a symlink, from anywhere', async () => {
    const link = join(copy, 'link')
    await symlink(join(copy, 'bin', 'holdfast'), link)
    const { stdout } = await run(link, ['--version'], { cwd: '/' })
    expect(stdout).toMatch(/^holdfast\/\d+\.\d+\.\d+ /)
  })
})
