"""Carries out the operations of operations.ts below directories, with plain system calls. One request per line on stdin:
{"roots": [...], "barrier": true|false, "ops": [...]}; one line of outcomes and the final tree on stdout. The roots are ways
to one and the same directory. Names and attributes may be a second old on the other way, and are pushed long before; so when
the way changes, a time is set through the old one and waited for through the new one: what was changed before is then known
there, too. Bytes need no waiting: every file has been closed."""
import ctypes, errno, hashlib, json, os, stat, sys, time

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
os.umask(0o022)

def sys_call(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

def data_of(d):
    block = bytes((d['seed'] + 37 * i) & 0xff for i in range(251))
    return (block * (d['length'] // 251 + 1))[:d['length']]

def digest(data):
    return [len(data), hashlib.sha1(data).hexdigest()]

def read_all(fd):
    pieces, at = [], 0
    while True:
        piece = os.pread(fd, 1 << 20, at)
        if not piece:
            return b''.join(pieces)
        pieces.append(piece)
        at += len(piece)

def write_all(fd, data, offset):
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
    return done

def told(s):
    kind = stat.S_IFMT(s.st_mode)
    size = 0 if kind == stat.S_IFDIR else s.st_size
    return [kind, stat.S_IMODE(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, size]

class Opened:
    def __init__(self, path, flags, mode=0o644):
        # O_NONBLOCK: a fifo must not make the runner wait.
        self.fd = os.open(path, flags | os.O_NONBLOCK, mode)
    def __enter__(self):
        return self.fd
    def __exit__(self, *_):
        os.close(self.fd)

slots = {}

def regular(fd):
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EBADF, 'not a file')
    return fd

def run(root, o):
    op = o['op']
    p = os.path.join(root, o['path']) if 'path' in o else None
    to = os.path.join(root, o['to']) if 'to' in o else None
    if op == 'create':
        with Opened(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, o['mode']): return None
    if op in ('write', 'rewrite'):
        extra = os.O_TRUNC if op == 'rewrite' else 0
        with Opened(p, os.O_CREAT | os.O_WRONLY | extra) as fd: return write_all(regular(fd), data_of(o['data']), o['offset'])
    if op == 'append':
        with Opened(p, os.O_WRONLY | os.O_APPEND) as fd: return os.write(regular(fd), data_of(o['data']))
    if op == 'truncate':
        with Opened(p, os.O_WRONLY) as fd: return os.ftruncate(regular(fd), o['size'])
    if op == 'read':
        with Opened(p, os.O_RDONLY) as fd: return digest(read_all(regular(fd)))
    if op == 'stat': return told(os.lstat(p))
    if op == 'readdir': return sorted(os.fsencode(n).decode('latin1') for n in os.listdir(p))
    if op == 'unlink': return os.unlink(p)
    if op == 'rmdir': return os.rmdir(p)
    if op == 'mkdir': return os.mkdir(p, o['mode'])
    if op == 'mkfifo': return os.mkfifo(p, o['mode'])
    if op == 'symlink': return os.symlink(o['target'], p)
    if op == 'readlink': return os.readlink(p)
    if op == 'rename': return sys_call(libc.renameat2(-100, os.fsencode(p), -100, os.fsencode(to), o['flags']))
    if op == 'link': return os.link(p, to, follow_symlinks=False)
    if op == 'chmod': return os.chmod(p, o['mode'])
    if op == 'chown': return os.chown(p, o['uid'], o['gid'], follow_symlinks=False)
    if op == 'utimens':
        at, mt = (t[0] * 10**9 + t[1] for t in (o['atimeNs'], o['mtimeNs']))
        os.utime(p, ns=(at, mt))
        return os.stat(p).st_mtime_ns % (1 << 50)
    if op == 'setxattr': return os.setxattr(p, o['name'], data_of(o['data']), o['flags'], follow_symlinks=False)
    if op == 'getxattr': return digest(os.getxattr(p, o['name'], follow_symlinks=False))
    if op == 'listxattr': return sorted(os.listxattr(p, follow_symlinks=False))
    if op == 'removexattr': return os.removexattr(p, o['name'], follow_symlinks=False)
    if op in ('reserve', 'punch', 'zero'):
        mode = {'reserve': 0, 'punch': 2, 'zero': 16}[op] | (1 if o['keepSize'] else 0)
        with Opened(p, os.O_RDWR) as fd: return sys_call(libc.fallocate(regular(fd), mode, o['offset'], o['length']))
    if op == 'copy':
        with Opened(p, os.O_RDONLY) as source, Opened(to, os.O_RDWR) as target:
            regular(source), regular(target)
            return os.copy_file_range(source, target, o['length'], o['offset'], o['toOffset'])
    if op == 'fsync':
        with Opened(p, os.O_RDONLY) as fd: return os.fsync(fd)
    if op == 'open':
        if o['slot'] in slots: raise OSError(errno.EBUSY, 'slot')
        flags = {'read': os.O_RDONLY, 'write': os.O_RDWR, 'create': os.O_RDWR | os.O_CREAT, 'truncate': os.O_RDWR | os.O_TRUNC}
        fd = os.open(p, flags[o['how']] | os.O_NONBLOCK, 0o644)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EBADF, 'not a file')
        slots[o['slot']] = fd
        return None
    if o['slot'] not in slots: raise OSError(errno.EBADF, 'slot')
    fd = slots[o['slot']]
    if op == 'slotWrite': return write_all(fd, data_of(o['data']), o['offset'])
    if op == 'slotTruncate': return os.ftruncate(fd, o['size'])
    if op == 'slotRead': return digest(read_all(fd))
    if op == 'slotStat': return told(os.fstat(fd))
    if op == 'slotSync': return os.fsync(fd)
    if op == 'slotClose': return os.close(slots.pop(o['slot']))
    raise ValueError(op)

def tree(root):
    found = {}
    def visit(path, name):
        s = os.lstat(path)
        row = told(s)
        if stat.S_ISREG(s.st_mode):
            try:
                with open(path, 'rb') as f: row.append(digest(f.read()))
            except OSError as e: row.append(errno.errorcode[e.errno])
        if stat.S_ISLNK(s.st_mode): row.append(os.readlink(path))
        row.append({n: digest(os.getxattr(path, n, follow_symlinks=False)) for n in sorted(os.listxattr(path, follow_symlinks=False)) if not n.startswith('security.')})
        found[name] = row
        if stat.S_ISDIR(s.st_mode):
            for entry in sorted(os.listdir(path)): visit(os.path.join(path, entry), name + '/' + entry)
    visit(root, '.')
    return found

sentinel = time.time_ns()

for line in sys.stdin:
    request = json.loads(line)
    roots, barrier, before = request['roots'], request['barrier'], 0
    outcomes = []
    def step(via):
        global before
        global sentinel
        if barrier and via != before:
            sentinel += 1
            old, new = (os.path.join(roots[way], '..', 'barrier') for way in (before, via))
            os.utime(old, ns=(sentinel, sentinel))
            late = time.monotonic() + 10
            while os.stat(new).st_mtime_ns != sentinel:
                if time.monotonic() > late: raise AssertionError('a change is not seen through the other mount')
                time.sleep(0.001)
            # Invalidations are written to the kernel by a few threads: the ones before may still be on their way.
            time.sleep(0.005)
        before = via
        return roots[via]
    for o in request['ops']:
        try: outcomes.append({'ok': run(step(o['via']), o)})
        except OSError as e: outcomes.append({'errno': e.errno})
    for slot in list(slots): os.close(slots.pop(slot))
    trees = [tree(step(via)) for via in range(len(roots))]
    print(json.dumps({'outcomes': outcomes, 'trees': trees}), flush=True)
