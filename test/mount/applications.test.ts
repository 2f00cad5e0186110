/*
 * Programs that people use, on a mount of a real cluster: what they do must succeed, and what they leave must be whole,
 * also for a mount that was started afterwards and knows nothing. A program that is not installed here is skipped, by name.
 */

import { execFile } from 'node:child_process'
import { access, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'

const run = promisify(execFile)
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))

async function need(context: TestContext, program: string): Promise<void> {
  try {
    await run('sh', ['-c', `command -v ${program}`])
  } catch {
    if (process.env.HOLDFAST_NO_SKIP) throw new Error(`${program} is not installed`)
    context.skip(`${program} is not installed`)
  }
}

describe.skipIf(!canMount())('programs on a mount', () => {
  let cluster: LocalCluster
  /** Real files on a local disk: our own sources and a package. */
  let tree: string
  beforeAll(async () => {
    cluster = await LocalCluster.start({ mounts: 1 })
    tree = await mkdtemp(join(tmpdir(), 'holdfast-tree-'))
    await cp(join(REPOSITORY, 'src'), join(tree, 'src'), { recursive: true })
    await cp(join(REPOSITORY, 'node_modules', 'fast-check'), join(tree, 'package'), {
      recursive: true,
      dereference: true,
    })
    await sh(
      tree,
      'ln -s src/base link; ln src/base/ids.ts hard; chmod 4711 hard; touch -d @1234567890.123456789 hard; mkfifo pipe',
    )
  })
  afterAll(async () => {
    try {
      await cluster?.stop()
    } finally {
      await rm(tree, { recursive: true, force: true })
    }
  })
  const sh = async (cwd: string, script: string): Promise<string> => {
    const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', HOME: tree, TREE: tree }
    const options = { cwd, env, timeout: 120_000, maxBuffer: 1 << 26 }
    try {
      return (await run('bash', ['-euo', 'pipefail', '-c', script], options)).stdout
    } catch (error) {
      const { stderr, stdout, message } = error as { stderr: string; stdout: string; message: string }
      throw new Error(`${message}\n${stdout}\n${stderr}`)
    }
  }
  const fresh = async (name: string): Promise<string> => {
    const path = join(cluster.path(), name)
    await mkdir(path)
    return path
  }
  /** Nothing cached in a client: what is read comes from the cluster. */
  const remount = async (): Promise<void> => {
    await cluster.end('mount-1')
    await cluster.startMount('mount-1')
  }

  test('cp -a and tar carry a tree there and back, with links, modes and times', async () => {
    const at = await fresh('copies')
    await sh(at, 'cp -a "$TREE" copied; tar -C "$TREE" --format=pax -cf - . | (mkdir untarred; tar -C untarred -xpf -)')
    await remount()
    const listed = (path: string): Promise<string> =>
      sh(path, "find . -printf '%P %y %m %U %G %n %l %T@\\n' | grep -v '^ d' | grep -v ' d ' | LC_ALL=C sort")
    for (const name of ['copied', 'untarred']) {
      expect(await listed(join(at, name))).toBe(await listed(tree))
      await sh(at, `diff -r --no-dereference -x pipe "$TREE" ${name}`)
    }
    await sh(at, 'rm -rf copied untarred')
  })

  test('rsync finds nothing to do after it has copied', async (context) => {
    await need(context, 'rsync')
    const at = await fresh('rsync')
    await sh(at, 'rsync -aHAX "$TREE"/ here/')
    await remount()
    expect(await sh(at, 'rsync -aHAXc --itemize-changes "$TREE"/ here/')).toBe('')
  })

  test('git clones, commits, repacks and finds nothing wrong', async (context) => {
    await need(context, 'git')
    const at = await fresh('git')
    const as = 'git -c user.name=a -c user.email=a@b -c safe.directory=*'
    await sh(
      at,
      `mkdir origin; cp -r "$TREE"/src "$TREE"/package origin; cd origin; git init -q; ${as} add -A; ${as} commit -qm one
       cd ..; ${as} clone -q --no-hardlinks origin clone; cd clone; echo more >> src/base/ids.ts; git mv src/wire src/moved
       ${as} commit -qam two; ${as} gc -q; ${as} push -q origin HEAD:two`,
    )
    await remount()
    expect(
      await sh(
        join(at, 'clone'),
        `${as} status --porcelain; ${as} fsck --full --strict 2>&1 | grep -v '^dangling' || true`,
      ),
    ).toBe('')
    expect(await sh(join(at, 'origin'), `${as} fsck --full; ${as} log --oneline two | wc -l`)).toMatch(/^2$/m)
  })

  for (const journal of ['DELETE', 'WAL'])
    test(`sqlite keeps its database whole with journal_mode=${journal} and two writers`, async () => {
      const at = await fresh(`sqlite-${journal}`)
      await writeFile(
        join(at, 'insert.py'),
        `
import sqlite3, sys
c = sqlite3.connect('base.db', timeout=60, isolation_level=None)
c.execute('pragma synchronous=full')
if sys.argv[1] == 'new':
    c.execute('pragma journal_mode=${journal}'); c.execute('create table t (who, n, data)'); sys.exit()
for n in range(60):
    c.execute('begin immediate'); c.execute('insert into t values (?, ?, ?)', (sys.argv[1], n, 'x' * (n * 50))); c.execute('commit')
`,
      )
      await sh(at, 'python3 insert.py new; python3 insert.py a & first=$!; python3 insert.py b; wait $first')
      await remount()
      const check =
        "import sqlite3; c = sqlite3.connect('base.db'); print(c.execute('pragma integrity_check').fetchall(), c.execute('select who, count(*), sum(n) from t group by who').fetchall())"
      expect(await sh(at, `python3 -c "${check}"`)).toBe("[('ok',)] [('a', 60, 1770), ('b', 60, 1770)]\n")
    })

  test('fio verifies what it wrote at random places', async (context) => {
    await need(context, 'fio')
    const at = await fresh('fio')
    const common = '--size=16m --ioengine=psync --verify=crc32c --verify_fatal=1 --minimal'
    await sh(at, `fio --name=random --rw=randwrite --bsrange=512-64k ${common} --fsync=64 --verify_backlog=100`)
    await sh(at, `fio --name=mapped --rw=randwrite --bs=4k ${common.replace('psync', 'mmap')}`)
    await sh(at, `fio --name=append --rw=write --bs=7k ${common} --numjobs=3`)
  })

  test('an editor saves by writing aside and renaming, and never loses the file', async () => {
    const at = await fresh('editor')
    await writeFile(
      join(at, 'save.py'),
      `
import os, stat
def save(name, text):
    mode = stat.S_IMODE(os.stat(name).st_mode) if os.path.exists(name) else 0o640
    if os.path.exists(name):
        if os.path.exists(name + '~'): os.unlink(name + '~')
        os.link(name, name + '~')
    fd = os.open('.' + name + '.swp', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, text.encode()); os.fchmod(fd, mode); os.fsync(fd); os.close(fd)
    os.rename('.' + name + '.swp', name)
for i in range(100):
    save('text', f'version {i}' * i)
    assert open('text').read() == f'version {i}' * i
    if i: assert open('text~').read() == f'version {i - 1}' * (i - 1)
assert stat.S_IMODE(os.stat('text').st_mode) == 0o640 and os.stat('text').st_nlink == 1
assert sorted(os.listdir('.')) == ['save.py', 'text', 'text~']
`,
    )
    await sh(at, 'python3 save.py')
  })

  test('memory-mapped files are shared between processes and written back', async () => {
    const at = await fresh('mmap')
    const write = `
import mmap, os
f = open('mapped', 'w+b'); f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 1 << 20)
for i in range(0, 1 << 20, 4096): m[i:i+4] = i.to_bytes(4, 'little')
pid = os.fork()
if pid == 0:
    m[5:9] = b'kid!'; os._exit(0)
os.waitpid(pid, 0); assert m[5:9] == b'kid!'
m.flush(); m.close(); f.close()
`
    await writeFile(join(at, 'write.py'), write)
    await sh(at, 'python3 write.py')
    await remount()
    const read =
      "d = open('mapped', 'rb').read(); assert len(d) == 1 << 20 and d[5:9] == b'kid!' and all(d[i:i+4] == i.to_bytes(4, 'little') for i in range(4096, 1 << 20, 4096))"
    await sh(at, `python3 -c "${read}"`)
  })

  test('npm installs a project, the TypeScript compiler builds it, and it runs', async () => {
    const at = await fresh('npm')
    await mkdir(join(at, 'dep'))
    await mkdir(join(at, 'app/src'), { recursive: true })
    await writeFile(join(at, 'dep/package.json'), '{"name": "dep", "version": "1.0.0", "main": "index.js"}')
    await writeFile(join(at, 'dep/index.js'), 'exports.word = "from the package"')
    await writeFile(join(at, 'dep/index.d.ts'), 'export const word: string')
    await writeFile(
      join(at, 'app/package.json'),
      '{"name": "app", "version": "1.0.0", "private": true, "dependencies": {"dep": "file:../dep-1.0.0.tgz"}}',
    )
    for (let i = 0; i < 50; i++)
      await writeFile(
        join(at, `app/src/part${i}.ts`),
        i === 0
          ? 'export const n0: number = 0'
          : `import { n${i - 1} } from './part${i - 1}'
export const n${i}: number = n${i - 1} + 1`,
      )
    await writeFile(
      join(at, 'app/src/main.ts'),
      "import { word } from 'dep'\nimport { n49 } from './part49'\nconsole.log(word, n49)",
    )
    const npm = 'npm --offline --no-audit --no-fund --ignore-scripts --loglevel=error'
    await sh(
      at,
      `cd dep; ${npm} pack --pack-destination .. ; cd ../app; ${npm} install; rm -rf node_modules; ${npm} ci`,
    )
    const tsc = join(REPOSITORY, 'node_modules', 'typescript', 'bin', 'tsc')
    await access(tsc)
    await sh(
      join(at, 'app'),
      `node ${tsc} --outDir out --rootDir src --module commonjs --target es2022 --types '' src/main.ts`,
    )
    await remount()
    expect(await sh(join(at, 'app'), 'node out/main.js')).toBe('from the package 49\n')
  })
})
