"""A program that keeps its promises checkable: it writes files, fsyncs, and only then notes in a log outside the filesystem
what must be found later. Run as crash-writer.py DIRECTORY LOG SEED. Errors that a killed mount makes (ENOTCONN, EIO, ...) are
waited out; anything else ends it with a message. A line of the log is JSON: {"file", "size", "sha1"} for a file whose whole
content is known, {"gone": file} for one that was deleted and whose deletion was fsynced, {"try": file} before it is changed
again: from then on both what was and what is being written may be found."""
import errno, hashlib, json, os, random, sys, time

directory, log_path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
dice = random.Random(seed)
log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
WAIT_OUT = {errno.ENOTCONN, errno.EIO, errno.ECONNABORTED, errno.ENOENT, errno.ENODEV, errno.ESTALE, errno.EBADF, errno.EINTR}

def note(**what):
    os.write(log, (json.dumps(what) + '\n').encode())

def sync_dir():
    fd = os.open(directory, os.O_RDONLY)
    try: os.fsync(fd)
    finally: os.close(fd)

def put(name, data, flags):
    fd = os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT | flags, 0o644)
    try:
        done = 0
        while done < len(data): done += os.pwrite(fd, data[done:done + 131072], done)
        os.fsync(fd)
    finally: os.close(fd)

def step(n):
    name = f'w{seed}-{dice.randrange(40)}'
    data = dice.randbytes(dice.choice([1, 100, 4096, 5000, 70_000, 300_000]))
    digest = dict(size=len(data), sha1=hashlib.sha1(data).hexdigest())
    kind = dice.randrange(10)
    note(**{'try': name})
    if kind < 6:
        put(name, data, os.O_TRUNC)
    elif kind < 8:
        put(name + '.new', data, os.O_TRUNC)
        os.rename(os.path.join(directory, name + '.new'), os.path.join(directory, name))
        sync_dir()
    else:
        try: os.unlink(os.path.join(directory, name))
        except FileNotFoundError: pass
        sync_dir()
        note(gone=name)
        return
    note(file=name, **digest)

n = 0
while True:
    try:
        step(n)
        n += 1
    except OSError as e:
        if e.errno not in WAIT_OUT: raise
        time.sleep(0.05)
