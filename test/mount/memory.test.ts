/*
 * The kernel's door over the reference model: the conformance suite through both ways of reading the device, and what
 * only a server that can be killed shows.
 */

import { execFile } from 'node:child_process'
import { closeSync } from 'node:fs'
import { chown, open, readFile, rmdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import { FUSERMOUNT_FD_VARIABLE, fusermountCommand } from '../../src/fuse/fusermount.ts'
import { haveFusermount, mountAsRoot } from '../../src/fuse/mount.ts'
import { mountsAt } from '../../src/fuse/mounts.ts'
import { mountConformance } from '../conformance/mount.ts'
import { canMount, mountpoint, RUN_TYPESCRIPT, SERVE_MEMORY, serve, serveMemory } from '../support/mount-child.ts'
import { realClock, stderrLog } from '../support/real-clock.ts'

const run = promisify(execFile)

describe.skipIf(!canMount())('the kernel door', () => {
  mountConformance('memory through epoll', () => serveMemory({ how: 'epoll' }))
  mountConformance('memory through a reading thread', () => serveMemory({ how: 'worker' }))

  test('a killed server leaves a dead mount, and the next start clears it and serves', async () => {
    const first = await serveMemory()
    await writeFile(join(first.path, 'f'), 'x')
    await first.kill('SIGKILL')
    await expect(stat(first.path)).rejects.toMatchObject({ code: 'ENOTCONN' })
    const second = await serveMemory({ path: first.path })
    try {
      await writeFile(join(second.path, 'g'), 'y')
      expect(await mountsAt(second.path)).toHaveLength(1)
    } finally {
      await second.stop()
    }
  })

  test('while somebody holds the descriptor, another server takes a killed one over and answers what it owed', async () => {
    const path = await mountpoint()
    const fd = await mountAsRoot(path, { source: 'holdfast#held' }, { clock: realClock, log: stderrLog })
    const args = [...RUN_TYPESCRIPT, SERVE_MEMORY, path]
    const env = { ...process.env, [FUSERMOUNT_FD_VARIABLE]: '3' }
    const first = await serve(path, process.execPath, args, { env, deviceFd: fd })
    try {
      // Stopped with the question in its hands or in the kernel's queue, and never to answer it.
      first.child.kill('SIGSTOP')
      const asked = stat(join(path, 'unknown'))
      const answered = expect(asked).rejects.toMatchObject({ code: 'ENOENT' })
      await first.kill('SIGKILL')
      const second = await serve(path, process.execPath, args, { env: { ...env, TAKE_OVER: '1' }, deviceFd: fd })
      await answered
      await writeFile(join(path, 'f'), 'served on')
      expect(await readFile(join(path, 'f'), 'utf8')).toBe('served on')
      await second.kill('SIGTERM')
    } finally {
      closeSync(fd)
      await first.stop()
    }
  })

  test('a living mount is not mounted over', async () => {
    const first = await serveMemory()
    try {
      await expect(serve(first.path, process.execPath, [...RUN_TYPESCRIPT, SERVE_MEMORY, first.path])).rejects.toThrow(
        /already mounted/,
      )
      expect(first.child.exitCode).toBe(null)
    } finally {
      await first.stop()
    }
  })

  test('umount from outside ends the server, and a mount in use is detached', async () => {
    const first = await serveMemory()
    await run('umount', [first.path])
    await first.kill('SIGCONT')
    expect(first.child.exitCode).toBe(0)
    await first.stop()

    const second = await serveMemory()
    const user = execFile('sleep', ['60'], { cwd: second.path })
    try {
      await second.stop()
      expect(await mountsAt(second.path)).toEqual([])
    } finally {
      user.kill('SIGKILL')
    }
  })

  test('a change made elsewhere reaches open files and known names long before their second is over', async () => {
    const mount = await serveMemory()
    const file = await open(join(mount.path, 'pushed'), 'w+')
    try {
      await file.write('old', 0)
      await writeFile(join(mount.path, 'gone'), 'x')
      const read = async (): Promise<string> => (await file.read(Buffer.alloc(3), 0, 3, 0)).buffer.toString()
      expect(await read()).toBe('old')
      // Just asked, so the kernel believes it for a second.
      await stat(join(mount.path, 'gone'))
      mount.child.kill('SIGUSR2')
      await vi.waitFor(async () => expect(await read()).toBe('NEW'), { timeout: 800, interval: 10 })
      await expect(stat(join(mount.path, 'gone'))).rejects.toMatchObject({ code: 'ENOENT' })
    } finally {
      await file.close()
      await mount.stop()
    }
  })

  test('the operation log has one line for each operation, with its result', async () => {
    const mount = await serveMemory({ env: { OP_LOG: '1' } })
    try {
      await writeFile(join(mount.path, 'named'), 'x')
      await expect(readFile(join(mount.path, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' })
      expect(mount.errors()).toMatch(/^CREATE 1 "named" ok \d+$/m)
      expect(mount.errors()).toMatch(/^WRITE \d+ 0\+1 ok \d+$/m)
    } finally {
      await mount.stop()
    }
  })

  test('an ordinary user mounts through fusermount3', async (context) => {
    if (!(await haveFusermount())) context.skip('fusermount3 is not installed')
    const path = await mountpoint()
    await chown(path, 65_534, 65_534)
    const program = [process.execPath, ...RUN_TYPESCRIPT, SERVE_MEMORY, path]
    const { file, args } = fusermountCommand({ mountpoint: path, source: 'a,b\\c', program })
    // A mount namespace of its own, in which /dev/fuse is open to everyone as on an ordinary Debian; here it may be closed.
    const prepare = `
      set -e
      devices=$(mktemp -d); mount -t tmpfs -o dev none "$devices"
      mknod "$devices/fuse" c 10 229; chmod 666 "$devices/fuse"; mount --bind "$devices/fuse" /dev/fuse
      exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$0" "$@"`
    const asNobody = `
      path=$0
      "$@" & server=$!
      for i in $(seq 200); do mountpoint -q "$path" && break; sleep 0.05; done
      echo hello > "$path/f" && cat "$path/f" && stat -c %u "$path/f"
      grep " $path " /proc/self/mountinfo
      kill -TERM $server; wait $server; grep -c " $path " /proc/self/mountinfo; true`
    const env = { ...process.env, HOME: '/tmp', TMPDIR: '/tmp' }
    const isolated = ['--mount', 'sh', '-c', prepare, asNobody, path, file, ...args]
    const { stdout } = await run('unshare', isolated, { env }).finally(() => rmdir(path))
    const [, said, owner, info, left] = stdout.trim().split('\n')
    expect([said, owner, left]).toEqual(['hello', '65534', '0'])
    expect(info).toMatch(/ - fuse\.holdfast a,b\\134c /)
  })
})
