/*
 * A mount without its master, as the kernel and programs see it: a file that is open is read on, and whoever waits in a system
 * call can be killed, also in write, close and fsync. What they wrote is stored when the master is back.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'
import { realClock } from '../support/real-clock.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024
const SIZE = 3 * MiB
/** Opens its file, says so, waits for a line, does one thing, and says what came of it. */
const PROGRAM = `
import hashlib, os, sys
what, path = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
print('open', flush=True)
sys.stdin.readline()
if what == 'read':
    digest = hashlib.sha256()
    at = 0
    while data := os.pread(fd, 65536, at):
        digest.update(data)
        at += len(data)
    print(digest.hexdigest(), os.fstat(fd).st_size, flush=True)
elif what == 'close':
    os.pwrite(fd, b'written', 0)
    os.close(fd)
elif what == 'fsync':
    os.pwrite(fd, b'written', 0)
    os.fsync(fd)
elif what == 'write':
    for i in range(64):
        os.pwrite(fd, bytes(1 << 20), i << 20)
elif what == 'stat':
    os.stat(path + '.other')
print('done', flush=True)
`
const WAITING = ['close', 'fsync', 'write', 'stat'] as const

class Program {
  readonly child: ChildProcess
  readonly gone: Promise<unknown>
  readonly #lines: AsyncIterator<string>

  constructor(what: string, path: string) {
    this.child = spawn('python3', ['-c', PROGRAM, what, path], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.gone = once(this.child, 'exit')
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]()
  }
  async line(): Promise<string> {
    return (await this.#lines.next()).value
  }
  go(): void {
    this.child.stdin!.write('\n')
  }
  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }
}

describe.skipIf(!canMount())('a mount whose master is away', () => {
  let cluster: LocalCluster | undefined
  const programs: Program[] = []
  afterEach(async () => {
    cluster?.signal('master', 'SIGCONT')
    for (const program of programs.splice(0)) if (program.running) program.child.kill('SIGKILL')
    await cluster?.stop()
  })

  test('is read on where a file is open, and lets go of who is killed', async () => {
    const settings = { onDisconnect: 'wait', writeBufferBytes: 8 * MiB } as const
    cluster = await LocalCluster.start({ chunkservers: 2, mounts: 2, mount: settings })
    const it = cluster
    const path = (name: string, mount = 0): string => `${it.path(mount)}/${name}`
    const start = async (what: string): Promise<Program> => {
      await run('sh', ['-ec', `head -c ${SIZE} /dev/urandom > '${path(what, 1)}'`])
      const program = new Program(what, path(what))
      programs.push(program)
      expect(await program.line()).toBe('open')
      return program
    }
    const reader = await start('read')
    const wanted = (await run('sha256sum', [path('read', 1)])).stdout.slice(0, 64)
    const waiting = await Promise.all(WAITING.map(start))
    it.signal('master', 'SIGSTOP')
    const until = realClock.monotonicMs() + 60_000
    while (!(await it.log('mount-1')).includes('lost the master')) {
      expect(realClock.monotonicMs(), await it.log('mount-1')).toBeLessThan(until)
      await realClock.sleep(200)
    }
    for (const program of [reader, ...waiting]) program.go()
    expect(await reader.line()).toBe(`${wanted} ${SIZE}`)
    await realClock.sleep(1_000)
    expect(waiting.map(({ running }) => running)).toEqual(WAITING.map(() => true))
    for (const { child } of waiting) child.kill('SIGTERM')
    await Promise.all(waiting.map(({ gone }) => gone))
    it.signal('master', 'SIGCONT')
    for (const name of ['close', 'fsync'])
      for (let said = ''; said !== 'written'; ) {
        expect(realClock.monotonicMs()).toBeLessThan(until + 60_000)
        said = (await run('head', ['-c', '7', path(name, 1)], { encoding: 'latin1' })).stdout
        await realClock.sleep(200)
      }
  }, 180_000)
})
