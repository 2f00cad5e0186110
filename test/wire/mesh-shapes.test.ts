import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { errno } from '../../src/base/errno.ts'
import { FsError } from '../../src/base/fault.ts'
import { BODY_BYTES_MAX } from '../../src/base/limits.ts'
import { pack, unpack } from '../../src/wire/codec.ts'
import { bytesToProve } from '../../src/wire/mesh-proof.ts'
import {
  BURIED_MAX,
  bytes32,
  CANDIDATES_MAX,
  CERTIFICATES_MAX,
  DENIED_MAX,
  endpoint,
  HUBS_MAX,
  type JoinRefusal,
  joinRefusalOf,
  joinRefusals,
  key32,
  MEMBERS_MAX,
  meshName,
  meshWord,
  nodeRoles,
  type Registry,
  STATICS_MAX,
  serial,
  TOKENS_MAX,
} from '../../src/wire/mesh-shapes.ts'
import { calls } from '../../src/wire/protocol.ts'
import { joining, mesh, meshHash, meshKey, meshNode, meshToken } from '../support/mesh.ts'

describe('what the mesh is told', () => {
  it.each([
    ['a key that is cut', key32, meshKey(1).slice(1)],
    ['a key with bits beyond its end', key32, `${'A'.repeat(42)}B=`],
    ['a name with a slash', meshName, 'a/b'],
    ['a name that is too long', meshName, 'x'.repeat(64)],
    ['no name', meshName, ''],
    ['a word with a line feed', meshWord, 'a\nb'],
    ['a serial number of 21 bytes', serial, 'a'.repeat(42)],
    ['a host name where an address is wanted', endpoint, 'hub.example:1'],
    ['port 0', endpoint, '192.0.2.1:0'],
    ['no role', nodeRoles, 0],
    ['a role that there is not', nodeRoles, 16],
    ['31 bytes', bytes32, Buffer.alloc(31)],
  ])('refuses %s', (_what, schema, value) => expect(() => schema.decode(value, 'it')).toThrow(FsError))

  it('fits into one message, however much it is', () => {
    const word = 'ü'.repeat(64)
    const far = 4_000_000_000
    const name = 'n'.repeat(63)
    const many = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i))
    const certificate = { serial: 'f'.repeat(40), expiresSec: far }
    const at = `[${'f'.repeat(56)}]:65535`
    const all = ['master', 'chunkserver', 'client', 'gateway'] as const
    const place = { label: word, site: word, rack: word }
    const registry: Registry = {
      mesh: { ...mesh, authority: 'x'.repeat(16_384), hubs: many(HUBS_MAX, () => 'h'.repeat(300)) },
      members: many(MEMBERS_MAX, (n) => ({
        ...{ node: meshNode(n), name, keys: [meshKey(1), meshKey(2)], ip: '10.127.255.254', roles: [...all], ...place },
        ...{ tokenId: meshToken(n), joinedSec: far, confirmedSec: far, relays: 'blind-and-forward' as const },
        certificates: many(CERTIFICATES_MAX, () => certificate),
        candidates: many(CANDIDATES_MAX, () => at),
        statics: many(STATICS_MAX, () => at),
      })),
      tokens: many(TOKENS_MAX, (n) => ({
        ...{
          tokenId: meshToken(n),
          roles: [...all],
          label: word,
          site: word,
          uses: MEMBERS_MAX,
          usesLeft: MEMBERS_MAX,
        },
        ...{ expiresSec: far, rejoin: meshNode(n), revoked: true },
      })),
      buried: many(BURIED_MAX + MEMBERS_MAX, (n) => ({
        node: meshNode(n),
        name,
        ip: '10.127.255.254',
        removedSec: far,
      })),
      denied: many(DENIED_MAX, () => certificate),
    }
    const reply = { version: Number.MAX_SAFE_INTEGER, registry }
    const body = pack(calls.meshRegistry.reply, reply)
    expect(body.length).toBeLessThan(BODY_BYTES_MAX)
    expect(unpack(calls.meshRegistry.reply, body, 'reply')).toEqual(reply)
  })
})

describe('the proof of a join', () => {
  it('is made over these bytes, which every version has to make', () => {
    const bytes = bytesToProve({ ...joining(1, 1), exporter: Buffer.alloc(32, 7) })
    expect(bytes.length).toBe(16 + 32 + 32 + 32 + 16)
    expect(bytes.subarray(0, 16).toString()).toBe('holdfast-join-v1')
    expect(
      createHmac('sha256', Buffer.from(meshHash(1), 'hex'))
        .update(bytes)
        .digest('hex'),
    ).toBe(GOLDEN)
  })
})

describe('refusals of a join', () => {
  it('are told apart by the word that they begin with, on this side of the wire and on the other', () => {
    for (const word of Object.keys(joinRefusals) as JoinRefusal[]) {
      const said = new FsError(joinRefusals[word], `${word}: node x: full: known-node: is not`)
      expect(joinRefusalOf(said.message)).toBe(word)
      expect(joinRefusalOf(`${word}: something`)).toBe(word)
    }
    expect(joinRefusalOf(errno.EACCES.text)).toBeUndefined()
    expect(joinRefusalOf('no space left: the disk is full')).toBeUndefined()
  })
})

const GOLDEN = 'dd2ba1267b17e40bb2b7f4222aad8c4cdc24cfae35084aa8af3ad4d319902233'
