/*
 * What every mount must do, said through real system calls. A suite with a factory: it knows nothing of what serves the
 * mount, so it judges the kernel's door, fuse-native and a whole cluster alike. The calls are made by child processes
 * (Python, which has nearly all of POSIX at hand); the process of the tests never serves the mount, and uses it only
 * through asynchronous calls.
 *
 * A door that cannot do something says so by feature, and the test is shown as skipped with the reason.
 */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** What a door may lack, each with the tests that need it. */
export type MountFeature =
  | 'caller-identity'
  | 'copy-file-range'
  | 'fallocate'
  | 'hidden-unlink'
  | 'locks'
  | 'mtime'
  | 'rename-flags'
  | 'seek-hole'
  | 'set-id-clearing'
  | 'times-ns'
  | 'posix-acl'
  | 'raw-names'
  | 'xattr-errors'
  | 'long-paths'
  | 'huge-files'
  | 'device-nodes'
  | 'file-handles'

export interface StartedMount {
  /** An empty directory of the mount, or its root. */
  readonly path: string
  stop(): Promise<void>
  readonly skip?: ReadonlyMap<MountFeature, string>
}

const run = promisify(execFile)

const PRELUDE = `
import ctypes, errno, fcntl, hashlib, mmap, os, signal, stat, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def raises(code, call, *args, **kw):
    try: call(*args, **kw)
    except OSError as e:
        assert e.errno == code, f'wanted {errno.errorcode[code]}, got {errno.errorcode.get(e.errno, e.errno)}'
        return
    raise AssertionError(f'wanted {errno.errorcode[code]}, got success')
def sys_call(result):
    if result < 0:
        code = ctypes.get_errno(); raise OSError(code, os.strerror(code))
    return result
def renameat2(a, b, flags): sys_call(libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags))
NOREPLACE, EXCHANGE = 1, 2
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
def fallocate(fd, mode, offset, length): sys_call(libc.fallocate(fd, mode, offset, length))
KEEP, PUNCH, ZERO = 1, 2, 16
def put(path, data=b'x', mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data); os.close(fd)
def get(path):
    with open(path, 'rb') as f: return f.read()
def as_user(uid, gid, groups, call):
    """Runs call in a child with another identity; its exception comes back as an assertion."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        try:
            os.setgroups(groups); os.setgid(gid); os.setuid(uid); call()
        except BaseException as e:
            os.write(w, repr(e).encode()); os._exit(1)
        os._exit(0)
    os.close(w)
    said = b''
    while True:
        piece = os.read(r, 4096)
        if not piece: break
        said += piece
    os.waitpid(pid, 0)
    assert said == b'', said.decode()
def mode(path): return stat.S_IMODE(os.lstat(path).st_mode)
os.umask(0o022)
`

/** Runs Python in a new directory of the mount (its working directory); an assertion there fails the test. */
async function python(directory: string, script: string, timeoutMs = 60_000): Promise<string> {
  try {
    const options = { cwd: directory, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 20 } as const
    const { stdout } = await run('python3', ['-c', `${PRELUDE}\n${script}`], options)
    return stdout
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string }
    throw new Error(stderr?.trim() || message)
  }
}

interface Case {
  readonly title: string
  readonly needs?: readonly MountFeature[]
  readonly root?: true
  readonly script: string
}

