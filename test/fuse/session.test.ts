/*
 * The protocol server without a kernel: golden bytes of requests and replies, hostile requests, interrupts, and the
 * promises it makes about what the kernel may cache.
 */

import { describe, expect, test } from 'vitest'
import type { Attr } from '../../src/base/attr.ts'
import { FsError } from '../../src/base/fault.ts'
import { ino } from '../../src/base/ids.ts'
import type { Clock } from '../../src/base/world.ts'
import type { Caller } from '../../src/client/vfs.ts'
import { OPCODES } from '../../src/fuse/protocol.ts'
import { Conversation, initBody, request, words } from '../support/fuse-requests.ts'
import { MemoryVfs } from '../support/memory-vfs.ts'
import { realClock } from '../support/real-clock.ts'

const ENOENT = -2
const EINTR = -4
const EIO = -5
const EEXIST = -17
const EINVAL = -22
const ENOSYS = -38
const ENODATA = -61
const ESTALE = -116

/** A clock that stands still, so that times in replies are known. */
function stillClock(): Clock & { ms: number } {
  const clock = { ...realClock, ms: 0, now: () => ({ sec: 1_000_000_000, nsec: 7 }), monotonicMs: () => clock.ms }
  return clock
}

const createBody = (name: string, flags = 0o101, mode = 0o100644): Buffer => words(flags, mode, 0o022, 0, name)
const ioBody = (offset: bigint, size: number, flags = 0): Buffer => words(0n, offset, size, 0, 0n, flags, 0)

async function withFile(vfs = new MemoryVfs(stillClock())) {
  const talk = new Conversation(vfs, stillClock())
  await talk.ask('INIT', initBody())
  const created = await talk.ask('CREATE', createBody('f'))
  expect(created.error).toBe(0)
  return { talk, vfs, node: created.body.readBigUInt64LE(0) }
}

describe('golden bytes', () => {
  test('INIT is answered with the smaller version, our limits and only flags that were offered', async () => {
    const talk = new Conversation(new MemoryVfs(stillClock()), stillClock())
    const { body } = await talk.ask('INIT', initBody())
    expect(body.length).toBe(64)
    expect([body.readUInt32LE(0), body.readUInt32LE(4)]).toEqual([7, 45])
    expect([body.readUInt16LE(16), body.readUInt16LE(18), body.readUInt32LE(20)]).toEqual([64, 48, 1_048_576])
    expect([body.readUInt32LE(24), body.readUInt16LE(28)]).toEqual([1, 256])
    expect(body.readUInt32LE(12).toString(16)).toBe('70f4a47b')
    expect(body.readUInt32LE(32).toString(16)).toBe('88')

    const old = new Conversation(new MemoryVfs(stillClock()), stillClock())
    const answer = await old.ask('INIT', words(7, 31, 65536, 0x1 | 0x8))
    expect([answer.body.readUInt32LE(4), answer.body.readUInt32LE(8), answer.body.readUInt32LE(12)]).toEqual([
      31, 65536, 9,
    ])
  })

  test('INIT of a newer major asks for ours, and of a too old kernel is refused', async () => {
    const talk = new Conversation(new MemoryVfs(stillClock()), stillClock())
    const newer = await talk.ask('INIT', words(8, 0, 0, 0))
    expect([newer.error, newer.body.readUInt32LE(0)]).toEqual([0, 7])
    expect((await talk.ask('INIT', words(7, 12, 0, 0))).error).toBe(-71)
  })

  test('LOOKUP answers a whole entry, byte by byte', async () => {
    const { talk } = await withFile()
    const reply = await talk.ask('LOOKUP', words('f'))
    expect(reply.body.toString('hex').match(/.{16}/g)).toEqual([
      ...['0200000000000000', '0100000000000000', '0100000000000000', '0100000000000000', '0000000000000000'],
      ...['0200000000000000', '0000000000000000', '0000000000000000'],
      ...['00ca9a3b00000000', '00ca9a3b00000000', '00ca9a3b00000000'],
      ...['0700000007000000', '07000000a4810000', '0100000000000000', '0000000000000000', '0000020000000000'],
    ])
  })

  test('LOOKUP of "." finds the inode itself, file or directory, for file handles; ".." finds the parent', async () => {
    const { talk, node } = await withFile()
    expect((await talk.ask('LOOKUP', words('.'), { nodeid: node })).body.readBigUInt64LE(0)).toBe(node)
    const dir = (await talk.ask('MKDIR', words(0o755, 0, 'd'))).body.readBigUInt64LE(0)
    expect((await talk.ask('LOOKUP', words('.'), { nodeid: dir })).body.readBigUInt64LE(0)).toBe(dir)
    expect((await talk.ask('LOOKUP', words('..'), { nodeid: dir })).body.readBigUInt64LE(0)).toBe(1n)
    const gone = await talk.ask('LOOKUP', words('.'), { nodeid: 99n })
    expect([gone.error, gone.body.readBigUInt64LE(0)]).toEqual([0, 0n])
  })

  test('times before 1970 cross as signed numbers in both directions', async () => {
    const { talk, node } = await withFile()
    const valid = (1 << 4) | (1 << 5)
    const body = words(valid, 0, 0n, 0n, 0n, -2n, -1n, 0n, 5, 999_999_999, 0, 0, 0, 0, 0, 0)
    const reply = await talk.ask('SETATTR', body, { nodeid: node })
    expect([reply.body.readBigInt64LE(16 + 24), reply.body.readBigInt64LE(16 + 32)]).toEqual([-2n, -1n])
    expect([reply.body.readUInt32LE(16 + 48), reply.body.readUInt32LE(16 + 52)]).toEqual([5, 999_999_999])
  })

  test('a request sent again is answered under its own number, resend bit included', async () => {
    const { talk } = await withFile()
    const unique = (1n << 63n) | 1234n
    expect((await talk.ask('GETATTR', words(0, 0, 0n), { unique })).unique).toBe(unique)
  })

  test('READDIR pads its records and counts cookies from "." on', async () => {
    const { talk } = await withFile()
    const { body } = await talk.ask('READDIR', ioBody(0n, 4096))
    expect(body.length).toBe(3 * 32)
    expect([body.readBigUInt64LE(8), body.readBigUInt64LE(40), body.readBigUInt64LE(72)]).toEqual([1n, 2n, 3n])
    expect([body[24], body.readUInt16LE(56), body[88]]).toEqual([0x2e, 0x2e2e, 0x66])
    expect([body.readUInt32LE(20), body.readUInt32LE(84)]).toEqual([4, 8])
    expect((await talk.ask('READDIR', ioBody(3n, 4096))).body.length).toBe(0)
  })
})

