"""A table of system calls that refuse, succeed and leave traces, carried out below the directory in the first argument. It
knows no right answers: what each call answered, and what lstat says of everything afterwards, goes to stdout as one JSON object
by case, to be compared with what another filesystem did. A second argument, like 0/4, carries out one share of the cases;
any other one those whose title contains it.

All cases are set up first, then all are carried out, so that one pause in between tells old times from new ones on every
filesystem. Paths are relative to the directory of the case, so the way to it may be closed to the users that act here. The
caller changes by effective ids, as a file server does, and needs to be root."""
import ctypes, errno, itertools, json, os, stat, struct, sys, time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW = -100, 0x100, 0x400
NOW, OMIT = (0, 0x3fffffff), (0, 0x3ffffffe)
OLD, SET = 1_000_000_000, (1_500_000_000, 123_456_789)
# The owner of what is checked, somebody of its group by first and by further membership, and somebody else.
WHO = {
    'root': (0, 0, []), 'owner': (1111, 2222, []), 'member': (3333, 2222, []), 'further': (3333, 4444, [5, 2222]),
    'other': (3333, 4444, []), 'switched': (1111, 4444, [6666]),
}

def sys_call(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

def become(who):
    uid, gid, groups = WHO[who]
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)

def be_root():
    os.seteuid(0)
    os.setegid(0)
    os.setgroups([])

# ---- calls. A path that is a number is an open descriptor of the case.

slots = {}
def opened(path, flags, mode=0o666):
    # O_NONBLOCK: a fifo must not make anybody wait.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
def do_open(path, flags, mode=0o666):
    os.close(opened(path, flags, mode))
def do_slot(name, path, flags, mode=0o666):
    slots[name] = opened(path, flags, mode)
def do_close(name):
    os.close(slots.pop(name))
def do_put(path, data='data', mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(fd, data.encode())
    os.close(fd)
def do_pwrite(path, data, offset):
    fd = slots[path] if path in slots else opened(path, os.O_WRONLY)
    try:
        return os.pwrite(fd, data.encode(), offset)
    finally:
        if path not in slots:
            os.close(fd)
def do_write(slot, data):
    return os.write(slots[slot], data.encode())
def do_pread(slot, length, offset):
    return os.pread(slots[slot], length, offset).decode()
def do_fstat(slot):
    s = os.fstat(slots[slot])
    return [stat.S_IFMT(s.st_mode), oct(stat.S_IMODE(s.st_mode)), s.st_nlink, s.st_uid, s.st_gid, s.st_size if stat.S_ISREG(s.st_mode) else 0]
def do_stat(path):
    s = os.stat(path)
    return [stat.S_IFMT(s.st_mode), oct(stat.S_IMODE(s.st_mode)), s.st_uid, s.st_gid]
def do_lstat(path):
    return stat.S_IFMT(os.lstat(path).st_mode)
def do_ftruncate(path, size):
    fd = slots[path] if path in slots else opened(path, os.O_WRONLY)
    try:
        os.ftruncate(fd, size)
    finally:
        if path not in slots:
            os.close(fd)
def timespec(pair):
    return (ctypes.c_long * 4)(*pair[0], *pair[1])
def do_utimens(path, atime, mtime, flags=0):
    where, name = (slots[path], None) if path in slots else (AT_FDCWD, os.fsencode(path))
    sys_call(libc.utimensat(where, name, timespec((atime, mtime)), flags))
def do_renameat2(a, b, flags):
    sys_call(libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags))
def do_linkat(a, b, flags):
    sys_call(libc.linkat(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags))
def do_linkfd(slot, b):
    sys_call(libc.linkat(AT_FDCWD, f'/proc/self/fd/{slots[slot]}'.encode(), AT_FDCWD, os.fsencode(b), AT_SYMLINK_FOLLOW))
def do_access(path, mode):
    return os.access(path, mode, effective_ids=True)
def do_chdir(path):
    os.chdir(path)
def do_listfd(slot):
    return sorted(os.listdir(slots[slot]))
def do_mknod(path, kind, mode=0o644):
    os.mknod(path, kind | mode, os.makedev(1, 3) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)
def do_fallocate(path, mode, offset, length):
    fd = slots[path] if path in slots else opened(path, os.O_WRONLY)
    try:
        sys_call(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))
    finally:
        if path not in slots:
            os.close(fd)
