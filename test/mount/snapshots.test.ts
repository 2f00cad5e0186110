/*
 * Snapshots through the program and a real mount: what programs see of the copy, when they see it, what lies on the disks,
 * and that it survives the loss of the master and of what it was made of.
 */

import { execFile, spawn } from 'node:child_process'
import { mkdir, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Admin } from '../../src/cli/admin.ts'
import { readStateFile } from '../../src/cli/local/state.ts'
import type { FileReport, JobReport, StatusReport } from '../../src/wire/reports.ts'
import { HOLDFAST, holdfast, json, type StartedCluster, startLocal } from '../support/holdfast-program.ts'
import { canMount } from '../support/mount-child.ts'

const run = promisify(execFile)

/** One of everything that a tree can have. */
const MAKE = `
import os, socket, stat
os.makedirs('source/a/b/empty'); os.chmod('source/a', 0o1777); os.chmod('source/a/b', 0o2751)
open('source/plain', 'w').write('plain words\\n')
with open('source/a/sparse', 'wb') as f: f.seek(3_000_000); f.write(b'end'); f.truncate(5_000_000)
open('source/a/secret', 'w').close(); os.chmod('source/a/secret', 0o4711); os.chown('source/a/secret', 1234, 2345)
os.symlink('../elsewhere', 'source/a/link'); os.lchown('source/a/link', 7, 8)
os.link('source/plain', 'source/a/b/plain too'); os.link('source/plain', 'outside')
os.mkfifo('source/fifo'); os.mknod('source/device', stat.S_IFCHR | 0o600, os.makedev(1, 7))
os.setxattr('source/plain', 'user.colour', b'blue'); os.setxattr('source/a', 'user.long', b'x' * 60000)
acl = bytes.fromhex('0200000001000600ffffffff02000400150000000400040' '0ffffffff10000400ffffffff20000000ffffffff')
os.setxattr('source/plain', 'system.posix_acl_access', acl)
os.setxattr('source/a/b', 'system.posix_acl_default', acl)
open(b'source/caf\\xe9', 'w').write('not UTF-8')
os.utime('source/plain', ns=(10**18 + 1, 2 * 10**17 + 3)); os.utime('source/a', ns=(5, 6))`

/** Everything that programs can learn of a tree. */
const DESCRIBE = `
import hashlib, json, os, stat, sys
top = sys.argv[1].encode(); found = {}; inodes = {}
def look(path, name):
    s = os.lstat(path)
    entry = [s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_rdev, str(s.st_mtime_ns), str(s.st_ctime_ns), s.st_blocks,
             {x: os.getxattr(path, x, follow_symlinks=False).hex() for x in os.listxattr(path, follow_symlinks=False)}]
    if stat.S_ISREG(s.st_mode): entry.append(hashlib.sha256(open(path, 'rb').read()).hexdigest())
    if stat.S_ISLNK(s.st_mode): entry.append(os.readlink(path).hex())
    if not stat.S_ISDIR(s.st_mode): entry.append(inodes.setdefault(s.st_ino, name))
    found[name] = entry
    if stat.S_ISDIR(s.st_mode):
        for child in sorted(os.listdir(path)): look(path + b'/' + child, name + '/' + child.hex())
look(top, '')
print(json.dumps(found, sort_keys=True))`

/** Waits for a name in the directory it is in, and counts what is there at that moment. */
const WATCH = `
import os, sys, time
until = time.time() + 60
while not os.path.exists(sys.argv[1]):
    os.listdir('.')
    if time.time() > until: sys.exit('it did not come')
print(sum(1 + len(files) for _, _, files in os.walk(sys.argv[1])))`

