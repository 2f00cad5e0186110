/*
 * One role in the foreground: read its file, make its world, run until a signal, exit. What systemd and the local
 * supervisor start. A mount that cannot be made from this process as it is (see mount-program.ts) starts itself once more
 * and passes signals and the exit code on.
 */

import { spawn } from 'node:child_process'
import { errno } from '../base/errno.ts'
import { errnoOf, FsError } from '../base/fault.ts'
import { loadConfig } from '../config/load.ts'
import { type MountConfig, ROLES, type RoleConfigs } from '../config/tables.ts'
import { collectWhenIdle, growModestly } from '../host/idle-memory.ts'
import { hostLog } from '../host/log.ts'
import { optimiseSoon } from '../host/warm-up.ts'
import { exitOnImpossible, hostWorld, netOf } from '../host/world.ts'
import { stopSignal } from './stop-signal.ts'

/** Does not return: the process ends with the role. */
export async function runRole(word: string, configFile: string): Promise<void> {
  let log = hostLog({ component: word })
  try {
    const role = ROLES.find((name) => name === word)
    if (role === undefined) throw new FsError('EINVAL', `unknown role "${word}"; roles are ${ROLES.join(', ')}`)
    const config = await loadConfig(role, configFile)
    log = hostLog({
      component: role,
      level: config.log.level,
      ...(config.log.file === '' ? {} : { file: config.log.file }),
    })
    exitOnImpossible(log)
    optimiseSoon()
    if (role === 'master') growModestly()
    collectWhenIdle()
    const signal = stopSignal()
    const world = hostWorld(log, await netOf(config.cluster, log))
    switch (role) {
      case 'master':
        await (await import('../master/daemon.ts')).run(config as RoleConfigs['master'], world, signal)
        break
      case 'chunkserver':
        await (await import('../chunk/daemon.ts')).run(config as RoleConfigs['chunkserver'], world, signal)
        break
      case 'mesh':
        await (await import('../mesh/daemon.ts')).run(config as RoleConfigs['mesh'], world, signal)
        break
      case 'mount': {
        const { canMountHere } = await import('./mount-program.ts')
        const mount = config as MountConfig
        if (!canMountHere(mount)) process.exit(await startOnceMore(mount, configFile, signal))
        await (await import('../fuse/daemon.ts')).run(mount, world, signal)
        break
      }
    }
    // The role is over: whatever still holds the event loop (an idle socket, a thread) is of no more use.
    process.exit(0)
  } catch (error) {
    const code = errnoOf(error)
    if (code === undefined) throw error
    log.error({ code, error: (error as Error).message }, 'the role ended with an error')
    process.exit(errno[code].exit)
  }
}

async function startOnceMore(config: MountConfig, configFile: string, signal: AbortSignal): Promise<number> {
  const { mountProgram } = await import('./mount-program.ts')
  const { file, args, env } = await mountProgram(config, configFile)
  const child = spawn(file, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  const pass = (): void => void child.kill('SIGTERM')
  signal.addEventListener('abort', pass)
  return new Promise((done, failed) => {
    child.on('error', failed)
    child.on('close', (code) => done(code ?? errno.EIO.exit))
  })
}