def do_lseek(slot, offset, whence):
    return os.lseek(slots[slot], offset, whence)
def do_copy(a, b, length, offset, to):
    return os.copy_file_range(slots[a], slots[b], length, offset, to)
ACL_TAGS = {'u': 1, 'user': 2, 'g': 4, 'group': 8, 'mask': 16, 'o': 32}
def acl_bytes(text):
    """u:7 user:3333:6 g:5 mask:4 o:0, in this order, as Linux stores it; a number instead of a tag goes in as it is."""
    out = struct.pack('<I', 2)
    for entry in text.split():
        tag, *who, bits = entry.split(':')
        out += struct.pack('<HHI', ACL_TAGS.get(tag) or int(tag), int(bits), int(who[0]) if who else 0xffffffff)
    return out
def do_setacl(path, text, kind='access'):
    os.setxattr(path, f'system.posix_acl_{kind}', acl_bytes(text))
def do_getacl(path, kind='access'):
    raw = os.getxattr(path, f'system.posix_acl_{kind}')
    names = {number: tag for tag, number in ACL_TAGS.items()}
    return [f'{names[tag]}:{who}:{bits}' for tag, bits, who in struct.iter_unpack('<HHI', raw[4:])]
def do_delacl(path, kind='access'):
    os.removexattr(path, f'system.posix_acl_{kind}')
def do_umask(mask):
    os.umask(mask)

CALLS = {
    'open': do_open, 'slot': do_slot, 'close': do_close, 'put': do_put, 'pwrite': do_pwrite, 'write': do_write, 'pread': do_pread,
    'fstat': do_fstat, 'stat': do_stat, 'lstat': do_lstat, 'truncate': os.truncate, 'ftruncate': do_ftruncate, 'utimens': do_utimens,
    'mkdir': os.mkdir, 'rmdir': os.rmdir, 'unlink': os.unlink, 'rename': os.rename, 'renameat2': do_renameat2, 'linkat': do_linkat,
    'linkfd': do_linkfd, 'symlink': os.symlink, 'readlink': os.readlink, 'chmod': os.chmod, 'chown': os.chown, 'lchown': os.lchown,
    'mkfifo': os.mkfifo, 'mknod': do_mknod, 'listdir': lambda path: sorted(os.listdir(path)), 'listfd': do_listfd, 'access': do_access,
    'setacl': do_setacl, 'getacl': do_getacl, 'delacl': do_delacl, 'listxattr': lambda path: sorted(os.listxattr(path)),
    'chdir': do_chdir, 'fallocate': do_fallocate, 'lseek': do_lseek, 'copy': do_copy, 'umask': do_umask,
    'setxattr': lambda path, name, value, flags=0: os.setxattr(path, name, value.encode(), flags),
    'getxattr': lambda path, name: os.getxattr(path, name).decode(), 'removexattr': os.removexattr,
    'lsetxattr': lambda path, name, value: os.setxattr(path, name, value.encode(), follow_symlinks=False),
    'fchmod': lambda slot, mode: os.fchmod(slots[slot], mode), 'fchown': lambda slot, uid, gid: os.fchown(slots[slot], uid, gid),
}

def call(step):
    who, name, *args = step
    try:
        become(who)
        value = CALLS[name](*args)
        return 'ok' if value is None else value
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)
    finally:
        be_root()

# ---- what is there

def entries():
    """Parents before children; also what nobody could have listed."""
    found = ['.']
    for where, dirs, files in os.walk('.'):
        found += [os.path.join(where, name) for name in dirs + files]
    return sorted(found)

def time_word(ns):
    if ns == OLD * 10**9:
        return 'old'
    return 'set' if ns == SET[0] * 10**9 + SET[1] else 'new'

def look(before, atimes):
    out = []
    for path in entries():
        s = os.lstat(path)
        was = before.get(s.st_ino)
        said = [path[:40], was[0][:40] if was else 'made', stat.S_IFMT(s.st_mode), oct(stat.S_IMODE(s.st_mode)), s.st_nlink, s.st_uid, s.st_gid]
        said += ['mtime ' + time_word(s.st_mtime_ns), 'ctime ' + ('same' if was and was[1] == s.st_ctime_ns else 'moved')]
        if atimes and stat.S_ISREG(s.st_mode):
            said.append('atime ' + time_word(s.st_atime_ns))
        if stat.S_ISREG(s.st_mode):
            with open(path, 'rb') as f:
                said += [s.st_size, f.read(64).decode()]
        elif stat.S_ISLNK(s.st_mode):
            said += [s.st_size, os.readlink(path)[:40]]
        elif stat.S_ISCHR(s.st_mode):
            said.append(s.st_rdev)
        out.append(said)
    return out

