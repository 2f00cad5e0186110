import { describe, expect, it } from 'vitest'
import { pack, unpack } from '../../src/wire/codec.ts'
import { encodeFrame, type Frame, FrameSplitter } from '../../src/wire/frame.ts'
import { callNames, calls } from '../../src/wire/protocol.ts'
import { chunkPlaces, diskState } from '../../src/wire/shapes.ts'
import fc from '../support/properties.ts'

const dice = (seed: number) => {
  let state = seed >>> 0
  return (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

describe('the call table', () => {
  it('has no id twice', () => {
    const ids = callNames.map((name) => calls[name].id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it.each(callNames)('carries %s requests and replies unchanged through msgpack', (name) => {
    const seed = Date.now() & 0xffff
    const below = dice(seed)
    for (let i = 0; i < 50; i++) {
      for (const schema of [calls[name].request, calls[name].reply] as const) {
        const value = (schema as { sample(b: typeof below): unknown }).sample(below)
        expect(unpack(schema as never, pack(schema as never, value as never), `${name} seed ${seed}`)).toEqual(value)
      }
    }
  })

  it('answers a wrong field with where and what', () => {
    const body = pack(calls.getattr.request, { session: 1, ino: 'x' } as never)
    expect(() => unpack(calls.getattr.request, body, 'getattr')).toThrow(
      /getattr\.ino: expected an integer .* got string/,
    )
  })

  it('ignores fields that a newer peer has added at the end', () => {
    const { request } = calls.getattr
    const longer = { encode: () => [1, 2, 'new', 7], decode: (raw: unknown) => raw, describe: '', sample: () => 0 }
    expect(unpack(request, pack(longer as never, 0 as never), 'getattr')).toEqual({ session: 1, ino: 2 })
  })
})

describe('the state of a disk', () => {
  it('from a chunkserver that knows nothing of scrub rounds or of a reserve is one without', () => {
    const older = ['u', '/d', 0, '', 9, 1, 8, 2, 0, 7, false]
    expect(diskState.decode(older, 'disk')).toMatchObject({ uuid: 'u', seq: 7, marked: false, scrub: undefined })
    expect(diskState.encode(diskState.decode(older, 'disk'))).toEqual([...older, null, null, null])
  })
})

describe('the places of a chunk', () => {
  it('from a master that knows nothing of erasure coding are those of its copies', () => {
    const older = [7, true, 100, [[1, 1, 'host', 9422]]]
    expect(chunkPlaces.decode(older, 'places')).toMatchObject({ chunk: 7, length: 100, ec: undefined })
  })
})

describe('golden frames', () => {
  it('a getattr of inode 1 in session 7, as every version of this protocol must write it', () => {
    const body = pack(calls.getattr.request, { session: 7 as never, ino: 1 as never })
    const frame = encodeFrame({ kind: 'request', callId: calls.getattr.id, requestId: 5, deadlineMs: 30_000 }, body, [])
    expect(frame.toString('hex')).toBe(GOLDEN_GETATTR)
  })
  it('an append of four bytes: the bulk follows the body untouched and is part of the checksum', () => {
    const request = { disk: 2 as never, chunk: 0x1_0000_0001 as never, offset: 65536, create: true, sync: false }
    const body = pack(calls.append.request, request)
    const bulk = Buffer.from('abcd')
    const frame = encodeFrame({ kind: 'request', callId: calls.append.id, requestId: 6, deadlineMs: 0 }, body, [bulk])
    expect(Buffer.concat([frame, bulk]).toString('hex')).toBe(GOLDEN_APPEND)
  })
})

describe('the frame splitter', () => {
  it('gives the same frames back however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 3000 })), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 40 }),
        (payloads, cuts) => {
          const stream = Buffer.concat(
            payloads.flatMap(([body, bulk], i) => [
              encodeFrame({ kind: 'reply', callId: i, requestId: i, deadlineMs: 0 }, body, [bulk]),
              bulk,
            ]),
          )
          const frames: Frame[] = []
          const splitter = new FrameSplitter()
          for (let at = 0, i = 0; at < stream.length; i++) {
            const take = cuts[i % cuts.length]!
            splitter.push(stream.subarray(at, at + take), (frame) => frames.push(frame))
            at += take
          }
          expect(frames.map((f) => [f.body.toString('hex'), f.bulk.toString('hex')])).toEqual(
            payloads.map(([body, bulk]) => [Buffer.from(body).toString('hex'), Buffer.from(bulk).toString('hex')]),
          )
        },
      ),
    )
  })

  it('gives the same frames back when what belongs to large bulk is read in place', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 200_000 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 90_000 }), { minLength: 1, maxLength: 40 }),
        (sizes, cuts) => {
          const bulks = sizes.map((size, i) =>
            Buffer.from(Uint8Array.from({ length: size }, (_, at) => (at * 7 + i) & 0xff)),
          )
          const stream = Buffer.concat(
            bulks.flatMap((bulk, i) => [
              encodeFrame({ kind: 'reply', callId: i, requestId: i, deadlineMs: 0 }, Buffer.from([i]), [bulk]),
              bulk,
            ]),
          )
          const frames: Frame[] = []
          const splitter = new FrameSplitter()
          const own = Buffer.alloc(50_000)
          let inPlace = 0
          for (let at = 0, i = 0; at < stream.length; i++) {
            const room = splitter.room()
            const into = room ?? own
            if (room !== undefined) inPlace++
            const took = stream.copy(into, 0, at, at + cuts[i % cuts.length]!)
            at += took
            splitter.push(into.subarray(0, took), (frame) => frames.push(frame))
            own.fill(0xdd)
          }
          expect(frames.map((frame) => frame.bulk.equals(bulks[frame.callId]!))).toEqual(bulks.map(() => true))
          // A bulk larger than one read and the smallest room together is read in place at least once.
          if (Math.max(...sizes) > 50_000 + 32 * 1024) expect(inPlace).toBeGreaterThan(0)
        },
      ),
    )
  })

  it('notices one flipped bit anywhere in a frame', () => {
    const body = Buffer.from('some body')
    const bulk = Buffer.from('some bulk bytes')
    const good = Buffer.concat([
      encodeFrame({ kind: 'request', callId: 1, requestId: 1, deadlineMs: 1 }, body, [bulk]),
      bulk,
    ])
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = Buffer.from(good)
      bad[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => new FrameSplitter().push(bad, () => undefined), `bit ${bit}`).toThrow()
    }
  })
})

const GOLDEN_GETATTR = '4846773103000000000000000500000030750000dd13903915000100ae23c837920701'
const GOLDEN_APPEND =
  '4846773112000000040000000600000000000000decb6fe978000100201f21879502cb41f0000000100000ce00010000c3c261626364'
