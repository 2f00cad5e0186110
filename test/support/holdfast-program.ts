/* The program as a person runs it: `bin/holdfast WORDS…` in a process of its own, and what it said. */

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
export const HOLDFAST: string = fileURLToPath(new URL('../../bin/holdfast', import.meta.url))
/** Starting a cluster takes seconds; what takes longer than this hangs. */
const TIMEOUT_MS = 120_000

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export async function holdfast(...words: string[]): Promise<Outcome> {
  // Which cluster is meant is the test's to say, never the environment's.
  const options = { env: { ...process.env, HOLDFAST_DIR: '' }, cwd: tmpdir(), timeout: TIMEOUT_MS }
  try {
    return { code: 0, ...(await run(process.execPath, [HOLDFAST, ...words], options)) }
  } catch (error) {
    const failed = error as { code?: unknown; stdout: string; stderr: string }
    if (typeof failed.code !== 'number') throw error
    return { code: failed.code, stdout: failed.stdout, stderr: failed.stderr }
  }
}

export async function json<T>(...words: string[]): Promise<T> {
  const { code, stdout, stderr } = await holdfast(...words, '--json')
  if (code !== 0) throw new Error(`holdfast ${words.join(' ')} exited ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

export interface StartedCluster {
  readonly base: string
  readonly dir: string
  readonly mnt: string
  /** Also removes everything. */
  stop(): Promise<void>
}

/** `holdfast local start` in a new directory, in the background. */
export async function startLocal(...words: string[]): Promise<StartedCluster> {
  const base = await mkdtemp(join(tmpdir(), 'holdfast-local-'))
  const [dir, mnt] = [join(base, 'cluster'), join(base, 'mnt')]
  const stop = async (): Promise<void> => {
    await holdfast('local', 'stop', '--dir', dir)
    await rm(base, { recursive: true, force: true })
  }
  const { code, stderr } = await holdfast('local', 'start', '--dir', dir, '--mount', mnt, '--detach', ...words)
  if (code !== 0 || stderr !== '') {
    await stop()
    throw new Error(`holdfast local start exited ${code}: ${stderr}`)
  }
  return { base, dir, mnt, stop }
}