# ---- the table: (title, steps of the set-up, steps, whether access times are compared)

cases = []
def case(title, setup, steps, atimes=False):
    cases.append((title, [('root', *step) for step in setup], [step if step[0] in WHO else ('root', *step) for step in steps], atimes))

N255, N256 = 'n' * 255, 'n' * 256
F, D = ('put', 'f'), ('mkdir', 'd', 0o755)
def link(target):
    return ('symlink', target, 'l')
CHAIN = [('symlink', f'l{i + 1}', f'l{i}') for i in range(41)]
# What a path may name, and what has to be there for it.
PATHS = {
    'a file': ('f', [F]),
    'an empty directory': ('d', [D]),
    'a full directory': ('d', [D, ('put', 'd/x')]),
    'a symlink to a file': ('l', [F, link('f')]),
    'a symlink to a directory': ('l', [D, link('d')]),
    'a dangling symlink': ('l', [link('nothing')]),
    'a symlink to itself': ('l', [link('l')]),
    'a fifo': ('p', [('mkfifo', 'p', 0o644)]),
    'a socket': ('s', [('mknod', 's', stat.S_IFSOCK)]),
    'a device': ('c', [('mknod', 'c', stat.S_IFCHR)]),
    'nothing': ('no', []),
    'a name below a file': ('f/x', [F]),
    'a name below nothing': ('no/x', []),
    'a name below a symlink to itself': ('l/x', [link('l')]),
    'a name below a dangling symlink': ('l/x', [link('nothing')]),
    'a name below a symlink to a file': ('l/x', [F, link('f')]),
    'a file below a symlink': ('l/x', [D, ('put', 'd/x'), link('d')]),
    'a file with a slash': ('f/', [F]),
    'a directory with a slash': ('d/', [D]),
    'a symlink to a directory with a slash': ('l/', [D, link('d')]),
    'a symlink to a file with a slash': ('l/', [F, link('f')]),
    'a dangling symlink with a slash': ('l/', [link('nothing')]),
    'nothing with a slash': ('no/', []),
    'the directory itself': ('.', []),
    'a directory by its dot': ('d/.', [D]),
    'the parent by two dots': ('d/..', [D]),
    'a file and two dots': ('f/..', [F]),
    'the empty path': ('', []),
    'a free name of 255 bytes': (N255, []),
    'a file with a name of 255 bytes': (N255, [('put', N255)]),
    'a name of 256 bytes': (N256, []),
    'a name below one of 256 bytes': (N256 + '/x', []),
    'a symlink to a name of 256 bytes': ('l', [link(N256)]),
    'a path of 4095 bytes': ('./' * 2047 + 'f', [F]),
    'a path of 4096 bytes': ('./' * 2047 + 'ff', [F]),
    'forty symlinks in a row': ('l1', [*CHAIN, ('put', 'l41')]),
    'forty-one symlinks in a row': ('l0', [*CHAIN, ('put', 'l41')]),
}
R, W, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREAT, EXCL, TRUNC, APPEND = os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND
ONE = {
    'stat': ('stat',), 'lstat': ('lstat',), 'readlink': ('readlink',), 'listdir': ('listdir',), 'chdir': ('chdir',),
    'access r': ('access', os.R_OK), 'access x': ('access', os.X_OK),
    'open r': ('open', R), 'open w': ('open', W), 'open rw': ('open', RW), 'open w trunc': ('open', W | TRUNC), 'open r trunc': ('open', R | TRUNC),
    'open creat': ('open', W | CREAT, 0o640), 'open r creat': ('open', R | CREAT, 0o640), 'open creat excl': ('open', RW | CREAT | EXCL, 0o604),
    'open creat trunc': ('open', W | CREAT | TRUNC, 0o640), 'open directory': ('open', os.O_DIRECTORY), 'open nofollow': ('open', os.O_NOFOLLOW),
    'open creat nofollow': ('open', W | CREAT | os.O_NOFOLLOW, 0o640), 'open creat directory': ('open', CREAT | os.O_DIRECTORY, 0o640), 'open path': ('open', os.O_PATH),
    'open append': ('open', W | APPEND), 'mkdir': ('mkdir', 0o751), 'mkfifo': ('mkfifo', 0o640), 'mknod sock': ('mknod', stat.S_IFSOCK),
    'mknod file': ('mknod', stat.S_IFREG), 'mknod chr': ('mknod', stat.S_IFCHR), 'mknod dir': ('mknod', stat.S_IFDIR),
    'unlink': ('unlink',), 'rmdir': ('rmdir',), 'truncate 2': ('truncate', 2), 'truncate 9': ('truncate', 9), 'truncate same': ('truncate', 4), 'truncate negative': ('truncate', -1),
    'chmod': ('chmod', 0o1604), 'chown': ('chown', 1111, 2222), 'chown nothing': ('chown', -1, -1), 'lchown': ('lchown', 1111, 2222),
    'utimens set': ('utimens', SET, SET), 'utimens set nofollow': ('utimens', SET, SET, AT_SYMLINK_NOFOLLOW), 'utimens now': ('utimens', NOW, NOW),
    'utimens omit': ('utimens', OMIT, OMIT), 'utimens mtime': ('utimens', OMIT, SET), 'utimens atime': ('utimens', SET, OMIT), 'utimens wrong': ('utimens', (1, 10**9), SET),
    'setxattr': ('setxattr', 'user.a', 'v'), 'lsetxattr trusted': ('lsetxattr', 'trusted.a', 'v'), 'setxattr replace': ('setxattr', 'user.a', 'v', os.XATTR_REPLACE),
    'setxattr no namespace': ('setxattr', 'nonsense', 'v'), 'setxattr long name': ('setxattr', 'user.' + 'a' * 251, 'v'), 'setxattr longest name': ('setxattr', 'user.' + 'a' * 250, 'v'),
    'getxattr': ('getxattr', 'user.a'), 'removexattr': ('removexattr', 'user.a'), 'pwrite': ('pwrite', 'XY', 1), 'ftruncate': ('ftruncate', 1), 'punch': ('fallocate', 3, 0, 2), 'reserve': ('fallocate', 0, 0, 9),
    'reserve nothing': ('fallocate', 0, 0, 0), 'reserve negative': ('fallocate', 0, -1, 5), 'punch growing': ('fallocate', 2, 0, 2), 'zero': ('fallocate', 16, 2, 5), 'zero keep': ('fallocate', 17, 2, 5),
}
for (call_name, (name, *args)), (what, (path, setup)) in itertools.product(ONE.items(), PATHS.items()):
    case(f'{call_name}: {what}', setup, [(name, path, *args)], call_name.startswith('utimens'))

