/*
 * A mount that is cut off from its master and not from its chunkservers: what it goes on with, what waits and how long, who
 * can be interrupted, and that others do not notice.
 */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { errnoOf } from '../../src/base/fault.ts'
import type { Ino } from '../../src/base/ids.ts'
import type { Filesystem, FilesystemOptions } from '../../src/client/filesystem.ts'
import { Probe, refused, same } from '../conformance/vfs-probe.ts'
import { MASTER_PORT, MemoryCluster } from '../support/memory-cluster.ts'
import { realClock } from '../support/real-clock.ts'

const MiB = 1024 * 1024
/** What waits for a master that is there has been answered by then. */
const A_WHILE_MS = 400

describe('a mount that is cut off from its master', () => {
  let cluster: MemoryCluster
  let clients = 0
  beforeEach(async () => {
    cluster = await MemoryCluster.start({ chunkservers: 2, sessionTimeoutMs: 2_000 })
    clients = 0
  })
  afterEach(async () => {
    for (let i = 0; i < clients; i++) cluster.branch(i).cutOff()
    await cluster.stop()
  })
  const client = async (
    over: Partial<FilesystemOptions> = {},
  ): Promise<{ vfs: Filesystem; cut(is: boolean): void }> => {
    const at = clients++
    const vfs = await cluster.client({ onDisconnect: 'wait', ...over })
    return { vfs, cut: (is) => cluster.branch(at).cutOff(is ? MASTER_PORT : undefined) }
  }
  const waits = async (work: Promise<unknown>): Promise<void> => {
    const first = await Promise.race([work.then(() => 'answered', errnoOf), realClock.sleep(A_WHILE_MS)])
    expect(first).toBeUndefined()
  }
  const openedBy = async (vfs: Filesystem, probe: Probe, ino: Ino): Promise<Probe> => {
    const reader = probe.through(vfs)
    await vfs.open(ino, { write: false, truncate: false }, reader.caller)
    return reader
  }

  it('goes on reading what is open, with its attributes, and sees afterwards what became of it', async () => {
    const [one, two] = [await client(), await client()]
    const here = await Probe.fresh(one.vfs, 'open')
    const bytes = Buffer.alloc(3 * MiB, 7)
    const [small, large] = [await here.put('small', 'as it was'), await here.put('large', bytes)]
    const there = await openedBy(two.vfs, here, small)
    await openedBy(two.vfs, here, large)
    two.cut(true)
    expect(await there.text(small)).toBe('as it was')
    for (let at = 0; at < bytes.length; at += MiB) same(await there.read(large, at, MiB), bytes.subarray(at, at + MiB))
    expect((await there.attr(small)).size).toBe(9)
    // As the kernel asks before it lets anybody write.
    await refused(two.vfs.getxattr(small, 'security.capability', there.caller), 'ENODATA')
    await here.open(small)
    await here.write(small, 0, 'as it is, and longer')
    await here.close(small)
    expect(await there.text(small)).toBe('as it was')
    two.cut(false)
    await realClock.sleep(A_WHILE_MS)
    expect(await there.text(small)).toBe('as it is, and longer')
    expect((await there.attr(small)).size).toBe(20)
    await there.close(small)
    await there.close(large)
  })

  it('does not show what it had been told is different by now', async () => {
    const [one, two] = [await client(), await client()]
    const here = await Probe.fresh(one.vfs, 'changed')
    const file = await here.put('f', 'before')
    const there = await openedBy(two.vfs, here, file)
    expect(await there.text(file)).toBe('before')
    await here.open(file)
    await here.write(file, 0, 'after!')
    await here.close(file)
    // Any answer of the master's comes behind the news.
    await there.lookup('f')
    two.cut(true)
    const read = there.text(file)
    await waits(read)
    two.cut(false)
    expect(await read).toBe('after!')
    await there.close(file)
  })

  it('waits with names, opens and attributes of what is not open; with `error` they fail in time', async () => {
    const [one, two, three] = [
      await client(),
      await client({ onDisconnect: 'wait', onDisconnectMs: 100 }),
      await client({ onDisconnect: 'error', onDisconnectMs: 100 }),
    ]
    const here = await Probe.fresh(one.vfs, 'names')
    const file = await here.put('f', 'x')
    const [there, impatient] = [here.through(two.vfs), here.through(three.vfs)]
    expect(await there.names()).toEqual(['f'])
    expect(await impatient.names()).toEqual(['f'])
    two.cut(true)
    three.cut(true)
    const asked = [there.lookup('f'), there.names(), there.attr(file), there.open(file), there.mkdir('d')]
    await Promise.all(asked.map(waits))
    const failing = [impatient.lookup('f'), impatient.names(), impatient.open(file), impatient.mkdir('e')]
    await Promise.all(failing.map((one) => refused(one, 'EIO')))
    // Nobody else waits for them.
    await here.put('g', 'y')
    expect(await here.names()).toEqual(['f', 'g'])
    two.cut(false)
    await Promise.all(asked)
    await vi.waitFor(async () => expect(await here.names()).toEqual(['d', 'f', 'g']), 10_000)
    await there.close(file)
  })

  it('takes writes to what is open until the buffer is full, and stores them when the master is back', async () => {
    const [one, two] = [await client(), await client({ dirtyBytes: 8 * MiB })]
    const here = await Probe.fresh(one.vfs, 'writes')
    const there = here.through(two.vfs)
    const file = await there.create('f')
    await there.write(file, 0, Buffer.alloc(MiB, 1))
    await two.vfs.fsync(file, there.caller)
    two.cut(true)
    let at = 1
    for (; at < 8; at++) await there.write(file, at * MiB, Buffer.alloc(MiB, at + 1))
    same(await there.read(file, 7 * MiB, MiB), Buffer.alloc(MiB, 8))
    const more = (async (): Promise<void> => {
      for (; at < 12; at++) await there.write(file, at * MiB, Buffer.alloc(MiB, at + 1))
    })()
    await waits(more)
    two.cut(false)
    await more
    await there.close(file)
    await here.open(file)
    for (let i = 0; i < 12; i++) same(await here.read(file, i * MiB, MiB), Buffer.alloc(MiB, i + 1))
    await here.close(file)
  })

  it('lets go of who is interrupted, in write, close and rename too, and stores what they wrote', async () => {
    const [one, two] = [await client(), await client({ dirtyBytes: 8 * MiB })]
    const here = await Probe.fresh(one.vfs, 'interrupted')
    const there = here.through(two.vfs)
    const file = await there.create('f')
    const full = await there.create('full')
    await there.write(file, 0, 'first')
    await two.vfs.fsync(file, there.caller)
    two.cut(true)
    await there.write(file, 5, ' and second')
    for (let at = 0; at < 8; at++) await there.write(full, at * MiB, Buffer.alloc(MiB, at + 1))
    const stop = new AbortController()
    const interrupted = there.as({ signal: stop.signal })
    const work = [
      interrupted.write(full, 0, Buffer.alloc(MiB, 99)),
      two.vfs.flush(file, interrupted.caller),
      two.vfs.fsync(file, interrupted.caller),
      interrupted.rename('f', 'g'),
      interrupted.mkdir('d'),
    ]
    await Promise.all(work.map(waits))
    stop.abort()
    await Promise.all(work.map((one) => refused(one, 'EINTR')))
    two.cut(false)
    await there.close(file)
    await there.close(full)
    expect(await here.get(file)).toBe('first and second')
    await here.open(full)
    for (let at = 0; at < 8; at++) same(await here.read(full, at * MiB, MiB), Buffer.alloc(MiB, at + 1))
    await here.close(full)
  })

  it('while all servers are there an interrupted close is answered as if nothing had happened', async () => {
    const { vfs } = await client()
    const probe = await Probe.fresh(vfs, 'signals')
    const busy = probe.as({ signal: AbortSignal.abort() })
    const file = await busy.create('f')
    await busy.write(file, 0, 'written')
    await vfs.fsync(file, busy.caller)
    await busy.write(file, 7, ' too')
    await busy.close(file)
    expect(await probe.get(file)).toBe('written too')
  })

  it('reads a copy that comes back before the master does', async () => {
    const [one, two] = [await client(), await client({ cacheBytes: MiB })]
    const here = await Probe.fresh(one.vfs, 'copies')
    const bytes = Buffer.alloc(3 * MiB, 5)
    const file = await here.put('f', bytes)
    const there = await openedBy(two.vfs, here, file)
    two.cut(true)
    await cluster.chunkserver(0).kill()
    await cluster.chunkserver(1).kill()
    const read = there.read(file, MiB, MiB)
    await waits(read)
    await cluster.chunkserver(1).start()
    same(await read, bytes.subarray(MiB, 2 * MiB))
    await cluster.chunkserver(0).start()
    await there.close(file)
  })

  it('loses nothing that was written when it is away for longer than its session', async () => {
    const [one, two] = [await client(), await client()]
    const here = await Probe.fresh(one.vfs, 'expired')
    const there = here.through(two.vfs)
    const [file, other] = [await there.create('f'), await there.create('g')]
    await two.vfs.fsync(file, there.caller)
    // The request for a first chunk is on its way and is never answered.
    cluster.branch(1).hang({ there: true, back: true, port: MASTER_PORT })
    await there.write(file, 0, Buffer.alloc(MiB, 1))
    await there.write(other, 0, 'small')
    const closes = [two.vfs.flush(file, there.caller), two.vfs.flush(other, there.caller)]
    await realClock.sleep(A_WHILE_MS)
    two.cut(true)
    cluster.branch(1).hang({ there: false, back: false })
    await cluster.until('the session is over', ({ sessions }) => sessions.length === 1)
    two.cut(false)
    await Promise.all(closes)
    same(await here.read(file, 0, MiB), Buffer.alloc(MiB, 1))
    expect(await here.get(other)).toBe('small')
    two.vfs.release(file)
    two.vfs.release(other)
  })

  it('stores what waits for its commit while the session ends, on open chunks and on one whose copy was lost meanwhile', async () => {
    const [one, two] = [await client(), await client({ dirtyBytes: 8 * MiB })]
    const here = await Probe.fresh(one.vfs, 'uncommitted')
    const there = here.through(two.vfs)
    const [file, other] = [await there.create('f'), await there.create('g')]
    await there.write(file, 0, Buffer.alloc(MiB, 1))
    await there.write(other, 0, 'first')
    await two.vfs.fsync(file, there.caller)
    await two.vfs.fsync(other, there.caller)
    two.cut(true)
    // Ends the chunks that are open, whose seals wait then.
    await cluster.chunkserver(1).kill()
    for (let at = 1; at < 8; at++) await there.write(file, at * MiB, Buffer.alloc(MiB, at + 1))
    await there.write(other, 5, ' and second')
    const closes = [two.vfs.flush(file, there.caller), two.vfs.fsync(other, there.caller)]
    await cluster.until('the session is over', ({ sessions }) => sessions.length === 1)
    await realClock.sleep(2_000)
    await cluster.chunkserver(1).start()
    two.cut(false)
    await Promise.all(closes)
    for (let i = 0; i < 8; i++) same(await here.read(file, i * MiB, MiB), Buffer.alloc(MiB, i + 1))
    expect(await here.get(other)).toBe('first and second')
    two.vfs.release(file)
    two.vfs.release(other)
    expect(await cluster.findings()).toEqual([])
  })

  it('keeps what it has open, also what is deleted after a new session has begun', async () => {
    const [one, two] = [await client(), await client()]
    const here = await Probe.fresh(one.vfs, 'kept')
    const file = await here.put('f', 'still read')
    const there = await openedBy(two.vfs, here, file)
    two.cut(true)
    await cluster.until('the session is over', ({ sessions }) => sessions.length === 1)
    two.cut(false)
    await vi.waitFor(async () => expect((await there.lookup('f')).ino).toBe(file), 10_000)
    await here.unlink('f')
    await cluster.until('it is kept for who has it open', ({ sustained }) => sustained === 1)
    expect(await there.text(file)).toBe('still read')
    await there.close(file)
    await cluster.until('it is gone', ({ sustained }) => sustained === 0)
  })

  it('ends in bounded time, with an error when something could not be stored', async () => {
    const { vfs, cut } = await client({ onDisconnectMs: 300 })
    const probe = await Probe.fresh(vfs, 'end')
    const file = await probe.create('f')
    await probe.write(file, 0, 'never stored')
    cut(true)
    const close = probe.close(file)
    close.catch(() => undefined)
    await refused(vfs.close(), 'EIO')
    expect(errnoOf(await close.catch((error: unknown) => error))).toBe('EIO')
  })
})
