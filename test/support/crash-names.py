"""Makes and removes names in a directory of its own and notes each before ("try") and after ("done", with the time).

Usage: crash-names.py DIRECTORY LOG SEED. Ends quietly with the first error: its mount has been killed.
"""

import json
import os
import random
import sys
import time

directory, log_path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
dice = random.Random(seed)
log = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def note(**entry):
    os.write(log, (json.dumps(entry) + '\n').encode())


files, directories = [], []
try:
    os.mkdir(directory)
    note(begun=time.time())
    for i in range(1_000_000):
        choice = dice.random()
        if choice < 0.25 and files:
            op, name = 'unlink', files.pop(dice.randrange(len(files)))
        elif choice < 0.3 and directories:
            op, name = 'rmdir', directories.pop()
        elif choice < 0.4:
            op, name = 'mkdir', f'd{i}'
            directories.append(name)
        else:
            op, name = 'create', f'f{i}'
            files.append(name)
        path = os.path.join(directory, name)
        note(op=op, name=name)
        if op == 'create':
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            if i % 2:
                os.write(fd, name.encode())
            os.close(fd)
        else:
            getattr(os, op)(path)
        note(done=time.time())
except OSError as error:
    note(error=error.errno)