def moved(setup, prefix):
    """The same objects again under other names, for calls with two paths."""
    return [tuple(prefix + '/' + a if i == (1 if step[0] == 'symlink' else 0) else a for i, a in enumerate(step[1:])) for step in setup]
TWO = {
    'rename': ('rename',), 'link': ('linkat', 0), 'link follow': ('linkat', AT_SYMLINK_FOLLOW), 'noreplace': ('renameat2', 1), 'exchange': ('renameat2', 2), 'both flags': ('renameat2', 3),
}
PAIRED = [what for what in PATHS if what not in ('a path of 4096 bytes', 'a path of 4095 bytes', 'forty symlinks in a row', 'forty-one symlinks in a row', 'a file and two dots', 'a symlink to a name of 256 bytes')]
for (call_name, (name, *args)), a, b in itertools.product(TWO.items(), PAIRED, PAIRED):
    if call_name in ('link follow', 'noreplace', 'both flags') and PAIRED.index(b) > 14:
        continue
    (one, setup_one), (two, setup_two) = PATHS[a], PATHS[b]
    second = [(step[0], *rest) for step, rest in zip(setup_two, moved(setup_two, 'to'))]
    case(f'{call_name}: {a} to {b}', [('mkdir', 'to'), *setup_one, *second], [(name, one, 'to/' + two if two else '', *args)])
for target in ['', 'x', 'f', '/', 'x' * 4095, 'x' * 4096]:
    for what, (path, setup) in PATHS.items():
        if target in ('x', 'f') or what in ('nothing', 'a file'):
            case(f'symlink with a target of {len(target)} bytes, {target[:5]}: {what}', setup, [('symlink', target, path)])