describe('what the kernel may believe', () => {
  test('a missing name is node 0 for one second, not an error', async () => {
    const { talk } = await withFile()
    const reply = await talk.ask('LOOKUP', words('none'))
    expect([reply.error, reply.body.readBigUInt64LE(0), reply.body.readBigUInt64LE(16)]).toEqual([0, 0n, 1n])
  })

  test('CREATE of a name that was taken meanwhile makes the kernel look again, unless it must be new', async () => {
    const { talk } = await withFile()
    expect((await talk.ask('CREATE', createBody('f', 0o101))).error).toBe(ESTALE)
    expect((await talk.ask('CREATE', createBody('f', 0o301))).error).toBe(EEXIST)
  })

  test('pages are kept over an open only when the vfs says that nothing changed', async () => {
    class Changing extends MemoryVfs {
      changed = false
      override async open(...args: Parameters<MemoryVfs['open']>): ReturnType<MemoryVfs['open']> {
        return { ...(await super.open(...args)), changed: this.changed }
      }
    }
    const vfs = new Changing(stillClock())
    const { talk, node } = await withFile(vfs)
    expect((await talk.ask('OPEN', words(0, 0), { nodeid: node })).body.readUInt32LE(8)).toBe(2)
    vfs.changed = true
    expect((await talk.ask('OPEN', words(0, 0), { nodeid: node })).body.readUInt32LE(8)).toBe(0)
  })

  test('xattrs of a file known to have none are answered without asking, until the second is over or one is set', async () => {
    class Counting extends MemoryVfs {
      asked = 0
      override async getxattr(...args: Parameters<MemoryVfs['getxattr']>): Promise<Buffer> {
        this.asked++
        return super.getxattr(...args)
      }
    }
    const clock = stillClock()
    const vfs = new Counting(clock)
    const talk = new Conversation(vfs, clock)
    await talk.ask('INIT', initBody())
    const nodeid = (await talk.ask('CREATE', createBody('f'))).body.readBigUInt64LE(0)
    const get = () => talk.ask('GETXATTR', words(100, 0, 'security.capability'), { nodeid })
    expect([(await get()).error, vfs.asked]).toEqual([ENODATA, 0])
    clock.ms = 1001
    expect([(await get()).error, vfs.asked]).toEqual([ENODATA, 1])
    await talk.ask('GETATTR', words(0, 0, 0n), { nodeid })
    const value = Buffer.from('v')
    await talk.ask('SETXATTR', words(1, 0, 0, 0, 'security.capability', value), { nodeid })
    expect((await get()).body).toEqual(value)
  })

  test('the rest of a directory page is not used after a change through the door', async () => {
    const { talk, vfs } = await withFile()
    for (let i = 0; i < 40; i++) await talk.ask('CREATE', createBody(`n${i}`))
    const first = await talk.ask('READDIRPLUS', ioBody(0n, 1000))
    expect(first.body.length).toBeGreaterThan(0)
    const last = 5n
    const caller: Caller = { uid: 0, gid: 0, pid: 0, umask: 0, signal: new AbortController().signal }
    const { ino: child } = await vfs.lookup(ino(1), 'n4', caller)
    await talk.ask('SETATTR', words(1, 0, 0n, 0n, 0n, 0n, 0n, 0n, 0, 0, 0, 0o600, 0, 0, 0, 0), {
      nodeid: BigInt(child),
    })
    const next = await talk.ask('READDIRPLUS', ioBody(last, 4096))
    const at = next.body.indexOf('n4', 0, 'latin1') - 24 - 88
    expect(next.body.readUInt32LE(at + 60) & 0o777).toBe(0o600)
  })
})

