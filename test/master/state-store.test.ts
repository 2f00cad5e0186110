/*
 * Both stores against the suite, and what only the one on disk must do: survive killed processes and power cuts, refuse
 * cleanly when the disk is full, be copied while in use.
 */

import { spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { LmdbStore } from '../../src/master/lmdb-store.ts'
import { MemoryStore } from '../../src/master/memory-store.ts'
import { RedoLog } from '../../src/master/redo-log.ts'
import { describeStateStore } from '../conformance/state-store.ts'
import { chance } from './core/support.ts'

const temporary = () => mkdtempSync(join(tmpdir(), 'holdfast-store-'))

describeStateStore({
  name: 'memory',
  make: () => {
    const store = new MemoryStore()
    return { store, end: () => store.close() }
  },
})
for (const takeOverBytes of [1, 5_000, undefined])
  describeStateStore({
    name: `LMDB that takes over at ${takeOverBytes ?? 'the usual'} bytes`,
    make: () => {
      const path = temporary()
      const store = LmdbStore.open(path, takeOverBytes === undefined ? {} : { takeOverBytes })
      return {
        store,
        end: async () => {
          await store.close()
          rmSync(path, { recursive: true, force: true })
        },
      }
    },
  })

describe('the store on disk', () => {
  let path: string
  beforeEach(() => {
    path = temporary()
  })
  afterEach(() => rmSync(path, { recursive: true, force: true }))

  const text = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString())
  const put = (store: LmdbStore, key: string, value: string) =>
    store.transaction(() => store.put(key, Buffer.from(value)))
  const logs = (dir = path) =>
    readdirSync(dir)
      .filter((name) => name.startsWith('redo-'))
      .sort()
      .map((name) => join(dir, name))

  it('is for its owner only: the keys of tokens for the mesh are in it', async () => {
    for (const mode of [undefined, 0o755]) {
      const own = join(path, `of-${mode}`)
      if (mode !== undefined) mkdirSync(own, { mode })
      const store = LmdbStore.open(own)
      await store.backup(join(path, `copy-of-${mode}`))
      await store.close()
      expect(['', 'copy-'].map((what) => statSync(join(path, `${what}of-${mode}`)).mode & 0o777)).toEqual([
        0o700, 0o700,
      ])
    }
  })

  it('finds everything again after it was closed, with nothing left in the log', async () => {
    const store = LmdbStore.open(path)
    put(store, 'xa', '1')
    await store.close()
    const again = LmdbStore.open(path)
    expect(text(again.get('xa'))).toBe('1')
    put(again, 'xa', '2')
    await again.close()
    const third = LmdbStore.open(path, { readOnly: true })
    expect(text(third.get('xa'))).toBe('2')
    await third.close()
  })

  it('opens at the last whole transaction when the log is torn at any byte', async () => {
    const store = LmdbStore.open(path)
    for (let i = 0; i < 5; i++)
      store.transaction(() => {
        store.put('xa', Buffer.from(`${i}`))
        store.put('ib', Buffer.from(`${i}`))
      })
    await store.flushed()
    const copy = temporary()
    try {
      const record = 16 + 2 * (6 + 2 + 1)
      for (let cut = 0; cut <= 5 * record; cut += 3) {
        rmSync(copy, { recursive: true, force: true })
        cpSync(path, copy, { recursive: true })
        truncateSync(logs(copy).at(-1)!, cut)
        const again = LmdbStore.open(copy)
        const whole = Math.floor(cut / record)
        expect(text(again.get('xa'))).toBe(whole === 0 ? undefined : `${whole - 1}`)
        expect(text(again.get('ib'))).toBe(text(again.get('xa')))
        // What is written after the tear is found as well.
        put(again, 'xc', 'later')
        await again.flushed()
        await again.close()
        const third = LmdbStore.open(copy)
        expect(text(third.get('xc'))).toBe('later')
        await third.close()
      }
    } finally {
      rmSync(copy, { recursive: true, force: true })
      await store.close()
    }
  })

  it('ignores garbage after the last record', async () => {
    const store = LmdbStore.open(path)
    put(store, 'xa', '1')
    await store.flushed()
    const copy = temporary()
    cpSync(path, copy, { recursive: true })
    await store.close()
    appendFileSync(logs(copy).at(-1)!, Buffer.alloc(100, 0x55))
    const again = LmdbStore.open(copy)
    expect(text(again.get('xa'))).toBe('1')
    await again.close()
    rmSync(copy, { recursive: true, force: true })
  })

  it('grows beyond the map it began with, under readers, and opens with a small one again', async () => {
    const MAP = 1 << 20
    const [rounds, keys] = [12, 1_000]
    const open = (readOnly = false) => LmdbStore.open(path, { mapBytes: MAP, takeOverBytes: 400_000, readOnly })
    const value = (round: number, i: number) => Buffer.alloc(1_000, `${round}.${i} `)
    const key = (round: number, i: number) => `${'xie'[i % 3]}${String(i).padStart(5, '0')}.${round}`
    const store = open()
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < keys; i += 100)
        store.transaction(() => {
          for (let j = i; j < i + 100; j++) store.put(key(round, j), value(round, j))
        })
      await store.flushed()
      // Reads from what LMDB holds, from older maps as well.
      for (let old = 0; old <= round; old++)
        expect(Buffer.from(store.get(key(old, (round * 37) % keys))!)).toEqual(value(old, (round * 37) % keys))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await store.close()
    expect(store.sizeBytes()).toBeGreaterThan(10 * MAP)
    for (const readOnly of [false, true]) {
      const again = open(readOnly)
      let seen = 0
      for (let round = 0; round < rounds; round++)
        for (let i = 0; i < keys; i++)
          if (Buffer.compare(again.get(key(round, i)) ?? Buffer.alloc(0), value(round, i)) === 0) seen++
      expect(seen).toBe(rounds * keys)
      let scanned = 0
      again.scan({ from: 'a', to: 'z' }, () => ++scanned > 0)
      expect(scanned).toBe(rounds * keys)
      await again.close()
    }
  })

  it('is copied while in use, consistent and complete', async () => {
    const store = LmdbStore.open(path, { takeOverBytes: 1000 })
    for (let i = 0; i < 500; i++) put(store, `x${i}`, 'v'.repeat(100))
    const copy = join(path, 'copy')
    await store.backup(copy)
    put(store, 'xlater', '1')
    const again = LmdbStore.open(copy)
    let count = 0
    again.scan({ from: 'x', to: 'y' }, () => {
      count += 1
      return true
    })
    expect(count).toBe(500)
    await again.close()
    await store.close()
  })

  it('loses nothing that was committed when the process is killed at any moment', async () => {
    const child = fileURLToPath(new URL('../support/store-child.ts', import.meta.url))
    for (let round = 0; round < 4; round++) {
      const last = await acknowledgedUntilKilled(child, path, 150 + round * 60)
      const store = LmdbStore.open(path)
      const found = Number(text(store.get('xcount')) ?? 0)
      expect(last, 'the child has said something').toBeGreaterThan(0)
      expect(found).toBeGreaterThanOrEqual(last)
      // Each transaction wrote the count twice and one row: all of it or nothing.
      expect(Number(text(store.get('icount')) ?? 0)).toBe(found)
      let rows = 0
      store.scan({ from: 'e', to: 'f' }, () => {
        rows += 1
        return true
      })
      expect(rows).toBe(found)
      await store.close()
    }
  }, 60_000)

  it('is whole in a copy torn at any moment while LMDB takes over, as after a power cut', async () => {
    const seed = Date.now() % 1_000_000
    const below = chance(seed)
    const store = LmdbStore.open(path, { takeOverBytes: 30_000 })
    const model = new Map<string, string>()
    const copy = temporary()
    // LMDB tells a power cut from a killed process by the id of the boot; this makes it assume the worst.
    const before = process.env.LMDB_RESTORE
    process.env.LMDB_RESTORE = 'safe'
    try {
      for (let round = 0; round < 25; round++) {
        for (let n = 0; n < 60; n++) {
          store.transaction(() => {
            for (let i = 0; i < 5; i++) {
              const key = `${'xie'[below(3)]}${below(3000)}`
              const value = `${round}-${n}-${'v'.repeat(below(200))}`
              store.put(key, Buffer.from(value))
              model.set(key, value)
            }
          })
          if (below(10) === 0) await new Promise((resolve) => setImmediate(resolve))
        }
        if (below(2) === 0) await new Promise((resolve) => setTimeout(resolve, below(4)))
        rmSync(copy, { recursive: true, force: true })
        mkdirSync(copy)
        for (const name of readdirSync(path)) if (!name.endsWith('-lock')) cpSync(join(path, name), join(copy, name))
        const again = LmdbStore.open(copy)
        const rows: string[] = []
        again.scan({ from: 'a', to: 'z' }, (key, value) => {
          rows.push(`${key}=${text(value)}`)
          return true
        })
        await again.close()
        const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`)
        expect(rows, `seed ${seed}, round ${round}`).toEqual(expected)
      }
    } finally {
      if (before === undefined) delete process.env.LMDB_RESTORE
      else process.env.LMDB_RESTORE = before
      await store.close()
      rmSync(copy, { recursive: true, force: true })
    }
  }, 60_000)

  it('makes no further log files while LMDB cannot take over', async () => {
    const log = new RedoLog(path, [], 1)
    log.append([['xa', Buffer.from('1')]])
    const kept = log.rotate()
    for (let i = 0; i < 10; i++) expect(log.rotate()).toBe(kept)
    expect(logs()).toHaveLength(2)
    log.append([['xb', Buffer.from('2')]])
    expect(log.rotate()).toBe(kept + 1)
    log.drop(kept + 1)
    expect(logs()).toHaveLength(1)
    log.close()
    // What an earlier process left is never written to.
    const again = new RedoLog(path, [kept + 1], 3)
    expect(logs()).toHaveLength(2)
    again.close()
  })

  it('is done for when a flush fails, and says what to do', async () => {
    const store = LmdbStore.open(path)
    const sync = vi.spyOn(RedoLog.prototype, 'sync')
    try {
      put(store, 'x', 'v')
      sync.mockRejectedValueOnce(Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' }))
      await expect(store.flushed()).rejects.toThrow(/restart the master/)
      // A disk that lost what it was given once may say yes the next time; that must not be believed.
      await expect(store.flushed()).rejects.toMatchObject({ code: 'EIO' })
      expect(() => put(store, 'x', 'w')).toThrow(/restart the master/)
      await expect(store.close()).rejects.toThrow(/restart the master/)
    } finally {
      sync.mockRestore()
    }
    const again = LmdbStore.open(path)
    expect(again.get('x')?.toString()).toBe('v')
    await again.close()
  })

  const isRoot = process.getuid?.() === 0
  const small = isRoot && spawnSync('mount', ['--version']).status === 0
  it.skipIf(!small)('refuses on a full disk, keeps what was there, and goes on when there is room', async () => {
    mkdirSync(join(path, 'small'))
    const disk = join(path, 'small')
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk]).status !== 0) return
    try {
      const store = LmdbStore.open(disk, { takeOverBytes: 100_000 })
      put(store, 'xfirst', 'kept')
      await store.flushed()
      writeFileSync(join(disk, 'ballast'), Buffer.alloc(600_000))
      let made = 0
      let refusal: unknown
      while (refusal === undefined && made < 1000) {
        try {
          put(store, `x${made}`, 'v'.repeat(8000))
          made += 1
        } catch (error) {
          refusal = error
        }
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      expect(refusal).toBeInstanceOf(FsError)
      expect((refusal as FsError).code).toBe('ENOSPC')
      expect(text(store.get('xfirst'))).toBe('kept')
      expect(store.get(`x${made}`)).toBeUndefined()
      for (let i = 0; i < made; i++) expect(store.get(`x${i}`)).toHaveLength(8000)
      rmSync(join(disk, 'ballast'))
      const until = Date.now() + 5000
      for (;;) {
        try {
          put(store, 'xlater', 'fits')
          break
        } catch (error) {
          if (Date.now() > until) throw error
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
      await store.close()
      const again = LmdbStore.open(disk)
      expect(text(again.get('xlater'))).toBe('fits')
      for (let i = 0; i < made; i++) expect(again.get(`x${i}`)).toHaveLength(8000)
      await again.close()
    } finally {
      spawnSync('umount', ['-l', disk])
    }
  })
})

/** The highest count that the child said was committed before it was killed. */
async function acknowledgedUntilKilled(script: string, path: string, afterMs: number): Promise<number> {
  const said = `${path}.said`
  const fd = openSync(said, 'w')
  const child = spawn(process.execPath, ['--import', 'tsx', script, path], { stdio: ['ignore', fd, 'inherit'] })
  closeSync(fd)
  const closed = new Promise((resolve) => child.on('close', resolve))
  try {
    while (readFileSync(said).length === 0 && child.exitCode === null) await sleep(10)
    await sleep(afterMs)
    child.kill('SIGKILL')
    await closed
    const text = readFileSync(said, 'latin1')
    const whole = text.slice(0, text.lastIndexOf('\n'))
    return Number(whole.slice(whole.lastIndexOf('\n') + 1))
  } finally {
    child.kill('SIGKILL')
    rmSync(said, { force: true })
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