# One directory in another and back; what a rename does to link counts, times and two dots.
TREE = [('mkdir', 'a'), ('mkdir', 'a/b'), ('mkdir', 'a/b/c'), ('put', 'a/b/f'), ('mkdir', 'e'), ('mkdir', 'e/g'), ('put', 'e/h')]
NAMES = ['a', 'a/b', 'a/b/c', 'a/b/f', 'e', 'e/g', 'e/h', 'new', 'a/new', 'a/b/c/new', 'e/g/new']
for a, b in itertools.product(NAMES, NAMES):
    case(f'rename in a tree: {a} to {b}', TREE, [('rename', a, b), ('listdir', 'a'), ('listdir', 'e/g'), ('stat', 'e/g/..'), ('stat', 'a/b/..')])
    case(f'exchange in a tree: {a} and {b}', TREE, [('renameat2', a, b, 2), ('listdir', 'a'), ('listdir', 'e')])

# Who may do what, by the modes of the file and of its directory.
def owned(dir_mode, file_mode):
    return [
        ('chmod', '.', 0o777), ('mkdir', 'd'), ('put', 'd/f'), ('put', 'd/g'), ('mkdir', 'd/sub'), ('put', 'mine'), ('mkdir', 'minedir'),
        ('chown', 'd/f', 1111, 2222), ('chmod', 'd/f', file_mode), ('chown', 'd/g', 5555, 5555), ('chown', 'd/sub', 5555, 5555),
        ('chown', 'mine', 3333, 4444), ('chown', 'minedir', 3333, 4444), ('chown', 'd', 1111, 2222), ('chmod', 'd', dir_mode),
    ]
def owned_file(mode):
    return [('mkdir', 'd'), ('put', 'd/f'), ('chown', 'd/f', 1111, 2222), ('chmod', 'd/f', mode), ('chmod', 'd', 0o777)]
