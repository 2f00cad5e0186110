"""Random reads, writes, truncations, mapped writes, holes and copies on one file, each checked against what the file must hold
(after the fsx of Apple and the Linux Test Project). Arguments: the seed, how many operations, the file; the file again when there is
another way to it, which is then taken by turns, with the file closed in between. What does not fit ends the program with the seed, the operation's number, the bytes that differ and the operations before it; the same seed does the same again."""
import ctypes, mmap, os, random, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
KEEP, PUNCH, ZERO = 1, 2, 16
# Several segments and commits long, and cheap enough to be compared as a whole now and then.
SIZE_MAX = 3 * 1024 * 1024
LENGTH_MAX = 200_000
WHOLE_EVERY = 200
LOG = 40

seed, count, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
path = paths[0]
dice = random.Random(seed)
shadow = bytearray()
log = []

def wrong(what, at, got, wanted):
    print(f'{path}: seed {seed}: {what} at {at}: {len(got)} bytes, wanted {len(wanted)}', file=sys.stderr)
    for i, (a, b) in enumerate(zip(got, wanted)):
        if a != b:
            alike = next((n for n, (x, y) in enumerate(zip(got[i:], wanted[i:])) if x == y), min(len(got), len(wanted)) - i)
            print(f'from byte {at + i} on {alike} bytes differ: {bytes(got[i:i + 16]).hex()}, wanted {bytes(wanted[i:i + 16]).hex()}', file=sys.stderr)
            break
    print('\n'.join(log[-LOG:]), file=sys.stderr)
    sys.exit(1)

def check(what, at, got, wanted):
    if bytes(got) != bytes(wanted):
        wrong(what, at, got, wanted)

def resize(size):
    if size < len(shadow):
        del shadow[size:]
    else:
        shadow.extend(bytes(size - len(shadow)))

def place():
    """Mostly at what matters: the ends of pages, blocks and segments, and of the file."""
    near = dice.choice([0, 4096, 65_536, 262_144, 1_048_576, 2_097_152, len(shadow), dice.randrange(SIZE_MAX)])
    return min(max(0, near + dice.choice([0, 0, dice.randrange(-5000, 5000)])), SIZE_MAX - 1)

def length(at):
    return min(SIZE_MAX - at, dice.choice([1, dice.randrange(1, 100), 4096, dice.randrange(1, 20_000), 65_536, dice.randrange(1, LENGTH_MAX)]))

def bytes_of(n):
    return dice.randbytes(n)

class File:
    def __init__(self):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
    def again(self):
        global path
        os.close(self.fd)
        path = dice.choice(paths)
        self.fd = os.open(path, os.O_RDWR)

f = File()

def write():
    at = place(); data = bytes_of(length(at))
    done = 0
    while done < len(data):
        done += os.pwrite(f.fd, data[done:], at + done)
    resize(max(len(shadow), at + len(data)))
    shadow[at:at + len(data)] = data
    return at, len(data)
def append():
    if len(shadow) >= SIZE_MAX - 1:
        return ()
    data = bytes_of(min(length(len(shadow)), SIZE_MAX - len(shadow)))
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])
    os.close(fd)
    at = len(shadow)
    shadow.extend(data)
    return at, len(data)
def read():
    at = place(); n = length(at)
    check('read', at, os.pread(f.fd, n, at), shadow[at:at + n])
    return at, n
def read_anew():
    at = place(); n = length(at)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    check('read by another descriptor', at, os.pread(fd, n, at), shadow[at:at + n])
    os.close(fd)
    return at, n
def truncate():
    size = place()
    os.ftruncate(f.fd, size) if dice.random() < 0.5 else os.truncate(path, size)
    resize(size)
    return size,
def map_read():
    if not shadow:
        return ()
    at = min(place(), len(shadow) - 1); n = min(length(at), len(shadow) - at)
    with mmap.mmap(f.fd, len(shadow), mmap.MAP_SHARED, mmap.PROT_READ) as m:
        check('mapped read', at, m[at:at + n], shadow[at:at + n])
    return at, n
def map_write():
    if not shadow:
        return ()
    at = min(place(), len(shadow) - 1); n = min(length(at), len(shadow) - at); data = bytes_of(n)
    with mmap.mmap(f.fd, len(shadow)) as m:
        m[at:at + n] = data
        if dice.random() < 0.3:
            m.flush()
    shadow[at:at + n] = data
    return at, n
def fallocate(mode, at, n):
    if libc.fallocate(f.fd, mode, at, n) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
def punch():
    at = place(); n = length(at)
    fallocate(PUNCH | KEEP, at, n)
    end = min(at + n, len(shadow))
    if end > at:
        shadow[at:end] = bytes(end - at)
    return at, n
def zero():
    at = place(); n = length(at); keep = dice.random() < 0.5
    fallocate(ZERO | (KEEP if keep else 0), at, n)
    if not keep:
        resize(max(len(shadow), at + n))
    end = min(at + n, len(shadow))
    if end > at:
        shadow[at:end] = bytes(end - at)
    return at, n, keep
def reserve():
    at = place(); n = length(at); keep = dice.random() < 0.5
    fallocate(KEEP if keep else 0, at, n)
    if not keep:
        resize(max(len(shadow), at + n))
    return at, n, keep
def copy():
    at, to = place(), place(); n = min(length(at), SIZE_MAX - to)
    if at < to + n and to < at + n:
        return ()
    done = os.copy_file_range(f.fd, f.fd, n, at, to)
    wanted = max(0, min(n, len(shadow) - at))
    if done > wanted or (wanted > 0 and done == 0):
        wrong(f'copy to {to} answered {done}', at, b'', shadow[at:at + wanted])
    if done > 0:
        data = bytes(shadow[at:at + done])
        resize(max(len(shadow), to + done))
        shadow[to:to + done] = data
    return at, to, n
def holes():
    """What SEEK_DATA and SEEK_HOLE call a hole reads as zeros, and the walk ends at the end of the file."""
    at = 0
    while at < len(shadow):
        try:
            data = os.lseek(f.fd, at, os.SEEK_DATA)
        except OSError:
            data = len(shadow)
        if any(shadow[at:data]):
            wrong(f'a hole up to {data}', at, bytes(data - at), shadow[at:data])
        if data >= len(shadow):
            break
        hole = os.lseek(f.fd, data, os.SEEK_HOLE)
        if not data < hole <= len(shadow):
            wrong(f'data at {data} ends at {hole}', at, b'', b'')
        at = hole
    return ()
def sync():
    os.fsync(f.fd)
    return ()
def close():
    f.again()
    return path,

KINDS = [(write, 12), (append, 3), (read, 10), (read_anew, 4), (truncate, 4), (map_read, 4), (map_write, 6), (punch, 4), (zero, 3), (reserve, 1), (copy, 5), (holes, 1), (sync, 1), (close, 2 if len(paths) == 1 else 12)]
todo = dice.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS], k=count)
for number, kind in enumerate(todo):
    log.append(f'{number} {kind.__name__}')
    log[-1] += f' {kind()}'
    del log[:-LOG]
    size = os.fstat(f.fd).st_size
    if size != len(shadow):
        wrong(f'size {size}', 0, b'', shadow)
    if number % WHOLE_EVERY == WHOLE_EVERY - 1:
        whole = open(path, 'rb').read()
        check('the whole file', 0, whole, shadow)
f.again()
check('the whole file', 0, open(path, 'rb').read(), shadow)
sys.stdout.buffer.write(shadow)