describe.skipIf(!canMount())('snapshots', () => {
  let cluster: StartedCluster | undefined
  let dir: string
  let mnt: string
  beforeAll(async () => {
    cluster = await startLocal()
    ;({ dir, mnt } = cluster)
  })
  afterAll(() => cluster?.stop())

  const python = async (script: string, ...words: string[]): Promise<string> =>
    (await run('python3', ['-c', script, ...words], { cwd: mnt, timeout: 120_000, maxBuffer: 2 ** 26 })).stdout
  const many = (name: string, files: number): Promise<string> =>
    python(`
import os
for i in range(${files}):
    if i % 200 == 0: d = '${name}/%d' % (i // 200); os.makedirs(d)
    open('%s/%d' % (d, i), 'w').write(str(i))`)
  /** Bytes of all chunk files. */
  const stored = async (): Promise<number> => {
    await python('import os; os.sync()')
    const { stdout } = await run('find', [dir, '-name', '*.chunk', '-printf', '%s\n'])
    return stdout.split('\n').reduce((sum, size) => sum + Number(size), 0)
  }
  /** Asks the master itself: a process for each question would come too late. */
  const until = async (target: string, holds: (job: JobReport) => boolean): Promise<JobReport> => {
    const admin = await Admin.find({ dir })
    try {
      for (;;) {
        const found = (await admin.call('snapshotList', {})).find((job) => job.target === target)
        if (found !== undefined && holds(found)) return found
        await sleep(2)
      }
    } finally {
      admin.close()
    }
  }
  const clean = async (): Promise<void> => {
    const { code, stdout, stderr } = await holdfast('check', '--dir', dir)
    expect([code, stdout + stderr]).toEqual([0, expect.anything()])
  }

  it('keep all that programs can see, also what was written to a file that is still open', async () => {
    await python(MAKE)
    const log = await open(join(mnt, 'source', 'log'), 'w')
    await log.write('written, not closed')
    const made = await json<JobReport>('snapshot', 'create', join(mnt, 'source'), join(mnt, 'copy'))
    expect(made).toMatchObject({ kind: 'snapshot', source: '/source', target: '/copy', errno: '' })
    const source = JSON.parse(await python(DESCRIBE, 'source'))
    await log.close()
    const copy = JSON.parse(await python(DESCRIBE, 'copy'))
    expect(Object.keys(copy).length).toBe(13)
    expect(copy).toEqual(source)
    expect((await stat(join(mnt, 'copy', 'plain'))).nlink).toBe(2)
    expect((await stat(join(mnt, 'source', 'plain'))).nlink).toBe(3)
    await clean()
  })

  it('store nothing twice: neither the snapshot nor a write after it copies bytes', async () => {
    const image = join(mnt, 'image')
    await writeFile(image, Buffer.alloc(24_000_000, 'abc'))
    const before = await stored()
    await json('snapshot', 'create', image, join(mnt, 'image-copy'))
    expect(await stored()).toBe(before)
    const [report] = await json<FileReport[]>('file', 'info', join(mnt, 'image-copy'))
    const file = await open(image, 'r+')
    await file.write(Buffer.alloc(4096, 'z'), 0, 4096, 8_000_000)
    await file.sync()
    await file.close()
    // The bytes themselves, a checksum or two, a chunk's header.
    expect((await stored()) - before).toBeLessThan(100_000)
    const [after] = await json<FileReport[]>('file', 'info', join(mnt, 'image-copy'))
    expect(after!.extents).toEqual(report!.extents)
    expect((await readFile(join(mnt, 'image-copy'))).equals(Buffer.alloc(24_000_000, 'abc'))).toBe(true)
    expect((await readFile(image)).subarray(8_000_000, 8_000_003).toString()).toBe('zzz')
    await clean()
  })

  it('appear at once and complete to who looks all the time, and show nothing that was changed while they were made', async () => {
    await many('big', 3_000)
    const seen = python(WATCH, 'big-copy')
    const making = json<JobReport>('snapshot', 'create', join(mnt, 'big'), join(mnt, 'big-copy'))
    await until('/big-copy', () => true)
    await python(`
import os, shutil
for i in range(14, -1, -1):
    if i % 3 == 0: shutil.rmtree('big/%d' % i)
    elif i % 3 == 1: os.rename('big/%d' % i, 'moved-%d' % i)
    else: [open('big/%d/%d' % (i, i * 200 + k), 'w').write('changed') for k in range(200)]`)
    expect(await making).toMatchObject({ inodes: 3_016, errno: '' })
    expect(Number(await seen)).toBe(3_016)
    const words = await python(`
import os
print(all(open('big-copy/%d/%d' % (i // 200, i)).read() == str(i) for i in range(3000)))`)
    expect(words).toBe('True\n')
    await clean()
  })

  it('go on when the master is killed in the middle, and the command with them', async () => {
    await many('tree', 4_000)
    const child = spawn(process.execPath, [
      ...[HOLDFAST, 'snapshot', 'create', join(mnt, 'tree'), join(mnt, 'tree-copy'), '--json'],
    ])
    let said = ''
    child.stdout.on('data', (data) => {
      said += data
    })
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
    const master = (await readStateFile(dir))!.roles.master!.process!
    const job = await until('/tree-copy', ({ inodes }) => inodes > 0)
    process.kill(master.pid, 'SIGKILL')
    expect(job).toMatchObject({ phase: 'copying' })
    expect(job.inodes).toBeLessThan(4_000)
    expect(await ended).toBe(0)
    expect(JSON.parse(said)).toMatchObject({ inodes: 4_021, errno: '' })
    expect(Number(await python(WATCH, 'tree-copy'))).toBe(4_021)
    await clean()
  })

  it('outlive what they are of, and are deleted at once', async () => {
    await many('short', 600)
    await json('snapshot', 'create', join(mnt, 'short'), join(mnt, 'short-copy'))
    await json('snapshot', 'create', join(mnt, 'short-copy'), join(mnt, 'third'))
    await rm(join(mnt, 'short'), { recursive: true })
    await json('trash', 'purge', '--all', '--dir', dir)
    const deleted = await json<JobReport>('snapshot', 'delete', join(mnt, 'short-copy'))
    expect(deleted).toMatchObject({ kind: 'delete', inodes: 604, phase: 'over' })
    await expect(stat(join(mnt, 'short-copy'))).rejects.toThrow('ENOENT')
    expect(
      await python(
        "import os; print(sum(open(os.path.join(d, f)).read() == f for d, _, fs in os.walk('third') for f in fs))",
      ),
    ).toBe('600\n')
    expect(await json('trash', 'list', '--dir', dir)).toEqual([])
    await clean()
  })

  it('wait for each other, and are of what others made', async () => {
    await many('again', 2_000)
    const names = ['again-1', 'again-2', 'again-3']
    const made = await Promise.all(
      names.map((name) => json<JobReport>('snapshot', 'create', join(mnt, 'again'), join(mnt, name))),
    )
    for (const { inodes } of made) expect(inodes).toBe(2_011)
    expect(new Set(made.map(({ job }) => job)).size).toBe(3)
    await Promise.all(names.map((name) => json('snapshot', 'delete', join(mnt, name))))
    for (const name of names) await expect(stat(join(mnt, name))).rejects.toThrow('ENOENT')
    await clean()
  })

  it('are refused in words, listed, cancelled, and shown among the running work', async () => {
    await mkdir(join(mnt, 'place'))
    const refused = async (...words: string[]): Promise<string> => {
      const { code, stderr } = await holdfast('snapshot', ...words)
      expect(code).toBeGreaterThan(0)
      return stderr
    }
    expect(await refused('create', mnt, join(mnt, 'all'))).toContain('the copy would have to be inside it')
    expect(await refused('create', join(mnt, 'place'), join(mnt, 'place', 'x'))).toContain('inside the source')
    expect(await refused('create', join(mnt, 'place'), join(mnt, 'copy'))).toContain('the target exists')
    expect(await refused('create', join(mnt, 'nothing'), join(mnt, 'x'))).toContain('nothing')
    expect(await refused('cancel', '99', '--dir', dir)).toContain('no job 99')
    expect(await refused('delete', mnt)).toContain('names no place')
    const { stdout } = await holdfast('snapshot', 'list', '--dir', dir)
    expect(stdout).toMatch(/JOB +KIND +BEGUN +STATE +OF +AT/)
    expect(stdout).toMatch(/snapshot .* done, 3016 inodes +\/big +\/big-copy/)
    expect(stdout).toMatch(/delete .* deleted 604 +\/short-copy/)
    const { work } = await json<StatusReport>('status', '--dir', dir)
    expect(work.find(({ name }) => name === 'snapshots')).toMatchObject({ state: 'idle', lastError: '' })

    await many('long', 5_000)
    const { job } = await json<{ job: number }>('snapshot', 'create', join(mnt, 'long'), join(mnt, 'x'), '--no-wait')
    await json('snapshot', 'cancel', String(job), '--dir', dir)
    const found = async () =>
      (await json<JobReport[]>('snapshot', 'list', '--dir', dir)).find((one) => one.job === job)!
    while ((await found()).phase !== 'over') await sleep(100)
    expect(await found()).toMatchObject({ errno: 'ECANCELED' })
    await expect(stat(join(mnt, 'x'))).rejects.toThrow('ENOENT')
    await clean()
  })

  it('have a sister: files are appended to a file without a byte being copied', async () => {
    const [part, other, whole] = ['part', 'other', 'whole'].map((name) => join(mnt, name)) as [string, string, string]
    await writeFile(part, Buffer.alloc(5_000_000, 'part'))
    await writeFile(other, 'a few words')
    await truncate(other, 20)
    await writeFile(whole, 'begins')
    const before = await stored()
    expect(await json('append', part, other, part, whole)).toEqual({ path: whole, size: 10_000_026 })
    expect(await stored()).toBe(before)
    const bytes = await readFile(whole)
    const expected = Buffer.concat([
      Buffer.from('begins'),
      Buffer.alloc(5_000_000, 'part'),
      Buffer.from('a few words\0\0\0\0\0\0\0\0\0'),
      Buffer.alloc(5_000_000, 'part'),
    ])
    expect(bytes.equals(expected)).toBe(true)
    expect((await holdfast('append', mnt, whole)).stderr).toContain('not a regular file')
    expect((await holdfast('append', part, join(mnt, 'nowhere'))).code).toBe(66)
    expect((await holdfast('append', part)).code).toBe(64)
    await clean()
  })
})