describe('hostile requests', () => {
  test('bytes too few for a header are logged and nothing is sent', () => {
    const talk = new Conversation(new MemoryVfs(realClock), realClock)
    talk.raw(Buffer.alloc(39))
    expect(talk.replies).toEqual([])
    expect(talk.logged.join()).toContain('shorter than a header')
  })

  test('a length that lies is EINVAL, whichever way', async () => {
    const talk = new Conversation(new MemoryVfs(realClock), realClock)
    for (const len of [0, 16, 39, 41, 0xffffffff]) {
      expect((await talk.ask('GETATTR', words(0, 0, 0n).subarray(0, 0), { len })).error).toBe(EINVAL)
    }
  })

  test('every operation refuses every body shorter than its structure, and none crashes', async () => {
    const { talk } = await withFile()
    const mayBeEmpty = new Set([
      'GETATTR',
      'READLINK',
      'STATFS',
      'RELEASEDIR',
      'SYNCFS',
      'ACCESS',
      'IOCTL',
      'POLL',
      'BMAP',
    ])
    const silent = new Set(['FORGET', 'BATCH_FORGET', 'NOTIFY_REPLY', 'INTERRUPT'])
    for (const [name, opcode] of Object.entries(OPCODES)) {
      if (silent.has(name)) {
        talk.raw(request(opcode, Buffer.alloc(3)))
        continue
      }
      for (const length of [0, 1, 7]) {
        const { error } = await talk.ask(opcode, Buffer.alloc(length, 0x41))
        if (name === 'DESTROY' || name === 'STATFS' || mayBeEmpty.has(name)) continue
        expect([EINVAL, ENOSYS, -95, -116].includes(error), `${name} with ${length} bytes answered ${error}`).toBe(true)
      }
    }
    expect(talk.session.inHand).toBe(0)
  })

  test('sizes inside a request are held against what arrived', async () => {
    const { talk, node } = await withFile()
    const write = Buffer.concat([ioBody(0n, 1000), Buffer.from('short')])
    expect((await talk.ask('WRITE', write, { nodeid: node })).error).toBe(EINVAL)
    expect((await talk.ask('SETXATTR', words(500, 0, 0, 0, 'user.a', Buffer.from('x')), { nodeid: node })).error).toBe(
      EINVAL,
    )
    expect((await talk.ask('SETXATTR', words(1, 0, 0, 0, Buffer.from('user.a')), { nodeid: node })).error).toBe(EINVAL)
    expect((await talk.ask('LOOKUP', Buffer.from('no end'))).error).toBe(EINVAL)
    expect((await talk.ask('LOOKUP', words('n'.repeat(256)))).error).toBe(-36)
    expect((await talk.ask('READ', ioBody(-1n, 10), { nodeid: node })).error).toBe(-27)
    expect((await talk.ask('GETATTR', words(0, 0, 0n), { nodeid: 1n << 60n })).error).toBe(ESTALE)
    expect((await talk.ask(60_000)).error).toBe(ENOSYS)
  })

  test('random bytes get an answer each and never end the session', async () => {
    const seed = 20_251
    let state = seed
    const random = (n: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return state % n
    }
    const { talk } = await withFile()
    const silent = new Set<number>([OPCODES.FORGET, OPCODES.BATCH_FORGET, OPCODES.NOTIFY_REPLY, OPCODES.INTERRUPT])
    for (let i = 0; i < 3000; i++) {
      const body = Buffer.from(Array.from({ length: random(80) }, () => (random(3) === 0 ? random(256) : 0)))
      const opcode = random(60)
      // A lock may rightly wait for ever.
      if (opcode === OPCODES.SETLKW) continue
      const nodeid = BigInt(random(4))
      if (silent.has(opcode)) talk.raw(request(opcode, body, { nodeid }))
      else expect(typeof (await talk.ask(opcode, body, { nodeid })).error, `seed ${seed} step ${i}`).toBe('number')
    }
    expect((await talk.ask('STATFS')).error).toBe(0)
  })

  test('a failure without a name is EIO and is logged', async () => {
    class Broken extends MemoryVfs {
      override getattr(): Promise<Attr> {
        return Promise.reject(new TypeError('a bug'))
      }
    }
    const talk = new Conversation(new Broken(realClock), realClock)
    expect((await talk.ask('GETATTR', words(0, 0, 0n))).error).toBe(EIO)
    expect(talk.logged.join()).toContain('a bug')
  })
})