ON_FILE = {
    'open r': ('open', 'd/f', R), 'open w': ('open', 'd/f', W), 'open rw': ('open', 'd/f', RW), 'open trunc': ('open', 'd/f', W | TRUNC), 'open creat': ('open', 'd/f', W | CREAT),
    'write': ('pwrite', 'd/f', 'XY', 1), 'truncate': ('truncate', 'd/f', 1), 'truncate up': ('truncate', 'd/f', 100), 'ftruncate': ('ftruncate', 'd/f', 1), 'truncate same': ('truncate', 'd/f', 4),
    'punch': ('fallocate', 'd/f', 3, 0, 2), 'reserve': ('fallocate', 'd/f', 0, 0, 50), 'zero': ('fallocate', 'd/f', 16, 1, 2),
    'chmod 644': ('chmod', 'd/f', 0o644), 'chmod 4777': ('chmod', 'd/f', 0o4777), 'chmod 2777': ('chmod', 'd/f', 0o2777), 'chmod 2767': ('chmod', 'd/f', 0o2767), 'chmod 1777': ('chmod', 'd/f', 0o1777),
    'chown nobody': ('chown', 'd/f', -1, -1), 'chown self': ('chown', 'd/f', 1111, -1), 'chown away': ('chown', 'd/f', 3333, -1), 'chgrp 2222': ('chown', 'd/f', -1, 2222),
    'chgrp 4444': ('chown', 'd/f', -1, 4444), 'chgrp 6666': ('chown', 'd/f', -1, 6666), 'chgrp 9999': ('chown', 'd/f', -1, 9999), 'chown both': ('chown', 'd/f', 1111, 2222),
    'utimens now': ('utimens', 'd/f', NOW, NOW), 'utimens set': ('utimens', 'd/f', SET, SET), 'utimens omit': ('utimens', 'd/f', OMIT, OMIT), 'utimens now and omit': ('utimens', 'd/f', NOW, OMIT),
    'utimens set and now': ('utimens', 'd/f', SET, NOW), 'setxattr': ('setxattr', 'd/f', 'user.a', 'v'), 'setxattr trusted': ('setxattr', 'd/f', 'trusted.a', 'v'),
    'setxattr capability': ('setxattr', 'd/f', 'security.capability', 'v'), 'access rwx': ('access', 'd/f', 7), 'access r': ('access', 'd/f', 4), 'access w': ('access', 'd/f', 2), 'access x': ('access', 'd/f', 1),
}
ON_DIR = {
    'unlink': ('unlink', 'd/f'), "unlink another's": ('unlink', 'd/g'), 'rename': ('rename', 'd/f', 'd/h'), "rename another's": ('rename', 'd/g', 'd/h'), 'replace': ('rename', 'd/f', 'd/g'),
    'rename out': ('rename', 'd/f', 'out'), 'rename in': ('rename', 'mine', 'd/h'), 'replace in': ('rename', 'mine', 'd/f'), 'exchange': ('renameat2', 'd/f', 'd/g', 2), 'rename a directory in': ('rename', 'minedir', 'd/h'),
    'rename a directory out': ('rename', 'd/sub', 'out'), 'link': ('linkat', 'd/f', 'd/h', 0), 'link out': ('linkat', 'd/f', 'out', 0), 'symlink': ('symlink', 'x', 'd/s'), 'mkdir': ('mkdir', 'd/new', 0o2777),
    'create': ('open', 'd/new', W | CREAT | EXCL, 0o6777), 'create trunc': ('open', 'd/g', W | CREAT | TRUNC, 0o666), 'mkfifo': ('mkfifo', 'd/new', 0o666), 'mknod chr': ('mknod', 'd/new', stat.S_IFCHR), 'mknod sock': ('mknod', 'd/new', stat.S_IFSOCK),
    'rmdir': ('rmdir', 'd/sub'), 'listdir': ('listdir', 'd'), 'stat below': ('stat', 'd/f'), 'chdir': ('chdir', 'd'), 'chmod 2777': ('chmod', 'd', 0o2777), 'chmod 1777': ('chmod', 'd', 0o1777),
    'chown self': ('chown', 'd', 1111, -1), 'chgrp 4444': ('chown', 'd', -1, 4444), 'chgrp 6666': ('chown', 'd', -1, 6666), 'chgrp 9999': ('chown', 'd', -1, 9999), 'utimens now': ('utimens', 'd', NOW, NOW), 'utimens set': ('utimens', 'd', SET, SET),
    'setxattr': ('setxattr', 'd', 'user.a', 'v'),
}
for who, mode, (name, step) in itertools.product(WHO, [0o644, 0o666, 0o600, 0o060, 0o006, 0o000, 0o640, 0o4755, 0o2755, 0o2745, 0o6777, 0o6767, 0o4711], ON_FILE.items()):
    # Root and the one who is in another group now: where the bits mean something to them.
    if mode & 0o6000 or mode in (0o644, 0o000) or who not in ('root', 'switched'):
        case(f'{name} of a file {mode:o} by {who}', owned_file(mode), [(who, *step)], name.startswith('utimens'))
for who, mode, (name, step) in itertools.product(WHO, [0o777, 0o755, 0o700, 0o1777, 0o555, 0o711, 0o2777, 0o3775, 0o311], ON_DIR.items()):
    case(f'{name} in a directory {mode:o} by {who}', owned(mode, 0o644), [(who, *step)])
for who, mask, mode in itertools.product(['root', 'owner', 'other'], [0, 0o022, 0o077], [0o7777, 0o2755, 0o666]):
    for dir_mode in (0o777, 0o2777):
        new = [(who, 'umask', mask), (who, 'mkdir', 'd/d', mode), (who, 'open', 'd/o', W | CREAT, mode), (who, 'mkfifo', 'd/p', mode), (who, 'mknod', 'd/m', stat.S_IFREG, mode), (who, 'umask', 0o022)]
        case(f'made by {who} with umask {mask:o} and mode {mode:o} in a directory {dir_mode:o}', owned(dir_mode, 0o644), new)

