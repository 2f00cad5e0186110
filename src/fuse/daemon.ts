/*
 * The mount role: a client of the cluster, served to the kernel by one of the doors, until told to stop or unmounted by
 * somebody. Order of stopping: the kernel first (no new operations), then everything unwritten goes out, then the session.
 */

import { createWriteStream } from 'node:fs'
import { hostname } from 'node:os'
import { FsError, isRefusal } from '../base/fault.ts'
import type { World } from '../base/world.ts'
import { Filesystem } from '../client/filesystem.ts'
import { MetaFilesystem } from '../client/meta-filesystem.ts'
import { mountSource } from '../config/mount-source.ts'
import type { MountConfig } from '../config/tables.ts'
import { version } from '../host/version.ts'
import { labelName } from '../topology/label-names.ts'
import { type Mounted, mountFuse } from './mount.ts'

/** How long the first connection to the master may take before the role gives up (and its supervisor tries again). */
const START_MS = 30_000

/** Throws FsError when the cluster or the mount point cannot be used. Resolves when unmounted. */
export async function run(config: MountConfig, world: World, signal: AbortSignal): Promise<void> {
  const { masterHost: host, masterPort: port, machine, rack, site } = config
  const prefer = config.prefer.map((label) => {
    const name = labelName(label)
    if (isRefusal(name)) throw new FsError(name.errno, `configuration of the mount, prefer: ${name.detail}`)
    return name.ok
  })
  const placed = `${machine}${rack}${site}` !== '' || prefer.length > 0
  if (config.meta && process.getuid?.() !== 0)
    throw new FsError('EPERM', 'a meta mount shows the deleted files of everybody: only root makes one')
  const common = {
    master: { host, port },
    cluster: config.cluster.id,
    hostName: hostname(),
    mountpoint: config.mountpoint,
    version,
    ownHost: '127.0.0.1',
    onDisconnect: config.onDisconnect,
    onDisconnectMs: config.onDisconnectMs,
    cacheBytes: config.cacheBytes,
    connections: config.connections,
    ...(placed ? { place: { place: { machine, rack, site }, prefer } } : {}),
  }
  const filesystem = config.meta
    ? new MetaFilesystem(world, common)
    : new Filesystem(world, { ...common, dirtyBytes: config.writeBufferBytes })
  await filesystem.start(START_MS)
  const opLog = config.opLog === '' ? undefined : createWriteStream(config.opLog, { flags: 'a', mode: 0o600 })
  const options = {
    mountpoint: config.mountpoint,
    source: mountSource(host, port, config.meta),
    allowOther: config.allowOther && !config.meta,
    readOnly: config.readOnly,
    ...(opLog === undefined ? {} : { opLog: (line: string) => void opLog.write(`${line}\n`) }),
  }
  const mounted: Mounted =
    config.door === 'fuse'
      ? await mountFuse(filesystem, options, world)
      : await (await import('./fuse-native-door.ts')).mountFuseNative(filesystem, options, world)
  const stop = (): void => {
    mounted.unmount().catch((error: unknown) => {
      world.log.error({ error: String(error) }, 'could not unmount; unmount it by hand (umount -l)')
    })
  }
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  await mounted.closed
  try {
    await filesystem.close()
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    world.log.error({ error: error.message }, 'some written data could not be stored before the end of the mount')
    throw error
  } finally {
    opLog?.end()
  }
}