const CASES: readonly Case[] = [
  {
    title: 'every type of file can be made and is told apart',
    script: `
put('file'); os.mkdir('dir'); os.symlink('file', 'link'); os.mkfifo('fifo')
import socket; s = socket.socket(socket.AF_UNIX); s.bind('sock')
types = {n: stat.S_IFMT(os.lstat(n).st_mode) for n in os.listdir('.')}
assert types == {'file': stat.S_IFREG, 'dir': stat.S_IFDIR, 'link': stat.S_IFLNK, 'fifo': stat.S_IFIFO, 'sock': stat.S_IFSOCK}, types
kinds = {e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir('.')}
assert kinds['dir'] == (False, True, False) and kinds['link'] == (False, False, True), kinds
assert os.readlink('link') == 'file' and os.lstat('link').st_size == 4
`,
  },
  {
    title: 'device nodes keep their number',
    root: true,
    needs: ['device-nodes'],
    script: `
os.mknod('null', stat.S_IFCHR | 0o666, os.makedev(1, 3)); os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(259, 70000))
assert os.stat('null').st_rdev == os.makedev(1, 3); assert os.stat('disk').st_rdev == os.makedev(259, 70000)
put('null', b'gone'); assert os.stat('null').st_size == 0
`,
  },
  {
    title: 'hard links share one inode and count',
    script: `
put('a', b'one'); os.link('a', 'b')
assert os.stat('a').st_ino == os.stat('b').st_ino and os.stat('a').st_nlink == 2
put('b', b'two'); assert get('a') == b'two'
os.unlink('a'); assert os.stat('b').st_nlink == 1 and get('b') == b'two'
os.mkdir('d'); raises(errno.EPERM, os.link, 'd', 'e'); raises(errno.EEXIST, os.link, 'b', 'd'); raises(errno.ENOENT, os.link, 'no', 'x')
os.symlink('b', 's'); os.link('s', 't', follow_symlinks=False); assert os.readlink('t') == 'b'
`,
  },
  {
    title: 'directories count their subdirectories as links',
    script: `
os.mkdir('d'); assert os.stat('d').st_nlink == 2
os.mkdir('d/a'); os.mkdir('d/b'); put('d/f'); assert os.stat('d').st_nlink == 4
os.rmdir('d/a'); assert os.stat('d').st_nlink == 3
os.mkdir('e'); os.rename('d/b', 'e/b'); assert os.stat('d').st_nlink == 2 and os.stat('e').st_nlink == 3
assert os.stat('e/b/..').st_ino == os.stat('e').st_ino
`,
  },
  {
    title: 'rename follows all its rules',
    script: `
put('a', b'a'); put('b', b'b'); ino = os.stat('a').st_ino
os.rename('a', 'b'); assert get('b') == b'a' and os.stat('b').st_ino == ino; raises(errno.ENOENT, os.stat, 'a')
os.mkdir('d'); os.mkdir('e'); put('e/f')
raises(errno.ENOTDIR, os.rename, 'd', 'b'); raises(errno.EISDIR, os.rename, 'b', 'd'); raises(errno.ENOTEMPTY, os.rename, 'd', 'e')
raises(errno.EINVAL, os.rename, 'e', 'e/x'); os.mkdir('e/sub'); raises(errno.EINVAL, os.rename, 'e', 'e/sub/x')
os.rename('e', 'd'); assert get('d/f') == b'x'; raises(errno.ENOENT, os.stat, 'e')
os.link('b', 'c'); os.rename('b', 'c'); assert os.path.exists('b') and os.path.exists('c'), 'two links of one file: nothing happens'
raises(errno.ENOENT, os.rename, 'no', 'c'); os.rename('d/f', 'f'); assert get('f') == b'x'
os.symlink('nowhere', 's'); os.rename('s', 't'); assert os.readlink('t') == 'nowhere'
`,
  },
  {
    title: 'RENAME_NOREPLACE leaves an existing name alone',
    needs: ['rename-flags'],
    script: `
put('a', b'a'); put('b', b'b')
raises(errno.EEXIST, renameat2, 'a', 'b', NOREPLACE); assert get('a') == b'a' and get('b') == b'b'
renameat2('a', 'c', NOREPLACE); assert get('c') == b'a'
`,
  },
  {
    title: 'RENAME_EXCHANGE swaps two names of any types, atomically',
    needs: ['rename-flags'],
    script: `
put('a', b'a'); os.mkdir('d'); os.mkdir('d/deep'); put('d/deep/f', b'f'); os.mkdir('e'); before = os.stat('a').st_ino
renameat2('a', 'd/deep', EXCHANGE)
assert os.stat('d/deep').st_ino == before and get('a/f') == b'f' and os.stat('a/..').st_ino == os.stat('.').st_ino
assert os.stat('d').st_nlink == 2
raises(errno.ENOENT, renameat2, 'a', 'no', EXCHANGE); raises(errno.EINVAL, renameat2, 'a', 'e', EXCHANGE | NOREPLACE)
put('x', b'x'); put('y', b'y'); renameat2('x', 'y', EXCHANGE); assert get('x') == b'y' and get('y') == b'x'
`,
  },
  {
    title: 'a file unlinked while open lives until the last close',
    needs: ['hidden-unlink'],
    script: `
put('a', b'hello'); fd = os.open('a', os.O_RDWR); other = os.open('a', os.O_RDONLY)
os.unlink('a'); raises(errno.ENOENT, os.stat, 'a'); assert os.listdir('.') == []
os.pwrite(fd, b'J', 0); assert os.pread(other, 10, 0) == b'Jello' and os.fstat(fd).st_nlink == 0
os.ftruncate(fd, 2); os.fchmod(fd, 0o600); assert os.fstat(other).st_size == 2; os.close(fd)
assert os.pread(other, 10, 0) == b'Je'; os.close(other)
put('v', b'victim'); put('n', b'new'); fd = os.open('v', os.O_RDONLY); os.rename('n', 'v')
assert os.read(fd, 10) == b'victim' and get('v') == b'new'
`,
  },
  {
    title: 'O_EXCL lets exactly one of many creators through',
    script: `
r, w = os.pipe()
for i in range(8):
    if os.fork() == 0:
        won = 0
        for n in range(50):
            try: os.close(os.open(f'x{n}', os.O_CREAT | os.O_EXCL | os.O_WRONLY)); won += 1
            except FileExistsError: pass
        os.write(w, struct.pack('i', won)); os._exit(0)
for i in range(8): os.wait()
assert sum(struct.unpack('8i', os.read(r, 32))) == 50
`,
  },
  {
    title: 'O_APPEND writes of several processes never overlap',
    script: `
put('log', b'')
for i in range(4):
    if os.fork() == 0:
        fd = os.open('log', os.O_WRONLY | os.O_APPEND)
        for n in range(200): os.write(fd, bytes([65 + i]) * 100)
        os._exit(0)
for i in range(4): os.wait()
data = get('log'); assert len(data) == 80000, len(data)
for at in range(0, 80000, 100): assert len(set(data[at:at + 100])) == 1, at
`,
  },
  {
    title: 'truncation cuts, extends with zeros, and forgets what was beyond',
    script: `
put('f', b'abcdefgh' * 50000); os.truncate('f', 100001); assert os.stat('f').st_size == 100001
os.truncate('f', 300000); data = get('f'); assert data[:100001] == (b'abcdefgh' * 50000)[:100001] and data[100001:] == bytes(199999)
put('f', b''); assert os.stat('f').st_size == 0
fd = os.open('f', os.O_RDWR); os.pwrite(fd, b'end', 1000000); assert os.pread(fd, 4, 999998) == b'\\0\\0en'; os.close(fd)
os.mkdir('d'); raises(errno.EISDIR, os.truncate, 'd', 0); raises(errno.EISDIR, os.open, 'd', os.O_WRONLY)
raises(errno.ENOENT, os.truncate, 'no', 0)
`,
  },
  {
    title: 'times keep their nanoseconds, before 1970 and after 2038 too',
    needs: ['times-ns'],
    script: `
put('f')
for a, m in [(1, 2), (1700000000123456789, 1700000001987654321), (-5_000_000_001, -1), (5_000_000_000_000_000_001, 4102444800_000000007)]:
    os.utime('f', ns=(a, m)); s = os.stat('f'); assert (s.st_atime_ns, s.st_mtime_ns) == (a, m), (s.st_atime_ns, s.st_mtime_ns)
os.symlink('f', 's'); os.utime('s', ns=(7, 8), follow_symlinks=False); assert os.lstat('s').st_mtime_ns == 8
`,
  },
  {
    title: 'changes move mtime and ctime as POSIX says',
    needs: ['mtime'],
    script: `
put('f', b'1'); os.mkdir('d'); os.utime('f', (10, 10)); os.utime('d', (10, 10)); os.utime('.', (10, 10))
c = os.stat('f').st_ctime_ns; time.sleep(0.02); os.chmod('f', 0o600)
assert os.stat('f').st_mtime == 10 and os.stat('f').st_ctime_ns > c
put('f', b'2'); assert os.stat('f').st_mtime > 10
put('d/x'); assert os.stat('d').st_mtime > 10; os.utime('d', (10, 10)); os.unlink('d/x'); assert os.stat('d').st_mtime > 10
assert os.stat('.').st_mtime == 10; c = os.stat('f').st_ctime_ns; time.sleep(0.02); os.rename('f', 'g'); assert os.stat('.').st_mtime > 10
assert os.stat('g').st_ctime_ns > c
`,
  },
  {
    title: 'umask and setgid directories shape what is made',
    needs: ['caller-identity'],
    root: true,
    script: `
os.umask(0o027); os.mkdir('d', 0o777); put('f', mode=0o666); assert mode('d') == 0o750 and mode('f') == 0o640
os.mkfifo('p', 0o666); assert mode('p') == 0o640
os.umask(0); os.mkdir('s'); os.chown('s', 0, 4321); os.chmod('s', 0o2777)
def use():
    os.umask(0); put('s/f', mode=0o2775); os.mkdir('s/sub', 0o777)
    assert os.stat('s/f').st_gid == 4321 and os.stat('s/sub').st_gid == 4321 and mode('s/sub') == 0o2777, oct(mode('s/sub'))
    assert os.stat('s/f').st_uid == 1234 and mode('s/f') == 0o775, oct(mode('s/f'))
as_user(1234, 1234, [], use)
`,
  },
  {
    title: 'set-id bits fall when somebody unprivileged writes, truncates or chowns',
    needs: ['set-id-clearing', 'caller-identity'],
    root: true,
    script: `
def fresh(bits): put('f', b'data'); os.chmod('f', bits)
fresh(0o6777); as_user(1234, 1234, [], lambda: os.write(os.open('f', os.O_WRONLY), b'x')); assert mode('f') == 0o777, oct(mode('f'))
fresh(0o6767); as_user(1234, 1234, [], lambda: os.write(os.open('f', os.O_WRONLY), b'x')); assert mode('f') == 0o2767, oct(mode('f'))
fresh(0o6777); as_user(1234, 1234, [], lambda: os.truncate('f', 1)); assert mode('f') == 0o777, oct(mode('f'))
fresh(0o6777); as_user(1234, 1234, [], lambda: os.open('f', os.O_WRONLY | os.O_TRUNC)); assert mode('f') == 0o777, oct(mode('f'))
fresh(0o6777); os.write(os.open('f', os.O_WRONLY), b'root may'); assert mode('f') == 0o6777
fresh(0o6777); os.chown('f', 5, 5); assert mode('f') == 0o777, oct(mode('f'))
os.mkdir('d'); os.chmod('d', 0o6777); os.chown('d', 5, 5); assert mode('d') == 0o6777
`,
  },
  {
    title: 'permission checks honour owner, group and supplementary groups',
    needs: ['caller-identity'],
    root: true,
    script: `
put('f', b'secret'); os.chown('f', 1111, 2222); os.chmod('f', 0o640); os.chmod('.', 0o777)
as_user(1111, 9, [], lambda: get('f')); as_user(5, 2222, [], lambda: get('f')); as_user(5, 9, [7, 2222], lambda: get('f'))
as_user(5, 9, [], lambda: raises(errno.EACCES, get, 'f')); as_user(5, 2222, [], lambda: raises(errno.EACCES, put, 'f'))
as_user(5, 9, [], lambda: raises(errno.EPERM, os.chmod, 'f', 0o777)); as_user(1111, 9, [], lambda: raises(errno.EPERM, os.chown, 'f', 5, 5))
os.mkdir('d', 0o700); put('d/f'); as_user(5, 9, [], lambda: raises(errno.EACCES, os.stat, 'd/f'))
`,
  },
  {
    title: 'a sticky directory protects files from other users',
    needs: ['caller-identity'],
    root: true,
    script: `
os.mkdir('t'); os.chmod('t', 0o1777); put('t/f'); os.chown('t/f', 1111, 1111); put('t/g'); os.chown('t/g', 2222, 2222)
as_user(2222, 2222, [], lambda: raises(errno.EPERM, os.unlink, 't/f'))
as_user(2222, 2222, [], lambda: raises(errno.EPERM, os.rename, 't/g', 't/f'))
as_user(1111, 1111, [], lambda: os.unlink('t/f')); as_user(2222, 2222, [], lambda: os.rename('t/g', 't/h'))
`,
  },
  {
    title: 'POSIX ACLs are stored, enforced and inherited',
    needs: ['posix-acl', 'caller-identity'],
    root: true,
    script: `
def sh(*a): return subprocess.run(a, check=True, capture_output=True, text=True).stdout
os.chmod('.', 0o755); put('f', b'x', 0o600); sh('setfacl', '-m', 'u:1234:rw,g:77:r', 'f')
acl = sh('getfacl', '-n', '-c', 'f').split(); assert 'user:1234:rw-' in acl and 'mask::rw-' in acl, acl
assert mode('f') == 0o660, oct(mode('f'))
as_user(1234, 9, [], lambda: put('f', b'mine')); as_user(5, 9, [77], lambda: get('f')); as_user(5, 9, [77], lambda: raises(errno.EACCES, put, 'f'))
as_user(5, 9, [], lambda: raises(errno.EACCES, get, 'f'))
os.chmod('f', 0o640); assert 'mask::r--' in sh('getfacl', '-n', '-c', 'f').split(); as_user(1234, 9, [], lambda: raises(errno.EACCES, put, 'f'))
os.mkdir('d'); sh('setfacl', '-d', '-m', 'u:1234:rwx,o::-', 'd'); os.umask(0o077)
put('d/f', mode=0o666); os.mkdir('d/sub', 0o777)
assert 'user:1234:rwx' in sh('getfacl', '-n', '-c', 'd/f'), sh('getfacl', '-n', '-c', 'd/f')
assert mode('d/f') & 0o007 == 0 and mode('d/f') & 0o060 == 0o060, oct(mode('d/f'))
assert 'default:user:1234:rwx' in sh('getfacl', '-n', '-c', 'd/sub'); sh('setfacl', '-b', 'f'); assert 'user:1234' not in sh('getfacl', '-n', '-c', 'f')
`,
  },
  {
    title: 'statfs tells size, free space and the longest name',
    script: `
s = os.statvfs('.'); assert s.f_blocks > 0 and s.f_bavail <= s.f_bfree <= s.f_blocks and s.f_bsize >= 512 and s.f_namemax == 255, s
`,
  },
  {
    title: 'names may have 255 bytes and no more',
    script: `
n = 'n' * 255; put(n); assert os.listdir('.') == [n]; os.rename(n, 'm' * 255); os.mkdir('d' * 255); os.symlink('x', 's' * 255)
raises(errno.ENAMETOOLONG, put, 'n' * 256); raises(errno.ENAMETOOLONG, os.mkdir, 'n' * 256); raises(errno.ENAMETOOLONG, os.stat, 'n' * 256)
`,
  },
  {
    title: 'names and targets are bytes, whatever they spell',
    needs: ['raw-names'],
    script: `
names = [b'\\xff\\xfe', b'caf\\xe9', 'café'.encode(), 'cafe\\u0301'.encode(), b'new\\nline', b'\\x01', b' ', b'-rf', b'*', '日本'.encode()]
for n in names: put(n, n)
assert sorted(os.listdir(b'.')) == sorted(names), os.listdir(b'.')
for n in names: assert get(n) == n
os.symlink(b'\\xff/\\x80', b'l'); assert os.readlink(b'l') == b'\\xff/\\x80'
`,
  },
  {
    title: 'paths and symlink targets may have 4095 bytes',
    needs: ['long-paths'],
    script: `
top = os.open('.', os.O_RDONLY); name = 'd' * 250; depth = 0
base = len(os.getcwd()) + 1
room = 4095
path = '/'.join([name] * 16); path = path + '/' + 'e' * (room - len(path) - 1 - 0)
leaf = path.rsplit('/', 1)[1]
os.makedirs('/'.join([name] * 16))
if len(leaf) > 255: leaf = leaf[:255]
put('/'.join([name] * 16) + '/' + leaf, b'deep'); assert get('/'.join([name] * 16) + '/' + leaf) == b'deep'
raises(errno.ENAMETOOLONG, os.stat, path + 'x' * 20); os.symlink('t' * 4095, 'l'); assert os.readlink('l') == 't' * 4095
raises(errno.ENAMETOOLONG, os.symlink, 't' * 4096, 'm')
`,
  },
  {
    title: 'a sparse file reaches 16 TiB and no further',
    needs: ['huge-files'],
    script: `
T = 1 << 40; fd = os.open('f', os.O_RDWR | os.O_CREAT); os.ftruncate(fd, 16 * T); assert os.fstat(fd).st_size == 16 * T
os.pwrite(fd, b'last', 16 * T - 4); assert os.pread(fd, 10, 16 * T - 4) == b'last'; os.pwrite(fd, b'mid', 5 * T + 3); assert os.pread(fd, 5, 5 * T + 2) == b'\\0mid\\0'
assert os.fstat(fd).st_blocks * 512 < 1 << 24, os.fstat(fd).st_blocks
raises(errno.EFBIG, os.ftruncate, fd, 16 * T + 1)
raises(errno.EFBIG, os.pwrite, fd, b'x', 16 * T)
`,
  },
  {
    title: 'SEEK_DATA and SEEK_HOLE find data and holes',
    needs: ['seek-hole'],
    script: `
M = 1 << 20; fd = os.open('f', os.O_RDWR | os.O_CREAT); os.pwrite(fd, b'x' * M, 4 * M); os.ftruncate(fd, 8 * M)
assert os.lseek(fd, 0, os.SEEK_DATA) == 4 * M; assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
assert os.lseek(fd, 4 * M, os.SEEK_HOLE) == 5 * M; raises(errno.ENXIO, os.lseek, fd, 6 * M, os.SEEK_DATA)
raises(errno.ENXIO, os.lseek, fd, 8 * M, os.SEEK_HOLE); assert os.lseek(fd, 4 * M + 5, os.SEEK_DATA) == 4 * M + 5
assert os.lseek(fd, -1, os.SEEK_END) == 8 * M - 1
`,
  },
  {
    title: 'fallocate reserves, punches and zeroes',
    needs: ['fallocate'],
    script: `
M = 1 << 20; fd = os.open('f', os.O_RDWR | os.O_CREAT); fallocate(fd, 0, 0, 3 * M); assert os.fstat(fd).st_size == 3 * M
fallocate(fd, KEEP, 0, 9 * M); assert os.fstat(fd).st_size == 3 * M; os.pwrite(fd, b'a' * 3 * M, 0)
fallocate(fd, PUNCH | KEEP, M, M); assert os.pread(fd, M, M) == bytes(M) and os.pread(fd, 1, M - 1) == b'a' and os.pread(fd, 1, 2 * M) == b'a'
assert os.fstat(fd).st_size == 3 * M; fallocate(fd, PUNCH | KEEP, 10, 5); assert os.pread(fd, 7, 9) == b'a' + bytes(5) + b'a'
fallocate(fd, ZERO, 2 * M + 5, 2 * M); assert os.fstat(fd).st_size == 4 * M + 5 and os.pread(fd, 9, 2 * M) == b'aaaaa' + bytes(4)
fallocate(fd, ZERO | KEEP, 0, 100 * M); assert os.fstat(fd).st_size == 4 * M + 5 and get('f') == bytes(4 * M + 5)
raises(errno.EOPNOTSUPP, fallocate, fd, 8, 0, 4096)
`,
  },
  {
    title: 'copy_file_range copies between files and within one',
    needs: ['copy-file-range'],
    script: `
data = os.urandom(3_000_000); put('a', data); a = os.open('a', os.O_RDWR); b = os.open('b', os.O_RDWR | os.O_CREAT)
def copy(s, t, n, so, to):
    done = 0
    while done < n:
        got = os.copy_file_range(s, t, n - done, so + done, to + done)
        if got == 0: break
        done += got
    return done
assert copy(a, b, 2_000_000, 1_000_000, 5) == 2_000_000; assert get('b') == bytes(5) + data[1_000_000:]
assert copy(a, b, 100, 2_999_990, 0) == 10; assert copy(a, a, 1000, 0, 5000) == 1000 and get('a')[5000:6000] == data[:1000]
`,
  },
  {
    title: 'flock excludes other processes, waits, and ends with the descriptor',
    needs: ['locks'],
    script: `
fd = os.open('f', os.O_RDWR | os.O_CREAT); fcntl.flock(fd, fcntl.LOCK_EX); r, w = os.pipe()
if os.fork() == 0:
    os.close(fd); other = os.open('f', os.O_RDWR); raises(errno.EAGAIN, fcntl.flock, other, fcntl.LOCK_SH | fcntl.LOCK_NB); os.write(w, b'1')
    fcntl.flock(other, fcntl.LOCK_EX); os.write(w, b'2'); os._exit(0)
assert os.read(r, 1) == b'1'; time.sleep(0.2); os.set_blocking(r, False); raises(errno.EAGAIN, os.read, r, 1); os.set_blocking(r, True)
os.close(fd); assert os.read(r, 1) == b'2'; assert os.wait()[1] == 0
a = os.open('f', os.O_RDWR); b = os.open('f', os.O_RDWR); fcntl.flock(a, fcntl.LOCK_SH); fcntl.flock(b, fcntl.LOCK_SH)
raises(errno.EAGAIN, fcntl.flock, a, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.flock(b, fcntl.LOCK_UN); fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
`,
  },
  {
    title: 'byte-range locks exclude, split, are told by F_GETLK and end with any close',
    needs: ['locks'],
    script: `
def lk(kind, start, length): return struct.pack('hhqqi4x', kind, 0, start, length, 0)
fd = os.open('f', os.O_RDWR | os.O_CREAT); fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0); fcntl.lockf(fd, fcntl.LOCK_UN, 10, 40)
def child(call):
    pid = os.fork()
    if pid == 0:
        try: call()
        except BaseException as e: print(repr(e), file=sys.stderr, flush=True); os._exit(1)
        os._exit(0)
    return pid
def look():
    o = os.open('f', os.O_RDWR); kind, _, start, length, pid = struct.unpack('hhqqi4x', fcntl.fcntl(o, fcntl.F_GETLK, lk(fcntl.F_RDLCK, 0, 0)))
    assert (kind, start, length, pid) == (fcntl.F_WRLCK, 0, 40, os.getppid()), (kind, start, length, pid)
    fcntl.lockf(o, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 40); raises(errno.EAGAIN, fcntl.lockf, o, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 50)
    kind = struct.unpack('hhqqi4x', fcntl.fcntl(o, fcntl.F_GETLK, lk(fcntl.F_WRLCK, 1000, 1)))[0]; assert kind == fcntl.F_UNLCK
child(look); assert os.wait()[1] == 0
r, w = os.pipe()
def waits():
    o = os.open('f', os.O_RDWR); fcntl.lockf(o, fcntl.LOCK_SH, 1, 99); os.write(w, b'got')
child(waits); time.sleep(0.2); os.close(os.open('f', os.O_RDONLY)); assert os.read(r, 3) == b'got'; assert os.wait()[1] == 0
`,
  },
  {
    title: 'waiting for a lock ends at once with a signal',
    needs: ['locks'],
    script: `
fd = os.open('f', os.O_RDWR | os.O_CREAT); fcntl.lockf(fd, fcntl.LOCK_EX); fcntl.flock(fd, fcntl.LOCK_EX)
for wait in (fcntl.lockf, fcntl.flock):
    pid = os.fork()
    if pid == 0:
        o = os.open('f', os.O_RDWR); wait(o, fcntl.LOCK_EX); os._exit(1)
    time.sleep(0.3); start = time.time(); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); assert time.time() - start < 2, 'SIGKILL had to wait'
`,
  },
  {
    title: 'shared writable mappings reach the file and other readers',
    script: `
put('f', b'a' * 10000); fd = os.open('f', os.O_RDWR)
m = mmap.mmap(fd, 10000); m[5000:5005] = b'HELLO'; m.flush(); assert get('f')[4999:5006] == b'aHELLOa'
os.pwrite(fd, b'W', 0); assert m[0:1] == b'W'
pid = os.fork()
if pid == 0:
    n = mmap.mmap(os.open('f', os.O_RDWR), 10000); n[1:2] = b'C'; os._exit(0)
os.waitpid(pid, 0); assert m[1:2] == b'C'; m.close(); os.close(fd); assert get('f')[:2] == b'WC'
`,
  },
  {
    title: 'extended attributes of every namespace are kept, listed and removed',
    root: true,
    script: `
put('f'); os.mkdir('d')
for p in ('f', 'd'):
    os.setxattr(p, 'user.a', b'1'); os.setxattr(p, 'user.bin', bytes(range(256))); os.setxattr(p, 'trusted.t', b''); os.setxattr(p, 'security.foo', b's')
    assert os.getxattr(p, 'user.bin') == bytes(range(256)) and os.getxattr(p, 'trusted.t') == b''
    assert sorted(os.listxattr(p)) == ['security.foo', 'trusted.t', 'user.a', 'user.bin'], os.listxattr(p)
    os.removexattr(p, 'user.a'); raises(errno.ENODATA, os.getxattr, p, 'user.a'); raises(errno.ENODATA, os.removexattr, p, 'user.a')
`,
  },
  {
    title: 'extended attributes know their flags, sizes and errors',
    needs: ['xattr-errors'],
    script: `
put('f'); raises(errno.ENODATA, os.getxattr, 'f', 'user.no'); os.setxattr('f', 'user.a', b'1', os.XATTR_CREATE)
raises(errno.EEXIST, os.setxattr, 'f', 'user.a', b'2', os.XATTR_CREATE); os.setxattr('f', 'user.a', b'3', os.XATTR_REPLACE)
raises(errno.ENODATA, os.setxattr, 'f', 'user.b', b'2', os.XATTR_REPLACE); big = os.urandom(65536); os.setxattr('f', 'user.big', big)
assert os.getxattr('f', 'user.big') == big; raises(errno.E2BIG, os.setxattr, 'f', 'user.c', bytes(65537))
buf = ctypes.create_string_buffer(10); libc.getxattr.restype = ctypes.c_ssize_t
assert libc.getxattr(b'f', b'user.big', None, 0) == 65536; assert libc.getxattr(b'f', b'user.big', buf, 10) == -1 and ctypes.get_errno() == errno.ERANGE
`,
  },
  {
    title: 'errors are the ones POSIX names',
    script: `
put('f'); os.mkdir('d'); put('d/x'); os.symlink('loop', 'loop')
raises(errno.ENOTDIR, os.stat, 'f/x'); raises(errno.ENOTDIR, os.rmdir, 'f'); raises(errno.ENOTEMPTY, os.rmdir, 'd'); raises(errno.EEXIST, os.mkdir, 'f')
raises(errno.EISDIR, os.unlink, 'd'); raises(errno.ELOOP, os.stat, 'loop'); raises(errno.ENOENT, os.unlink, 'no'); raises(errno.EINVAL, os.readlink, 'f')
raises(errno.ENOENT, os.open, 'no', os.O_RDONLY); raises(errno.EEXIST, os.symlink, 'x', 'f'); raises(errno.EINVAL, os.rmdir, 'd/.')
raises(errno.ENOTDIR, os.open, 'f', os.O_RDONLY | os.O_DIRECTORY); raises(errno.ELOOP, os.open, 'loop', os.O_RDONLY | os.O_NOFOLLOW)
`,
  },
  {
    title: 'a removed working directory is empty and takes nothing new',
    script: `
os.mkdir('d'); os.chdir('d'); os.rmdir('../d'); raises(errno.ENOENT, put, 'x'); raises(errno.ENOENT, os.mkdir, 'y')
try: assert os.listdir('.') == []
except FileNotFoundError: pass # a local filesystem still opens it, a network filesystem may say that it is gone
`,
  },
  {
    title: 'a name is seen the moment it was made, and gone the moment it was removed',
    script: `
for i in range(100):
    raises(errno.ENOENT, os.stat, 'n'); put('n', bytes([i])); assert get('n') == bytes([i]); os.chmod('n', 0o600 + i % 8); assert mode('n') == 0o600 + i % 8
    os.listdir('.'); [e.stat() for e in os.scandir('.')]; os.unlink('n'); [e.stat() for e in os.scandir('.')]
`,
  },
  {
    title: 'random data survives a megabyte-wise write and any read back',
    script: `
data = os.urandom(9_000_001); fd = os.open('f', os.O_RDWR | os.O_CREAT)
for at in range(0, len(data), 1 << 20): os.pwrite(fd, data[at:at + (1 << 20)], at)
os.fsync(fd); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED); assert get('f') == data
for at, n in [(0, 1), (65535, 2), (1048575, 131074), (8_999_990, 100)]: assert os.pread(fd, n, at) == data[at:at + n]
os.pwrite(fd, b'Z' * 100_000, 60_000); expect = data[:60_000] + b'Z' * 100_000 + data[160_000:]; assert get('f') == expect
os.fdatasync(fd); d = os.open('.', os.O_RDONLY); os.fsync(d)
`,
  },
  {
    title: 'a file handle, as NFS keeps it, leads back to the file under any name',
    needs: ['file-handles'],
    root: true,
    script: `
os.mkdir('d'); put('d/f', b'found'); handle = ctypes.create_string_buffer(8 + 128); struct.pack_into('I', handle, 0, 128); where = ctypes.c_int()
top = os.open('.', os.O_RDONLY)
sys_call(libc.name_to_handle_at(-100, b'd/f', handle, ctypes.byref(where), 0)); os.rename('d/f', 'd/g')
fd = sys_call(libc.open_by_handle_at(top, handle, os.O_RDONLY)); assert os.read(fd, 9) == b'found'; os.close(fd)
os.unlink('d/g'); raises(errno.ESTALE, lambda: sys_call(libc.open_by_handle_at(top, handle, os.O_RDONLY)))
`,
  },
  {
    title: 'direct reads and writes see what cached ones see',
    script: `
fd = os.open('f', os.O_RDWR | os.O_CREAT | os.O_DIRECT); m = mmap.mmap(-1, 1 << 20); m.write(b'q' * (1 << 20)); os.pwrite(fd, m, 0)
assert get('f') == b'q' * (1 << 20); os.pwrite(os.open('f', os.O_WRONLY), b'!', 4096); back = mmap.mmap(-1, 8192); os.preadv(fd, [back], 0); assert back[4096:4098] == b'!q'
`,
  },
]