# Access control lists: who gets in by which entry, what chmod and umask do to them, what is handed down, what is refused.
ACLS = [
    'u:6 g:4 o:0', 'u:6 user:3333:6 g:0 mask:6 o:0', 'u:6 user:3333:6 g:0 mask:4 o:7', 'u:6 user:3333:0 g:7 mask:7 o:7', 'u:0 user:1111:7 g:7 mask:7 o:7',
    'u:6 g:0 group:4444:6 mask:6 o:0', 'u:6 g:4 group:4444:2 mask:7 o:0', 'u:6 g:0 group:6666:7 mask:7 o:4', 'u:7 user:0:0 g:7 group:0:0 mask:7 o:7', 'u:6 user:5555:7 g:6 mask:0 o:6',
]
ACL_USES = {
    'open r': ('open', 'd/f', R), 'open w': ('open', 'd/f', W), 'open rw': ('open', 'd/f', RW), 'access x': ('access', 'd/f', 1), 'chmod 640': ('chmod', 'd/f', 0o640), 'chmod 707': ('chmod', 'd/f', 0o707),
    'chmod 2777': ('chmod', 'd/f', 0o2777), 'setacl': ('setacl', 'd/f', 'u:7 user:9999:7 g:0 mask:7 o:0'), 'setacl without a mask': ('setacl', 'd/f', 'u:4 g:2 o:1'), 'delacl': ('delacl', 'd/f'), 'getacl': ('getacl', 'd/f'),
    'utimens now': ('utimens', 'd/f', NOW, NOW), 'chown': ('chown', 'd/f', -1, 4444), 'setxattr': ('setxattr', 'd/f', 'user.a', 'v'),
}
for acl, who, (name, step) in itertools.product(ACLS, WHO, ACL_USES.items()):
    case(f'acl {acl}: {name} by {who}', [*owned_file(0o640), ('setacl', 'd/f', acl)], [(who, *step), ('getacl', 'd/f'), ('listxattr', 'd/f')])
for acl, mask, mode in itertools.product(ACLS, (0, 0o022, 0o077, 0o777), (0o666, 0o2640, 0o7777)):
    steps = [('umask', mask), ('open', 'd/o', CREAT | W, mode), ('mkdir', 'd/d', mode), ('mkfifo', 'd/p', mode), ('symlink', 'x', 'd/s'), ('mknod', 'd/m', stat.S_IFREG, mode), ('umask', 0o022)]
    looks = [(call_name, path, *kind) for path in ('d/o', 'd/d', 'd/p', 'd/m') for call_name, *kind in (('getacl',), ('getacl', 'default'))]
    case(f'acl {acl} handed down with umask {mask:o} and mode {mode:o}', [D, ('setacl', 'd', acl, 'default')], [*steps, *looks])
for acl in ['', 'u:7', 'u:7 g:7', 'g:7 u:7 o:7', 'u:7 g:7 o:8', 'u:7 user:5:7 g:7 o:7', 'u:7 u:7 g:7 o:7', 'u:7 g:7 mask:7 mask:7 o:7', 'u:7 user:5:7 user:5:7 g:7 mask:7 o:7', 'u:7 user:9:7 user:5:7 g:7 mask:7 o:7', '3:7 g:7 o:7', 'u:7 g:7 mask:7 o:7']:
    for what in ('a file', 'an empty directory', 'a symlink to a file', 'a dangling symlink', 'a fifo', 'nothing'):
        path, setup = PATHS[what]
        for kind in ('access', 'default'):
            case(f'setacl {kind} {acl}: {what}', setup, [('setacl', path, acl, kind), ('getacl', path, kind), ('listxattr', path), ('delacl', path, kind), ('delacl', path, kind)])

# What happens to things in use.
for how in ('unlink', 'replace'):
    away = [('unlink', 'f')] if how == 'unlink' else [('put', 'n', 'new'), ('rename', 'n', 'f')]
    use = [('fstat', 1), ('pwrite', 1, 'XY', 2), ('pread', 1, 9, 0), ('ftruncate', 1, 3), ('pread', 1, 9, 0), ('fchmod', 1, 0o600), ('fchown', 1, 7, 8), ('utimens', 1, SET, SET), ('fallocate', 1, 0, 0, 8)]
    case(f'an open file after {how}', [F], [('slot', 1, 'f', RW), *away, *use, ('linkfd', 1, 'again'), ('fstat', 1), ('close', 1)])
    case(f'an open file with a second name after {how}', [F, ('linkat', 'f', 'g', 0)], [('slot', 1, 'f', RW), *away, *use, ('linkfd', 1, 'again'), ('fstat', 1), ('close', 1)])
