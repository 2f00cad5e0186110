/*
 * Starts a program that serves a mount in a child process, waits until it says so, and stops it again whatever happened.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mountsAt, unmount } from '../../src/fuse/mounts.ts'
import { stderrLog } from './real-clock.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const SERVE_MEMORY: string = join(ROOT, 'test/support/serve-memory.ts')
/** Node's arguments that let it run TypeScript sources. */
export const RUN_TYPESCRIPT: readonly string[] = ['--import', import.meta.resolve('tsx')]

export interface MountChild {
  readonly path: string
  readonly child: ChildProcess
  /** What the child has written to its standard error. */
  errors(): string
  /** Ends it with a signal and waits until it is gone. The mount point stays. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Ends it in order, unmounts what is left, removes the mount point. */
  stop(): Promise<void>
}

export const canMount = (): boolean => existsSync('/dev/fuse') && process.getuid?.() === 0

export async function mountpoint(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-mount-'))
  await chmod(path, 0o755)
  return path
}

export async function serveMemory(
  options: { path?: string; how?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<MountChild> {
  const path = options.path ?? (await mountpoint())
  const args = [...RUN_TYPESCRIPT, SERVE_MEMORY, path, ...(options.how === undefined ? [] : [options.how])]
  return serve(path, process.execPath, args, { env: { ...process.env, ...options.env } })
}

export async function serve(
  path: string,
  file: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; uid?: number; gid?: number; deviceFd?: number } = {},
): Promise<MountChild> {
  const mountedBefore = (await mountsAt(path)).length
  const child = spawn(file, args, {
    ...options,
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe', options.deviceFd ?? 'ignore'],
  })
  let said = ''
  const gone = new Promise<void>((resolve) => child.on('close', () => resolve()))
  const ready = new Promise<void>((resolve, reject) => {
    child.stdout!.on('data', (piece: Buffer) => {
      if (piece.toString().includes('ready')) resolve()
    })
    child.stderr!.on('data', (piece: Buffer) => {
      said = (said + piece.toString()).slice(-1_000_000)
    })
    child.on('error', reject)
    child.on('close', (code) => reject(new Error(`the server ended with ${code} before it was ready: ${said}`)))
  })
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    await gone
  }
  const stop = async (): Promise<void> => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
    await kill('SIGTERM')
    clearTimeout(timer)
    if ((await mountsAt(path)).length > 0) await unmount(path, stderrLog)
    await rmdir(path)
  }
  try {
    await ready
  } catch (error) {
    await kill('SIGKILL')
    if ((await mountsAt(path)).length > mountedBefore) await unmount(path, stderrLog)
    throw error
  }
  return { path, child, errors: () => said, kill, stop }
}