describe('interrupts', () => {
  test('a question is answered EINTR at once, though the vfs goes on', async () => {
    class Slow extends MemoryVfs {
      override lookup(): Promise<Attr> {
        return new Promise(() => {})
      }
    }
    const talk = new Conversation(new Slow(realClock), realClock)
    const asked = talk.start('LOOKUP', words('x'))
    talk.raw(request('INTERRUPT', words(asked.unique), { unique: asked.unique | 1n }))
    expect((await asked.reply).error).toBe(EINTR)
    expect(talk.replies).toHaveLength(1)
  })

  test('a change is asked to stop, and its own answer counts', async () => {
    let finish: (() => void) | undefined
    let aborted = false
    class Slow extends MemoryVfs {
      override unlink(_parent: number, _name: string, caller: Caller): Promise<void> {
        return new Promise((resolve, reject) => {
          finish = resolve
          caller.signal.addEventListener('abort', () => {
            aborted = true
            if (_name === 'stops') reject(caller.signal.reason)
          })
        })
      }
    }
    const talk = new Conversation(new Slow(realClock), realClock)
    const goesOn = talk.start('UNLINK', words('goes on'))
    talk.raw(request('INTERRUPT', words(goesOn.unique)))
    expect([aborted, talk.replies.length]).toEqual([true, 0])
    finish?.()
    expect((await goesOn.reply).error).toBe(0)
    const stops = talk.start('UNLINK', words('stops'))
    talk.raw(request('INTERRUPT', words(stops.unique)))
    expect((await stops.reply).error).toBe(EINTR)
  })

  test('an interrupt before anybody looks at the signal is not lost, and one too late is ignored', async () => {
    let seen: boolean | undefined
    class Late extends MemoryVfs {
      override async fsync(_node: number, caller: Caller): Promise<void> {
        await new Promise((resolve) => setTimeout(resolve, 5))
        seen = caller.signal.aborted
        throw new FsError('EINTR')
      }
    }
    const talk = new Conversation(new Late(realClock), realClock)
    const asked = talk.start('FSYNC', words(0n, 0, 0))
    talk.raw(request('INTERRUPT', words(asked.unique)))
    expect((await asked.reply).error).toBe(EINTR)
    expect(seen).toBe(true)
    talk.raw(request('INTERRUPT', words(asked.unique)))
    expect(talk.replies).toHaveLength(1)
  })

  test('waiting for a lock ends with the interrupt and leaves no lock behind', async () => {
    const { talk, node } = await withFile()
    const lock = (owner: bigint, type: number) => words(0n, owner, 0n, 0x7fffffffffffffffn, type, 1, 0, 0)
    expect((await talk.ask('SETLK', lock(1n, 1), { nodeid: node })).error).toBe(0)
    expect((await talk.ask('SETLK', lock(2n, 1), { nodeid: node })).error).toBe(-11)
    const waits = talk.start('SETLKW', lock(2n, 1), { nodeid: node })
    talk.raw(request('INTERRUPT', words(waits.unique)))
    expect((await waits.reply).error).toBe(EINTR)
    const told = await talk.ask('GETLK', lock(2n, 1), { nodeid: node })
    expect([told.body.readBigUInt64LE(8), told.body.readUInt32LE(16)]).toEqual([0x7fffffffffffffffn, 1])
    expect((await talk.ask('FLUSH', words(0n, 0, 0, 1n), { nodeid: node })).error).toBe(0)
    expect((await talk.ask('GETLK', lock(2n, 1), { nodeid: node })).body.readUInt32LE(16)).toBe(2)
  })
})

test('the operation log names operation, inode, arguments, result and time, and is silent when nobody asks', async () => {
  const lines: string[] = []
  const clock = stillClock()
  const talk = new Conversation(new MemoryVfs(clock), clock, { opLog: (line) => lines.push(line) })
  await talk.ask('LOOKUP', words('x'))
  await talk.ask('RMDIR', words('x'))
  await talk.ask('MKDIR', Buffer.alloc(1))
  expect(lines).toEqual(['LOOKUP 1 "x" ok 0', 'RMDIR 1 "x" ENOENT 0', 'MKDIR 1 (malformed) EINVAL 0'])
  talk.session.opLog = undefined
  expect((await talk.ask('RMDIR', words('x'))).error).toBe(ENOENT)
  expect(lines).toHaveLength(3)
})