const LISTING_ENTRIES = 20_000

export function mountConformance(name: string, start: () => Promise<StartedMount>): void {
  describe(`${name}: a POSIX filesystem through system calls`, () => {
    let mount: StartedMount | undefined
    let serial = 0
    const started = (): StartedMount => {
      if (mount === undefined) throw new Error('the mount did not start')
      return mount
    }
    const directory = async (): Promise<string> => {
      const path = join(started().path, `case-${serial++}`)
      await mkdir(path, { mode: 0o777 })
      return path
    }

    beforeAll(async () => {
      mount = await start()
    })
    afterAll(async () => {
      await mount?.stop()
    })

    for (const each of CASES) {
      test(each.title, async (context) => {
        for (const feature of each.needs ?? []) {
          const reason = started().skip?.get(feature)
          if (reason !== undefined) context.skip(`${feature}: ${reason}`)
        }
        if (each.root === true && process.getuid?.() !== 0) context.skip('needs root')
        await python(await directory(), each.script)
      })
    }

    test(`a directory of ${LISTING_ENTRIES} entries is listed whole, also while entries are removed`, async () => {
      const path = await directory()
      await python(
        path,
        `
for i in range(${LISTING_ENTRIES}): os.close(os.open(f'entry-{i:06d}', os.O_CREAT | os.O_WRONLY))
names = os.listdir('.'); assert len(names) == ${LISTING_ENTRIES} and len(set(names)) == ${LISTING_ENTRIES}, (len(names), len(set(names)))
seen = set()
with os.scandir('.') as listing:
    for entry in listing:
        assert entry.name not in seen, 'told twice: ' + entry.name
        seen.add(entry.name); os.unlink(entry.name)
assert len(seen) == ${LISTING_ENTRIES}, len(seen); assert os.listdir('.') == []
`,
        120_000,
      )
    })

    test('many processes make, move and remove in one directory and nothing is lost or left', async () => {
      const path = await directory()
      await python(
        path,
        `
pids = []
for i in range(6):
    pid = os.fork()
    if pid == 0:
        try:
            for n in range(60):
                os.mkdir(f'd{i}-{n}'); put(f'd{i}-{n}/f', str(n).encode()); os.rename(f'd{i}-{n}/f', f'k{i}-{n}'); os.rmdir(f'd{i}-{n}')
            os._exit(0)
        except BaseException as e: print(repr(e), file=sys.stderr, flush=True); os._exit(1)
    pids.append(pid)
for pid in pids: assert os.waitpid(pid, 0)[1] == 0
assert sorted(os.listdir('.')) == sorted(f'k{i}-{n}' for i in range(6) for n in range(60))
for i in range(6):
    for n in range(60): assert get(f'k{i}-{n}') == str(n).encode()
`,
      )
    })

    test('cp -a, tar and rm -r carry a tree over unchanged', async () => {
      const path = await directory()
      const source = await mkdtemp('/tmp/holdfast-tree-')
      try {
        for (let i = 0; i < 20; i++) {
          await mkdir(join(source, `dir ${i}`))
          for (let n = 0; n < 10; n++)
            await writeFile(join(source, `dir ${i}`, `file ${n}`), `${i}/${n}`.repeat(n * 50))
        }
        await run('cp', ['-a', source, join(path, 'copy')])
        await run('diff', ['-r', source, join(path, 'copy')])
        await run('tar', ['-cf', join(path, 'tree.tar'), '-C', path, 'copy'])
        await mkdir(join(path, 'out'))
        await run('tar', ['-xf', join(path, 'tree.tar'), '-C', join(path, 'out')])
        await run('diff', ['-r', source, join(path, 'out', 'copy')])
        await run('rm', ['-r', join(path, 'copy'), join(path, 'out')])
        expect(await readdir(path)).toEqual(['tree.tar'])
      } finally {
        await rm(source, { recursive: true, force: true })
      }
    })

    test('asynchronous calls of Node read back what they wrote', async () => {
      const path = await directory()
      const file = join(path, 'text')
      await writeFile(file, 'first')
      await writeFile(file, ' second', { flag: 'a' })
      expect(await readFile(file, 'utf8')).toBe('first second')
    })
  })
}
