/*
 * What breaks under a cluster of real processes, and what a program may see of it: full disks, damaged and cut chunk
 * files, a power cut under the metadata, garbage on the ports, peers that hang or do not read.
 */

import { execFile } from 'node:child_process'
import { cp, mkdtemp, open, readFile, rename, rmdir, truncate } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { errnoOf } from '../../src/base/fault.ts'
import { type Ino, ROOT_INO } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import type { Transport } from '../../src/base/world.ts'
import { blockOf, DATA_OFFSET } from '../../src/chunk/core/chunk-format.ts'
import { hostNet } from '../../src/host/net.ts'
import { connectLink } from '../../src/wire/connect.ts'
import { PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { pattern } from '../conformance/vfs-data.ts'
import { callerOf, Probe, refused, same } from '../conformance/vfs-probe.ts'
import { LocalCluster, type LocalClusterOptions, sizeOf } from '../support/local-cluster.ts'
import { seededRandom } from '../support/memory-cluster.ts'
import { quietLog } from '../support/quiet-log.ts'
import { realClock } from '../support/real-clock.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024
const root = process.getuid?.() === 0
/** Deleted bytes come back at once. */
const PROMPT = { trashRetentionMs: 0, deadGraceMs: 0 } as const

describe('faults', () => {
  let cluster: LocalCluster | undefined
  const small: string[] = []
  afterEach(async () => {
    try {
      await cluster?.stop()
    } finally {
      cluster = undefined
      for (const path of small.splice(0)) {
        await run('umount', ['-l', path])
        await rmdir(path)
      }
    }
  })
  const start = async (options: LocalClusterOptions = {}): Promise<LocalCluster> => {
    cluster = await LocalCluster.start({ ...options, master: { ...PROMPT, ...options.master } })
    return cluster
  }
  /** A filesystem of its own with a limit. */
  const smallDisk = async (megabytes: number): Promise<string> => {
    const path = await mkdtemp(join(tmpdir(), 'holdfast-small-'))
    await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'holdfast-test', path])
    small.push(path)
    return path
  }
  const probe = async (of: LocalCluster): Promise<Probe> => Probe.fresh(await of.client(), 'faults')
  /** What a new client, which has nothing cached, reads. */
  const coldRead = async (of: LocalCluster, ino: Ino, length: number): Promise<Buffer> => {
    const vfs = await of.client()
    const caller = callerOf()
    await vfs.open(ino, { write: false, truncate: false }, caller)
    const pieces: Buffer[] = []
    for (let at = 0; at < length; at += MiB)
      pieces.push(...(await vfs.read(ino, at, Math.min(MiB, length - at), caller)))
    vfs.release(ino)
    return Buffer.concat(pieces)
  }
  const durable = async (p: Probe, name: string, data: Buffer): Promise<Ino> => {
    const ino = await p.create(name)
    for (let at = 0; at < data.length; at += MiB) await p.write(ino, at, Buffer.from(data.subarray(at, at + MiB)))
    await p.vfs.fsync(ino, p.caller)
    await p.close(ino)
    return ino
  }
  /** A disk with room again is written to a few seconds later. */
  const durableSoon = async (p: Probe, name: string, data: Buffer): Promise<Ino> => {
    const deadline = realClock.monotonicMs() + 30_000
    for (let i = 0; ; i++) {
      try {
        return await durable(p, `${name}${i}`, data)
      } catch (error) {
        if (errnoOf(error) !== 'ENOSPC' || realClock.monotonicMs() > deadline) throw error
        await realClock.sleep(200)
      }
    }
  }
  const errorsOf = async (of: LocalCluster, deep = true): Promise<string[]> =>
    (await of.check(deep)).findings.map((finding) => finding.what)

  test.skipIf(!root)(
    'full chunk disks answer ENOSPC, lose nothing and take data again when there is room',
    async () => {
      const disks = [await smallDisk(96), await smallDisk(96)]
      const it = await start({ chunkservers: 2, diskOf: (i) => `${disks[i]} -4MiB` })
      const p = await probe(it)
      const kept: { name: string; ino: Ino; data: Buffer }[] = []
      let refusal: string | undefined
      for (let i = 0; i < 100 && refusal === undefined; i++) {
        const data = pattern(4 * MiB, i)
        try {
          kept.push({ name: `f${i}`, ino: await durable(p, `f${i}`, data), data })
        } catch (error) {
          refusal = errnoOf(error)
        }
      }
      expect(refusal).toBe('ENOSPC')
      expect(kept.length).toBeGreaterThan(5)
      for (const { ino, data } of kept) same(await coldRead(it, ino, data.length), data)
      expect((await it.status()).chunks.lost).toBe(0)
      // All that lies in the oldest chunk, and nothing else: a chunk that died whole is room without anything rewritten.
      const chunksOf = async (name: string): Promise<string[]> => {
        const path = `/${await nameOf(p)}/${name}`
        return (await it.ask((admin) => admin.call('fileInfo', { path }))).extents.map(({ chunk }) => chunk)
      }
      const oldest = (await chunksOf(kept[0]!.name))[0]!
      const gone = new Set<string>()
      for (const { name } of kept) if ((await chunksOf(name)).includes(oldest)) gone.add(name)
      const left = kept.filter(({ name }) => !gone.has(name))
      expect(left.length).toBeGreaterThan(2)
      for (const name of gone) await p.unlink(name)
      await it.until('there is room again', ({ availableBytes }) => availableBytes > 8 * MiB)
      const late = pattern(2 * MiB, 1000)
      same(await coldRead(it, await durableSoon(p, 'late', late), late.length), late)
      for (const { ino, data } of left) same(await coldRead(it, ino, data.length), data)
      expect(await errorsOf(it)).toEqual([])
      for (const name of it.chunkservers) expect(it.pid(name)).toBeDefined()
    },
  )

  test('full chunk disks give room back when every other file goes, although no chunk died whole', async () => {
    const it = await start({ chunkservers: 2, diskOf: (_, own) => own.replace(/ .*/, ' 96MiB') })
    const p = await probe(it)
    const kept: { name: string; ino: Ino; data: Buffer }[] = []
    const refusals = new Set<string | undefined>()
    for (let i = 0; i < 1_000 && refusals.size === 0; i += 16)
      await Promise.all(
        Array.from({ length: 16 }, async (_, j) => {
          const name = `f${i + j}`
          const data = pattern(250_000, i + j)
          try {
            kept.push({ name, ino: await durable(p, name, data), data })
          } catch (error) {
            refusals.add(errnoOf(error))
          }
        }),
      )
    expect([...refusals]).toEqual(['ENOSPC'])
    expect(kept.length).toBeGreaterThan(200)
    const { reservedBytes } = await it.until('the disks say that they are full', (s) => s.availableBytes === 0)
    // What is kept aside is not written to by clients, nor promised to them.
    expect(reservedBytes).toBeGreaterThan(2 * 10 * MiB)
    expect((await p.vfs.statfs(ROOT_INO, p.caller)).availableBytes).toBe(0)
    kept.sort((a, b) => a.ino - b.ino)
    for (const [i, { name }] of kept.entries()) if (i % 2 === 0) await p.unlink(name)
    const left = kept.filter((_, i) => i % 2 === 1)
    await it.until('there is room again', ({ availableBytes }) => availableBytes > 2 * 18 * MiB)
    for (const { ino, data } of left) same(await coldRead(it, ino, data.length), data)
    const late = pattern(16 * MiB, 1000)
    same(await coldRead(it, await durableSoon(p, 'late', late), late.length), late)
    // What was written while only one disk had room has its second copy by now, or gets it.
    await it.until('every chunk has its copies', ({ chunks }) => chunks.lost === 0 && chunks.endangered === 0)
    expect(await errorsOf(it)).toEqual([])
  })

  test.skipIf(!root)('one full disk among others with room is not noticed', async () => {
    const disk = await smallDisk(24)
    const it = await start({ diskOf: (i, own) => (i === 0 ? `${disk} -1MiB` : own) })
    const p = await probe(it)
    for (let i = 0; i < 12; i++) {
      const data = pattern(8 * MiB, i)
      const ino = await durable(p, `f${i}`, data)
      if (i % 4 === 3) same(await coldRead(it, ino, data.length), data)
    }
    expect((await it.status()).chunks).toMatchObject({ lost: 0 })
  })
  test.skipIf(!root)(
    'a full metadata disk answers ENOSPC, still reads, and goes on with room after a restart',
    async () => {
      const disk = await smallDisk(12)
      const it = await start({ masterDataDir: join(disk, 'master') })
      const p = await probe(it)
      const first = await durable(p, 'first', pattern(100_000, 1))
      const made: string[] = []
      let refusal: string | undefined
      for (let i = 0; i < 3000 && refusal === undefined; i++) {
        const names = Array.from({ length: 50 }, (_, j) => `${'long name '.repeat(20)} ${i} ${j}`)
        const outcomes = await Promise.allSettled(names.map((name) => p.mkdir(name)))
        for (const [j, outcome] of outcomes.entries()) {
          if (outcome.status === 'fulfilled') made.push(names[j]!)
          else refusal = errnoOf(outcome.reason)
        }
      }
      expect(refusal).toBe('ENOSPC')
      expect(made.length).toBeGreaterThan(100)
      expect((await p.attr(first)).size).toBe(100_000)
      await run('mount', ['-o', 'remount,size=200m', disk])
      await it.kill('master')
      await it.startMaster()
      const names = new Set(await p.names())
      // Creation was answered when it was committed; what a killed process had committed stays.
      expect(made.filter((name) => !names.has(name))).toEqual([])
      same(await coldRead(it, first, 100_000), pattern(100_000, 1))
      await p.mkdir('room again')
      expect(await errorsOf(it)).toEqual([])
    },
  )

  /** Damages each copy in turn, and makes readers look at it; the other copy answers, and the damage is mended. */
  const damageEachCopy = async (it: LocalCluster, damage: (file: string) => Promise<void>): Promise<void> => {
    const writer = await it.client()
    const data = pattern(3 * MiB, 7)
    const ino = await durable(await Probe.fresh(writer, 'damage'), 'f', data)
    // The end of its session seals the chunk.
    await writer.close()
    await it.until(
      'the chunk is sealed and safe',
      ({ chunks }) => chunks.open === 0 && chunks.safe > 0 && chunks.under === 0,
    )
    const holders: number[] = []
    for (const [i] of it.chunkservers.entries()) if ((await it.chunkFiles(i)).length > 0) holders.push(i)
    expect(holders).toHaveLength(2)
    for (const [turn, holder] of holders.entries()) {
      const other = it.chunkservers[holders[1 - turn]!]!
      const before = new Map<string, Buffer>()
      for (const file of await it.chunkFiles(holder)) {
        before.set(file, await readFile(file))
        await damage(file)
      }
      // While the other copy is away only the damaged one can be asked; its bytes must not be believed.
      await it.kill(other)
      const reading = coldRead(it, ino, data.length)
      reading.catch(() => undefined)
      await realClock.sleep(500)
      await it.startChunkserver(other)
      same(await reading, data)
      // Whole again where it was, or made anew elsewhere: without anybody asking for a check.
      await vi.waitFor(
        async () => {
          for (const [file, whole] of before) {
            const now = await readFile(file).catch(missing)
            if (now !== undefined) expect(now.equals(whole)).toBe(true)
          }
        },
        { timeout: 60_000, interval: 200 },
      )
      await it.until('two copies', ({ chunks }) => chunks.under === 0 && chunks.lost === 0 && chunks.endangered === 0)
      expect(await errorsOf(it)).toEqual([])
      same(await coldRead(it, ino, data.length), data)
    }
  }

  test('a flipped bit is never read: the other copy answers, and the damage is mended', async () => {
    const it = await start()
    const flip = async (path: string): Promise<void> => {
      const at = Math.floor((await sizeOf(path)) / 2)
      await flipAt(path, at)
    }
    await damageEachCopy(it, flip)
  })

  test('a cut chunk file is never read: the other copy answers, and the damage is mended', async () => {
    const it = await start()
    const cut = async (path: string): Promise<void> => truncate(path, Math.floor((await sizeOf(path)) / 2))
    await damageEachCopy(it, cut)
  })

  test('where both copies are damaged the answer is EIO, never other bytes, and the rest still reads', async () => {
    const it = await start()
    const p = await probe(it)
    const data = pattern(3 * MiB, 9)
    const ino = await durable(p, 'f', data)
    // Blocks of chunks, by the number of copies in which they are damaged.
    const damaged = new Map<string, number>()
    for (const [i] of it.chunkservers.entries())
      for (const file of await it.chunkFiles(i)) {
        const at = Math.floor((await sizeOf(file)) / 2)
        await flipAt(file, at)
        const block = `${basename(file).slice(0, 16)}:${blockOf(at - DATA_OFFSET)}`
        damaged.set(block, (damaged.get(block) ?? 0) + 1)
      }
    const { extents } = await it.ask(async (admin) => admin.call('fileInfo', { path: `/${await nameOf(p)}/f` }))
    const unreadable = (from: number, to: number): boolean =>
      extents.some(({ offset, length, chunk, chunkOffset }) => {
        const start = Math.max(from, offset) - offset + chunkOffset
        const end = Math.min(to, offset + length) - offset + chunkOffset
        for (let block = blockOf(start); start < end && block <= blockOf(end - 1); block++)
          if (damaged.get(`${chunk}:${block}`) === 2) return true
        return false
      })
    const vfs = await it.client({ onDisconnectMs: 500 })
    const cold = p.through(vfs)
    await cold.open(ino)
    const wanted: number[] = []
    const failed: number[] = []
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      if (unreadable(at, at + BLOCK_BYTES)) wanted.push(at)
      try {
        same(await cold.read(ino, at, BLOCK_BYTES), data.subarray(at, at + BLOCK_BYTES))
      } catch (error) {
        if (errnoOf(error) === undefined) throw error
        expect(errnoOf(error)).toBe('EIO')
        failed.push(at)
      }
    }
    vfs.release(ino)
    expect(wanted.length).toBeGreaterThan(0)
    expect(failed).toEqual(wanted)
    expect((await errorsOf(it)).length).toBeGreaterThan(0)
  })

  test('garbage on the ports costs the connection that sent it and nothing else', async () => {
    const it = await start()
    const p = await probe(it)
    const dice = seededRandom(5)
    const noise = Buffer.from(Array.from({ length: 5000 }, () => dice.below(256)))
    const huge = Buffer.alloc(64)
    huge.writeUInt32LE(0xffff_ffff, 0)
    const zeros = Buffer.alloc(100_000)
    const before = new Map(['master', ...it.chunkservers].map((name) => [name, it.pid(name)]))
    const closed = async (port: number, bytes: Buffer): Promise<void> => {
      const socket = connect({ host: '127.0.0.1', port })
      socket.on('error', () => undefined)
      const end = new Promise<boolean>((done) => {
        socket.on('close', () => done(true))
        socket.setTimeout(20_000, () => done(false))
      })
      socket.on('data', () => undefined)
      socket.write(bytes)
      expect(await end).toBe(true)
    }
    for (const port of [it.masterPort, it.chunkserverPort(0)])
      for (const bytes of [noise, huge, zeros, noise.subarray(0, 3)]) {
        if (bytes.length === 3) {
          // Too few to judge: it may stay open for a while, and must not keep anything from working.
          connect({ host: '127.0.0.1', port })
            .on('error', () => undefined)
            .end(bytes)
        } else await closed(port, bytes)
        expect(await p.get(await p.put(`f${dice.below(1e9)}`, 'works'))).toBe('works')
      }
    for (const [name, pid] of before) expect(it.pid(name)).toBe(pid)
  })

  test('a client that does not read its answers does not fill the chunkserver or hold up others', async () => {
    const it = await start()
    const p = await probe(it)
    const data = pattern(4 * MiB, 3)
    const ino = await durable(p, 'f', data)
    const path = `/${await nameOf(p)}/f`
    const { chunks } = await it.ask((admin) => admin.call('fileInfo', { path }))
    const copy = chunks[0]!.copies[0]!
    const index = it.chunkservers.indexOf(copy.nodeName)
    let transport: Transport | undefined
    const slow = await connectLink(
      { ...hostNet, connect: async (...args) => (transport = await hostNet.connect(...args)) },
      '127.0.0.1',
      it.chunkserverPort(index),
      {
        hello: { version: PROTOCOL_VERSION, cluster: 'test-cluster', role: 'mount', name: 'slow' },
        handlers: {},
        clock: realClock,
        log: quietLog,
      },
    )
    transport!.pause()
    const request = { disk: copy.disk, chunk: Number.parseInt(chunks[0]!.chunk, 16), offset: 0, length: 2 * MiB }
    const answers = Array.from({ length: 500 }, () =>
      slow.call('read', request as never, { timeoutMs: 8_000 }).catch((error: unknown) => errnoOf(error)),
    )
    await realClock.sleep(2_000)
    same(await coldRead(it, ino, data.length), data)
    const status = await readFile(`/proc/${it.pid(copy.nodeName)}/status`, 'utf8')
    // A gigabyte was asked for.
    expect(Number(/VmRSS:\s+(\d+)/.exec(status)![1])).toBeLessThan(400_000)
    slow.close()
    await Promise.all(answers)
  })
  const nameOf = async (p: Probe): Promise<string> =>
    (await p.list(1 as Ino)).find((entry) => entry.ino === p.dir)!.name

  test('a chunkserver that hangs for a while stops nobody for long and loses nothing', async () => {
    const it = await start()
    const p = await probe(it)
    const before = await durable(p, 'before', pattern(2 * MiB, 1))
    it.signal('chunkserver-2', 'SIGSTOP')
    const during = await durable(p, 'during', pattern(2 * MiB, 2))
    same(await coldRead(it, before, 2 * MiB), pattern(2 * MiB, 1))
    it.signal('chunkserver-2', 'SIGCONT')
    same(await coldRead(it, during, 2 * MiB), pattern(2 * MiB, 2))
    await it.until('every chunk is safe', ({ chunks }) => chunks.lost === 0 && chunks.under === 0)
    expect(await errorsOf(it)).toEqual([])
  })

  test('while the master hangs operations wait, and go on when it does', async () => {
    const it = await start()
    const p = await probe(it)
    const file = await p.create('f')
    await p.write(file, 0, 'before')
    it.signal('master', 'SIGSTOP')
    const waiting = [p.vfs.fsync(file, p.caller), p.mkdir('d'), p.put('g', 'content')]
    await realClock.sleep(4_000)
    it.signal('master', 'SIGCONT')
    await Promise.all(waiting)
    await p.close(file)
    expect(await p.names()).toEqual(['d', 'f', 'g'])
    expect(await p.get(file)).toBe('before')
  })

  test('a power cut under all copies takes what was not fsynced, and says which files; the rest is read', async () => {
    const it = await start({ chunkservers: 2, master: { sessionTimeoutMs: 2_000 } })
    const p = await probe(it)
    const [kept, late] = [pattern(MiB, 1), pattern(MiB, 2)]
    const ino = await durable(p, 'half', kept)
    await p.vfs.open(ino, { write: true, truncate: false }, p.caller)
    await p.write(ino, MiB, late)
    await p.close(ino)
    // The writer dies with the machines, so nobody has the lost bytes any more; each disk keeps another part of them.
    const held = await Promise.all([it.chunkFiles(0), it.chunkFiles(1)])
    for (const name of it.chunkservers) await it.kill(name)
    for (const [i, files] of held.entries())
      for (const file of files) await truncate(file, (await sizeOf(file)) - (i + 1) * 200_000)
    await p.vfs.close()
    await it.until('the sessions are over', ({ sessions }) => sessions.length === 0)
    for (const name of it.chunkservers) await it.startChunkserver(name)
    const { chunks } = await it.until('the loss is known', ({ chunks }) => chunks.lost > 0)
    expect(chunks).toMatchObject({ lost: 1, open: 0, lostBytes: MiB })
    same(await coldRead(it, ino, MiB), kept)
    const reader = await it.client()
    await reader.open(ino, { write: false, truncate: false }, p.caller)
    for (const at of [MiB, MiB + 500_000, 2 * MiB - 4096]) await refused(reader.read(ino, at, 4096, p.caller), 'EIO')
    reader.release(ino)
    expect((await errorsOf(it)).filter((what) => /1048576 bytes are lost, of ".*\/half"/.test(what))).toHaveLength(1)
    const again = await probe(it)
    await again.vfs.setattr(ino, { size: MiB }, again.caller)
    await it.until('nothing is missed any more', ({ chunks: { lost, lostBytes } }) => lost + lostBytes === 0)
    expect(await errorsOf(it)).toEqual([])
    same(await coldRead(it, ino, MiB), kept)
  })

  test('after a power cut under the metadata everything fsynced before it is there', async () => {
    const it = await start()
    const p = await probe(it)
    const kept = [0, 1, 2, 3].map((i) => ({ name: `kept ${i}`, data: pattern(50_000 + i, i) }))
    for (const { name, data } of kept) await durable(p, name, data)
    // What the disk holds at this moment, while the master goes on.
    it.signal('master', 'SIGSTOP')
    const saved = join(it.dir, 'saved')
    await cp(it.masterDir, saved, { recursive: true })
    it.signal('master', 'SIGCONT')
    await p.unlink('kept 0')
    await durable(p, 'after the cut', pattern(70_000, 9))
    await it.kill('master')
    await rename(it.masterDir, join(it.dir, 'lost'))
    await rename(saved, it.masterDir)
    await it.startMaster()
    const late = p.through(await it.client())
    for (const { name, data } of kept) {
      const { ino } = await late.lookup(name)
      same(await coldRead(it, ino, data.length), data)
    }
    await refused(late.lookup('after the cut'), 'ENOENT')
    expect(await errorsOf(it)).toEqual([])
    await durable(late, 'and on', pattern(10_000, 4))
  })
})

function missing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error
}

async function flipAt(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0]! ^= 0x10
    await file.write(byte, 0, 1, at)
  } finally {
    await file.close()
  }
}
