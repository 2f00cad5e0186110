/*
 * The meta mount through the program and the kernel: what people do with ls, cat, mv and rm, a trash of some thousand files,
 * a file that is deleted and held open, and that no system call does harm.
 */

import { execFile, spawn } from 'node:child_process'
import { chown, mkdir, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { FileReport, StatusReport, TrashEntry } from '../../src/wire/reports.ts'
import { holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'
import { canMount } from '../support/mount-child.ts'

const run = promisify(execFile)

/** Every call in its turn must be refused like this, and harm nothing. */
const REFUSALS = `
import errno, fcntl, os, sys
meta, outside = sys.argv[1:]
trash = meta + '/trash'
name = next(n for n in os.listdir(trash) if n != 'undel')
hour = trash + '/' + name
file = hour + '/' + next(n for n in os.listdir(hour) if n.endswith('victim'))
fd = os.open(file, os.O_RDONLY)
cases = [
    ('EROFS', lambda: os.open(file, os.O_RDWR)), ('EROFS', lambda: os.open(file, os.O_WRONLY | os.O_TRUNC)),
    ('EROFS', lambda: os.open(hour + '/new', os.O_WRONLY | os.O_CREAT)), ('EROFS', lambda: os.mkdir(trash + '/new')),
    ('EROFS', lambda: os.mkdir(trash + '/undel/new')), ('EROFS', lambda: os.mknod(meta + '/new')),
    ('EROFS', lambda: os.symlink('x', hour + '/new')), ('EROFS', lambda: os.link(file, hour + '/new')),
    ('EROFS', lambda: os.chmod(file, 0o777)), ('EROFS', lambda: os.chown(meta, 1, 1)), ('EROFS', lambda: os.utime(file)),
    ('EROFS', lambda: os.truncate(file, 0)), ('EROFS', lambda: os.setxattr(file, 'user.x', b'1')),
    ('EROFS', lambda: os.removexattr(file, 'user.holdfast.path')), ('ENODATA', lambda: os.getxattr(file, 'user.x')),
    ('EPERM', lambda: os.rename(file, hour + '/new')), ('EPERM', lambda: os.rename(file, meta + '/sustained/new')),
    ('EPERM', lambda: os.rename(trash, meta + '/new')), ('EPERM', lambda: os.rename(meta + '/info', trash + '/undel/info')),
    ('EPERM', lambda: os.unlink(meta + '/info')), ('EPERM', lambda: os.rmdir(trash)), ('EPERM', lambda: os.rmdir(trash + '/undel')),
    ('ENOTEMPTY', lambda: os.rmdir(hour)), ('EXDEV', lambda: os.rename(file, outside + '/new')),
    ('EOPNOTSUPP', lambda: os.open(trash, os.O_TMPFILE | os.O_RDWR)), ('EOPNOTSUPP', lambda: fcntl.flock(fd, fcntl.LOCK_EX)),
    ('EBADF', lambda: os.write(fd, b'x')), ('EBADF', lambda: os.posix_fallocate(fd, 0, 3)), ('EINVAL', lambda: os.readlink(file)),
    ('ENOENT', lambda: os.stat(trash + '/undel/x')), ('ENOENT', lambda: os.unlink(trash + '/999999')),
    ('ENOENT', lambda: os.stat(hour + '/999999|docs|victim')), ('ENOTDIR', lambda: os.listdir(file)),
    ('ENAMETOOLONG', lambda: os.stat(hour + '/' + 'x' * 256)), ('EISDIR', lambda: os.open(hour, os.O_RDWR)),
]
wrong = []
for i, (wanted, call) in enumerate(cases):
    try: call(); got = 'success'
    except OSError as e: got = errno.errorcode[e.errno].replace('ENOTSUP', 'EOPNOTSUPP')
    if got != wanted: wrong.append((i, wanted, got))
os.fsync(fd); os.statvfs(file); os.listxattr(meta)
assert os.pread(fd, 100, 0) == b'still there', os.pread(fd, 100, 0)
print(wrong)`

/** Keeps a deleted file open until its standard input ends. */
const HOLDER = `
import os, sys
f = open(sys.argv[1], 'w'); f.write('held'); f.flush(); os.fsync(f.fileno()); os.unlink(sys.argv[1])
print('ready', flush=True); sys.stdin.read()`

describe.skipIf(!canMount())('a meta mount', () => {
  let cluster: StartedCluster
  let mnt: string
  let meta: string
  let trash: string
  beforeAll(async () => {
    cluster = await startLocal()
    mnt = cluster.mnt
    meta = join(cluster.base, 'meta')
    trash = join(meta, 'trash')
    const { code, stderr } = await holdfast('mount', '--meta', '--dir', cluster.dir, meta)
    if (code !== 0) throw new Error(stderr)
    await mkdir(join(mnt, 'docs'))
  })
  afterAll(async () => {
    await holdfast('umount', meta)
    await cluster?.stop()
  })
  beforeEach(async () => {
    const { code, stderr } = await holdfast('trash', 'purge', '--all', '--dir', cluster.dir)
    if (code !== 0) throw new Error(stderr)
  })

  const python = async (script: string, ...words: string[]): Promise<string> =>
    (await run('python3', ['-c', script, ...words], { timeout: 120_000, maxBuffer: 2 ** 26 })).stdout
  const put = async (name: string, text: string): Promise<string> => {
    await writeFile(join(mnt, 'docs', name), text)
    return join(mnt, 'docs', name)
  }
  /** Paths of all that is in the trash. */
  const deleted = async (): Promise<string[]> => {
    const hours = (await readdir(trash)).filter((name) => name !== 'undel')
    const all = await Promise.all(
      hours.map(async (hour) => (await readdir(join(trash, hour))).map((name) => join(trash, hour, name))),
    )
    return all.flat()
  }
  const only = async (): Promise<string> => {
    const all = await deleted()
    expect(all).toHaveLength(1)
    return all[0]!
  }
  const status = () => json<StatusReport>('status', '--dir', cluster.dir)

  it('shows deleted files with their owner and bytes, to root alone', async () => {
    const path = await put('plan|1', 'the plan')
    await chown(path, 1234, 2345)
    const { ino } = await stat(path)
    await unlink(path)
    const file = await only()
    expect(file.endsWith(`/${ino}|docs|plan%7C1`)).toBe(true)
    expect(await stat(file)).toMatchObject({ ino, uid: 1234, gid: 2345, size: 8, nlink: 1 })
    expect(await readFile(file, 'utf8')).toBe('the plan')
    expect(await readFile(join(trash, String(ino)), 'utf8')).toBe('the plan')
    const { stdout } = await run('ls', ['-lR', meta])
    expect(stdout).toMatch(/-rw-r--r-- +1 1234 +2345 +8 .*docs\|plan%7C1\n/)
    await expect(run('ls', [trash], { uid: 1234, gid: 1234 })).rejects.toMatchObject({ code: 2 })
    await expect(run('cat', [file], { uid: 1234, gid: 2345 })).rejects.toMatchObject({ code: 1 })
    expect(await readFile(join(meta, 'info'), 'utf8')).toMatch(/\ntrash {6}1 file, 8 B\n/)
  })

  it('restores with mv, refuses to replace, and restores beside', async () => {
    const path = await put('plan', 'first')
    await unlink(path)
    await run('mv', [await only(), join(trash, 'undel/')])
    expect(await readFile(path, 'utf8')).toBe('first')
    expect(await readdir(join(trash, 'undel'))).toEqual([])
    expect(await deleted()).toEqual([])

    // For a moment it is found in undel, where mv looks at it.
    await sleep(500)
    await unlink(path)
    await put('plan', 'second')
    const file = await only()
    for (const name of [basename(file), 'plan'])
      await expect(rename(file, join(trash, 'undel', name))).rejects.toMatchObject({ code: 'EEXIST' })
    // Which words mv finds for that is its own affair: it looks for what is in the way where nothing is.
    await expect(run('mv', [file, join(trash, 'undel/')])).rejects.toMatchObject({ code: 1 })
    expect(await readFile(file, 'utf8')).toBe('first')
    await run('mv', [file, join(trash, 'undel/plan.first')])
    expect(await readFile(join(mnt, 'docs/plan.first'), 'utf8')).toBe('first')
    expect(await readFile(path, 'utf8')).toBe('second')
  })

  it('purges with rm, also an hour at once', async () => {
    for (const name of ['a', 'b', 'c']) await unlink(await put(name, name))
    const file = await deleted()
    await unlink(file[0]!)
    expect(await deleted()).toHaveLength(2)
    const hours = (await readdir(trash)).filter((name) => name !== 'undel').map((name) => join(trash, name))
    await run('rm', ['-r', ...hours])
    expect(await deleted()).toEqual([])
    expect((await status()).trashed).toBe(0)
  })

  it('copies what is moved elsewhere, and purges it then', async () => {
    await unlink(await put('plan', 'the plan'))
    const outside = join(cluster.base, 'rescued')
    await run('mv', [await only(), outside])
    expect(await readFile(outside, 'utf8')).toBe('the plan')
    await rm(outside)
    expect(await deleted()).toEqual([])
  })

  it('lists some thousand files, and gives a whole directory back', async () => {
    const count = 3_000
    await python(
      `import os,sys
os.chdir(sys.argv[1]); os.mkdir('many')
for i in range(${count}): open('many/%d' % i, 'w').close()
for i in range(${count}): os.unlink('many/%d' % i)
os.rmdir('many')`,
      mnt,
    )
    const { stdout } = await run('find', [trash, '-name', '*|many|*'], { maxBuffer: 2 ** 26 })
    const found = stdout.trimEnd().split('\n')
    expect(new Set(found).size).toBe(count)
    const listed = await json<TrashEntry[]>('trash', 'list', '--limit', '0', '--dir', cluster.dir)
    expect(listed).toHaveLength(count)
    // As the guide says.
    await run('sh', ['-c', `find '${trash}' -name '*|many|*' -exec mv -t '${trash}/undel' {} +`])
    expect(await readdir(join(mnt, 'many'))).toHaveLength(count)
    expect(await deleted()).toEqual([])
    await rm(join(mnt, 'many'), { recursive: true })
  })

  it('shows a file that is deleted and held open, and its holder', async () => {
    const holder = spawn('python3', ['-c', HOLDER, join(mnt, 'docs/held')], { stdio: ['pipe', 'pipe', 'inherit'] })
    const gone = new Promise((resolve) => holder.on('close', resolve))
    try {
      await new Promise((resolve) => holder.stdout.once('data', resolve))
      const [name] = await readdir(join(meta, 'sustained'))
      expect(await readFile(join(meta, 'sustained', name!), 'utf8')).toBe('held')
      await run('rm', [await only()])
      expect(await readFile(join(meta, 'sustained', name!), 'utf8')).toBe('held')
      await expect(unlink(join(meta, 'sustained', name!))).rejects.toMatchObject({ code: 'EPERM' })
      const { sessions } = await status()
      const session = sessions.find(({ mountpoint }) => mountpoint === mnt)!
      const { stdout } = await run('getfattr', ['-d', '--absolute-names', join(meta, 'sustained', name!)]).catch(
        async () => ({
          stdout: await python(
            'import os,sys; print(os.getxattr(sys.argv[1], "user.holdfast.holders").decode())',
            join(meta, 'sustained', name!),
          ),
        }),
      )
      expect(stdout).toContain(String(session.session))
      const [entry] = await json<object[]>('trash', 'list', '--sustained', '--dir', cluster.dir)
      expect(entry).toMatchObject({
        ino: Number(name),
        size: 4,
        heldBy: [{ session: session.session, mountpoint: mnt }],
      })
    } finally {
      holder.stdin.end()
      await gone
    }
    for (let i = 0; (await readdir(join(meta, 'sustained'))).length > 0; i++) {
      if (i > 100) throw new Error('it is still held')
      await sleep(100)
    }
  })

  it('refuses whatever else programs try', async () => {
    await unlink(await put('victim', 'still there'))
    expect(await python(REFUSALS, meta, mnt)).toBe('[]\n')
    expect(await readFile(await only(), 'utf8')).toBe('still there')
    await expect(rename(join(mnt, 'docs'), join(trash, 'docs'))).rejects.toMatchObject({ code: 'EXDEV' })
    // A path in it is none of the filesystem.
    expect((await holdfast('file', 'info', join(trash, 'undel'))).code).not.toBe(0)
  })

  it('leaves out what has a retention of its own: set for a tree, and given back', async () => {
    await mkdir(join(mnt, 'tmp/deep'), { recursive: true })
    await writeFile(join(mnt, 'tmp/deep/old'), '')
    const set = await json<object>('trash', 'retention', join(mnt, 'tmp'), '0', '-r')
    expect(set).toMatchObject({ retentionMs: 0, changed: 3, left: 0 })
    await writeFile(join(mnt, 'tmp/deep/new'), '')
    for (const name of ['old', 'new']) await unlink(join(mnt, 'tmp/deep', name))
    expect(await deleted()).toEqual([])
    const shown = await json<object>('trash', 'retention', join(mnt, 'tmp/deep'))
    expect(shown).toMatchObject({ retentionMs: 0, changed: 0 })
    const back = await json<object>('trash', 'retention', join(mnt, 'tmp'), 'default', '-r')
    expect(back).toMatchObject({ retentionMs: 86_400_000, changed: 2 })
    const [info] = await json<FileReport[]>('file', 'info', join(mnt, 'tmp/deep'))
    expect(info!.trashRetentionMs).toBe(86_400_000)
  })
})
