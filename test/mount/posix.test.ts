/*
 * Thousands of system calls on a mount and on a directory of this machine's own disk, which is the judge: what each call
 * answers, and what lstat says of everything afterwards, must be the same. The table is posix-cases.py; it is carried out by
 * several processes at once, because a mount that answers one caller rightly may not answer four.
 */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'

const run = promisify(execFile)
const TABLE = fileURLToPath(new URL('./posix-cases.py', import.meta.url))
const SHARES = 4
/** Divergences shown of a failed run; the rest is counted. */
const SHOWN = 20
const LONG = 600_000

/** Where the kernel does not tell a FUSE server what it would need to know. Each stands in docs/posix.md. */
const KNOWN: readonly { readonly title: RegExp; readonly why: string }[] = [
  {
    title: / of a file (2745|6767) by (other|switched)$|outlives the rights of other$/,
    why: 'set-gid without group execute falls for callers outside the group; the request does not tell their groups',
  },
  {
    title: /^chown nobody of a file (4755|2755|2745|6777|6767|4711) /,
    why: 'chown(-1, -1) arrives as no change at all',
  },
]

type Answers = Record<string, readonly [answers: readonly unknown[], entries: readonly unknown[]]>

async function carriedOut(directory: string): Promise<Answers> {
  const shares = Array.from({ length: SHARES }, async (_, share) => {
    const own = join(directory, `share-${share}`)
    await mkdir(own, { mode: 0o755 })
    const { stdout } = await run('python3', [TABLE, own, `${share}/${SHARES}`], { maxBuffer: 1 << 28, timeout: LONG })
    return JSON.parse(stdout) as Answers
  })
  return Object.assign({}, ...(await Promise.all(shares))) as Answers
}

describe.skipIf(!canMount())('a table of system calls', () => {
  let cluster: LocalCluster
  let plain: string
  beforeAll(async () => {
    plain = await mkdtemp(join(tmpdir(), 'holdfast-plain-'))
    cluster = await LocalCluster.start({ mounts: 1 })
  })
  afterAll(async () => {
    try {
      await cluster?.stop()
    } finally {
      await rm(plain, { recursive: true, force: true })
    }
  })

  test('answers and leaves on a mount what it does on a local disk', { timeout: LONG }, async () => {
    const judge = await carriedOut(plain)
    const mount = await carriedOut(cluster.path())
    expect(Object.keys(mount).length).toBeGreaterThan(10_000)
    expect(Object.keys(mount).sort()).toEqual(Object.keys(judge).sort())
    const differing = Object.keys(judge).filter((title) => !isDeepStrictEqual(judge[title], mount[title]))
    const unknown = differing.filter((title) => !KNOWN.some((known) => known.title.test(title)))
    const said = unknown
      .slice(0, SHOWN)
      .map((title) => `${title}\n  disk:  ${JSON.stringify(judge[title])}\n  mount: ${JSON.stringify(mount[title])}`)
    expect(unknown.length, `${unknown.length} cases differ:\n${said.join('\n')}`).toBe(0)
    for (const { title, why } of KNOWN)
      expect(
        differing.some((each) => title.test(each)),
        `no longer true: ${why}`,
      ).toBe(true)
  })
})
