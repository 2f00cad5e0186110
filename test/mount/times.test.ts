/*
 * Times as programs see them who remember them (git's index, make, backups): what a file showed when it was written is
 * what it shows for ever after, also to a mount that was started later and knows only what the master has stored.
 */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'

const run = promisify(execFile)

/** Prints what fstat showed before the close and lstat right after it, for each way of making a file. */
const WRITE = `
import json, os, time
shown = {}
def times(s): return [s.st_mtime_ns, s.st_ctime_ns]
def make(name, change):
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(fd, b'some bytes'); change(fd); before = times(os.fstat(fd)); os.close(fd)
    shown[name] = [before, times(os.lstat(name))]
for i in range(20):
    make(f'written {i}', lambda fd: None)
make('chmod', lambda fd: os.fchmod(fd, 0o600))
make('utimes', lambda fd: os.utime(fd, ns=(5, 6)))
make('fsync', os.fsync)
make('large', lambda fd: os.write(fd, bytes(3 << 20)))
make('written again', lambda fd: (os.fsync(fd), time.sleep(0.02), os.write(fd, b'more')))
os.mkdir('dir'); open('dir/a', 'w').close(); shown['dir'] = [times(os.lstat('dir'))] * 2
print(json.dumps(shown))`
const LOOK = `
import json, os
print(json.dumps({name: [os.lstat(name).st_mtime_ns, os.lstat(name).st_ctime_ns] for name in os.listdir('.')}))`

describe.skipIf(!canMount())('times of files', () => {
  let cluster: LocalCluster
  beforeAll(async () => {
    cluster = await LocalCluster.start({ mounts: 1 })
  })
  afterAll(() => cluster?.stop())
  const python = async (script: string): Promise<string> =>
    (await run('python3', ['-c', script], { cwd: cluster.path(), timeout: 60_000 })).stdout
  // Nanoseconds since 1970 do not fit into a number, so they stay text.
  const parse = (json: string) => JSON.parse(json.replaceAll(/\b(\d+)\b(?=[,\]])/g, '"$1"'))

  test('are the same before the close, after the commit and after a new mount', async () => {
    const shown: Record<string, [string[], string[]]> = parse(await python(WRITE))
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    const committed: Record<string, string[]> = parse(await python(LOOK))
    await cluster.end('mount-1')
    await cluster.startMount('mount-1')
    const stored: Record<string, string[]> = parse(await python(LOOK))
    for (const [name, [before, after]] of Object.entries(shown)) {
      expect({ name, after, committed: committed[name], stored: stored[name] }).toEqual({
        name,
        after: before,
        committed: before,
        stored: before,
      })
    }
    expect(Object.keys(shown)).toHaveLength(26)
  })
})
