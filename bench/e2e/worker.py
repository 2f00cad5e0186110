"""
The client side of a line, as a program: real processes with tight system-call loops, so that what is measured is the
filesystem (a loop in Node would cost more than a create on ext4). Needs Python 3 from the standard library only. Prints one
JSON object: seconds from the moment all writers stand ready until the last has finished, and how much was done.
"""

import json
import os
import random
import sys
import time


def crew(jobs, work):
    """Forks `jobs` processes, lets them go at once, returns the seconds until the last ends."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    children = []
    for number in range(jobs):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go_write)
                os.write(ready_write, b"r")
                os.read(go_read, 1)
                work(number)
                code = 0
            except BaseException as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(code)
        children.append(pid)
    os.close(go_read)
    waiting = jobs
    while waiting:
        waiting -= len(os.read(ready_read, waiting))
    start = time.monotonic()
    os.close(go_write)
    failed = 0
    for pid in children:
        failed += os.waitpid(pid, 0)[1] != 0
    seconds = time.monotonic() - start
    if failed:
        sys.exit(f"{failed} of {jobs} writers failed")
    return seconds


def noise(size, seed=1):
    """Bytes that neither compress nor repeat within themselves; the same on every run."""
    return random.Random(seed).randbytes(size)


def write(path, size):
    block = 1 << 20
    # Eight different megabytes in turn: no two neighbouring blocks are alike, and making them is not timed.
    blocks = [noise(block, n) for n in range(8)]
    start = time.monotonic()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    done = 0
    while done < size:
        done += os.write(file, blocks[(done // block) % 8])
    os.fsync(file)
    os.close(file)
    return {"seconds": time.monotonic() - start, "count": done}


def read(path):
    buffer = bytearray(1 << 20)
    start = time.monotonic()
    file = os.open(path, os.O_RDONLY)
    done = 0
    while True:
        got = os.readv(file, [buffer])
        if got == 0:
            break
        done += got
    os.close(file)
    return {"seconds": time.monotonic() - start, "count": done}


def randread(path, jobs, runtime):
    """Each job reads the blocks of its own slice in a random order, none twice, until the time is up."""
    share = os.stat(path).st_size // 4096 // jobs
    orders = []
    for number in range(jobs):
        order = list(range(number * share, (number + 1) * share))
        random.Random(number).shuffle(order)
        orders.append(order)
    counts = os.pipe()

    def work(number):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        end = time.monotonic() + runtime
        done = 0
        for block in orders[number]:
            if len(os.pread(file, 4096, block * 4096)) != 4096:
                raise OSError("short read")
            done += 1
            if time.monotonic() >= end:
                break
        os.write(counts[1], done.to_bytes(8, "big"))

    seconds = crew(jobs, work)
    total = sum(int.from_bytes(os.read(counts[0], 8), "big") for _ in range(jobs))
    return {"seconds": seconds, "count": total}


def create(path, files, writers, fsync, size, per_directory):
    data = noise(size)
    share = [files // writers + (n < files % writers) for n in range(writers)]

    def work(number):
        for n in range(share[number]):
            if n % per_directory == 0:
                directory = f"{path}/w{number}-{n // per_directory}"
                os.mkdir(directory)
            file = os.open(f"{directory}/f{n}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            if size:
                os.write(file, data)
            if fsync:
                os.fsync(file)
            os.close(file)

    os.makedirs(path, exist_ok=True)
    return {"seconds": crew(writers, work), "count": files}


def readtree(path):
    buffer = bytearray(1 << 20)
    start = time.monotonic()
    count = 0
    stack = [path]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    file = os.open(entry.path, os.O_RDONLY)
                    while os.readv(file, [buffer]):
                        pass
                    os.close(file)
                    count += 1
    return {"seconds": time.monotonic() - start, "count": count}


def sqlite(path, inserts, journal):
    import sqlite3

    database = sqlite3.connect(path, isolation_level=None)
    mode = database.execute(f"PRAGMA journal_mode={journal}").fetchone()[0]
    if mode.lower() != journal.lower():
        sys.exit(f"SQLite refused journal_mode={journal} and uses {mode}")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, at REAL, text TEXT)")
    start = time.monotonic()
    for n in range(inserts):
        database.execute("INSERT INTO line (at, text) VALUES (?, ?)", (n / 7, f"the line with number {n}"))
    seconds = time.monotonic() - start
    database.close()
    return {"seconds": seconds, "count": inserts}


def main(command, *words):
    if command == "write":
        return write(words[0], int(words[1]))
    if command == "read":
        return read(words[0])
    if command == "randread":
        return randread(words[0], int(words[1]), float(words[2]))
    if command == "create":
        return create(words[0], int(words[1]), int(words[2]), words[3] == "fsync", int(words[4]), int(words[5]))
    if command == "readtree":
        return readtree(words[0])
    if command == "sqlite":
        return sqlite(words[0], int(words[1]), words[2])
    sys.exit(f"unknown command {command}")


print(json.dumps(main(*sys.argv[1:])))
