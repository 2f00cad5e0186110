/*
 * A process that mounts a MemoryVfs and serves it until SIGTERM. Prints "ready" when the mount answers. Run as
 * `tsx test/support/serve-memory.ts MOUNTPOINT [channel|fuse-native]`.
 */

import { ROOT_INO } from '../../src/base/ids.ts'
import { MAX_WRITE_BYTES, WANTED_FLAGS } from '../../src/fuse/init.ts'
import { mountFuse } from '../../src/fuse/mount.ts'
import { MemoryVfs } from './memory-vfs.ts'
import { realClock, stderrLog } from './real-clock.ts'

const [mountpoint, how] = process.argv.slice(2)
if (mountpoint === undefined) throw new Error('usage: serve-memory MOUNTPOINT [epoll|worker|fuse-native]')

const world = { clock: realClock, log: stderrLog }
const vfs = new MemoryVfs(realClock)
// The root belongs to whoever mounts, so that an ordinary user can write into it.
const caller = { uid: 0, gid: 0, pid: 0, umask: 0, signal: new AbortController().signal }
await vfs.setattr(ROOT_INO, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }, caller)
const opLog = process.env.OP_LOG === undefined ? undefined : (line: string) => void process.stderr.write(`${line}\n`)
// What an earlier process agreed with the kernel, when this one takes over its mount.
const negotiated =
  process.env.TAKE_OVER === undefined
    ? undefined
    : { minor: 38, flags: new Set(WANTED_FLAGS), maxWriteBytes: MAX_WRITE_BYTES }
const options = { mountpoint, source: 'holdfast#memory', opLog, negotiated }

const mounted =
  how === 'fuse-native'
    ? await (await import('../../src/fuse/fuse-native-door.ts')).mountFuseNative(vfs, options, world)
    : await mountFuse(vfs, { ...options, channel: how === 'worker' || how === 'epoll' ? how : undefined }, world)

const stop = async (): Promise<void> => {
  await mounted.unmount()
  await mounted.closed
  process.exit(0)
}
/** As if another client had overwritten "pushed" (same size) and removed "gone": behind the kernel's back, then told. */
const elsewhere = async (): Promise<void> => {
  const { ino } = await vfs.lookup(ROOT_INO, 'pushed', caller)
  await vfs.write(ino, 0, Buffer.from('NEW'), { append: false, killSuidGid: false }, caller)
  const gone = await vfs.lookup(ROOT_INO, 'gone', caller)
  await vfs.unlink(ROOT_INO, 'gone', caller)
  vfs.tell({ kind: 'inode', ino, data: true })
  vfs.tell({ kind: 'entry', parent: ROOT_INO, name: 'gone', child: gone.ino })
}
process.on('SIGUSR2', () => void elsewhere())
process.on('SIGTERM', () => void stop())
process.on('SIGINT', () => void stop())
void mounted.closed.then(() => process.exit(0))
process.stdout.write('ready\n')