IN_GONE = [('listdir', '.'), ('put', 'x'), ('mkdir', 'x'), ('symlink', 'a', 'x'), ('mkfifo', 'x'), ('stat', '.'), ('stat', 'x'), ('linkat', '../f', 'x', 0), ('rename', '../f', 'x'), ('rmdir', '.'), ('chmod', '.', 0o700), ('open', 'x', CREAT | W)]
case('a directory that was removed below somebody', [F, D], [('slot', 1, 'd', R), ('chdir', 'd'), ('rmdir', '../d'), *IN_GONE[:7], *IN_GONE[9:], ('fstat', 1), ('listfd', 1), ('close', 1)])
case('a directory that was replaced below somebody', [F, D, ('mkdir', 'e')], [('slot', 1, 'd', R), ('chdir', 'd'), ('rename', '../e', '../d'), *IN_GONE[:7], ('fstat', 1), ('listfd', 1), ('close', 1)])
case('a directory that moves below somebody', [F, D, ('mkdir', 'e')], [('chdir', 'd'), ('rename', '../d', '../e/d'), ('put', 'x'), ('stat', '../../f'), ('stat', '../f'), ('listdir', '..'), ('chdir', '../..'), ('listdir', 'e/d')])
for flags in (R, W, RW, W | APPEND, RW | APPEND):
    steps = [('slot', 1, 'f', flags), ('write', 1, 'ab'), ('pwrite', 1, 'cd', 0), ('pread', 1, 9, 0), ('ftruncate', 1, 2), ('write', 1, 'ef'), ('lseek', 1, 0, 1), ('lseek', 1, 0, 3), ('lseek', 1, 0, 4), ('lseek', 1, 99, 3), ('fallocate', 1, 0, 0, 9), ('fallocate', 1, 3, 0, 3)]
    case(f'reading and writing through flags {flags}', [F], [*steps, ('close', 1)])
    for who in ('owner', 'other'):
        case(f'a descriptor with flags {flags} outlives the rights of {who}', owned(0o777, 0o666), [(who, 'slot', 1, 'd/f', flags), ('chmod', 'd/f', 0o6000), *[(who, *step) for step in steps[1:]], (who, 'fchmod', 1, 0o2777), (who, 'close', 1)])
COPY = [('slot', 1, 'f', RW), ('slot', 2, 'g', RW)]
for args in [(4, 0, 0), (9, 2, 1), (4, 9, 0), (0, 0, 0), (4, 0, 100)]:
    case(f'copy of {args} to another file', [F, ('put', 'g', '0123456789')], [*COPY, ('copy', 1, 2, *args), ('pread', 2, 200, 0), ('close', 1), ('close', 2)])
    case(f'copy of {args} in one file', [('put', 'f', '0123456789')], [('slot', 1, 'f', RW), ('copy', 1, 1, *args), ('pread', 1, 200, 0), ('close', 1)])
case('copy to a reader', [F, ('put', 'g')], [('slot', 1, 'f', R), ('slot', 2, 'g', R), ('copy', 1, 2, 4, 0, 0), ('close', 1), ('close', 2)])
case('copy to an appender', [F, ('put', 'g')], [('slot', 1, 'f', R), ('slot', 2, 'g', W | APPEND), ('copy', 1, 2, 4, 0, 0), ('close', 1), ('close', 2)])
case('copy from a directory', [D, ('put', 'g')], [('slot', 1, 'd', R), ('slot', 2, 'g', W), ('copy', 1, 2, 4, 0, 0), ('close', 1), ('close', 2)])

def main():
    os.umask(0o022)
    os.chdir(sys.argv[1])
    top = os.open('.', os.O_RDONLY)
    wanted = cases
    if len(sys.argv) > 2 and sys.argv[2][:1].isdigit():
        share, shares = map(int, sys.argv[2].split('/'))
        wanted = cases[share::shares]
    elif len(sys.argv) > 2:
        wanted = [c for c in cases if sys.argv[2] in c[0]]
    befores = []
    for i, (title, setup, _, _) in enumerate(wanted):
        os.fchdir(top)
        os.mkdir(f'case-{i}')
        os.chdir(f'case-{i}')
        for step in setup:
            answer = call(step)
            assert answer == 'ok', (title, step, answer)
        found = entries()
        for path in reversed(found):
            os.utime(path, (OLD, OLD), follow_symlinks=False)
        befores.append({s.st_ino: (path, s.st_ctime_ns) for path, s in ((path, os.lstat(path)) for path in found)})
    time.sleep(0.1)
    out = {}
    for i, (title, _, steps, atimes) in enumerate(wanted):
        os.fchdir(top)
        os.chdir(f'case-{i}')
        answers = [call(step) for step in steps]
        os.fchdir(top)
        os.chdir(f'case-{i}')
        assert title not in out, title
        out[title] = [answers, look(befores[i], atimes)]
    json.dump(out, sys.stdout)

main()
