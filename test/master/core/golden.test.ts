/*
 * Bytes that stay: keys, values and changelog records as they are on the disks of those who use this. A change here is a
 * change of format: records only grow at their end, and what was written before must still be read.
 */

import { describe, expect, it } from 'vitest'
import { FILE_TYPE_NAMES } from '../../../src/base/attr.ts'
import type { ChunkId, Ino, SessionId } from '../../../src/base/ids.ts'
import { decodeChangelog, encodeChangelog } from '../../../src/master/core/command-codec.ts'
import { type CommandName, commands } from '../../../src/master/core/commands.ts'
import { nameHash } from '../../../src/master/core/dentries.ts'
import { linksRecord } from '../../../src/master/core/links.ts'
import { measuredRecord } from '../../../src/master/core/measured-table.ts'
import {
  buriedRecord,
  deniedRecord,
  type MemberRecord,
  memberRecord,
  meshRecord,
  type TokenRecord,
  tokenRecord,
} from '../../../src/master/core/mesh-records.ts'
import {
  bucketRecord,
  chunkRecord,
  classRecord,
  countersRecord,
  decodeRecord,
  diskRecord,
  encodeRecord,
  type InodeRecord,
  inodeRecord,
  jobRecord,
  nodeRecord,
  pack,
  patternsRecord,
  quotaRecord,
  settingsRecord,
  unfinishedRecord,
  unpack,
} from '../../../src/master/core/records.ts'
import { after, afterNum, key, num, numAt, tables } from '../../../src/master/core/tables.ts'
import { chunkOn } from '../../support/chunk-record.ts'
import { joining, mesh, meshHash, meshKey, meshNode, meshToken } from '../../support/mesh.ts'
import { seedOf } from '../../support/seed.ts'
import { chance, create } from './support.ts'

const hex = (value: Uint8Array | string) => Buffer.from(value as string, 'latin1').toString('hex')

const file: InodeRecord = {
  attr: {
    ino: 70_000 as Ino,
    type: 'file',
    mode: 0o644,
    nlink: 1,
    uid: 1000,
    gid: 1000,
    rdev: 0,
    size: 4096,
    used: 4096,
    atime: { sec: 1_700_000_000, nsec: 5 },
    mtime: { sec: 1_700_000_000, nsec: 5 },
    ctime: { sec: 1_700_000_001, nsec: 123_456_789 },
    hasXattr: false,
    version: 2,
  },
  parent: 2 as Ino,
  name: '',
  entries: 0,
  xattrBytes: 0,
  copies: 0,
  retentionMs: undefined,
  target: '',
  trashedUntil: undefined,
  doomed: false,
  quota: 0,
}
const envelope = { index: 9, sec: 1_700_000_000, nsec: 1, session: 3 as SessionId, seq: 4, acked: 2 }

describe('keys', () => {
  it('write numbers with their length, so that byte order is number order', () => {
    expect(hex(num(0))).toBe('00')
    expect(hex(num(255))).toBe('01ff')
    expect(hex(num(256))).toBe('020100')
    expect(hex(num(0x1_0000_0000))).toBe('050100000000')
    expect(hex(num(Number.MAX_SAFE_INTEGER))).toBe('071fffffffffffff')
  })

  it('of random numbers sort as the numbers do, and can be read again', () => {
    const seed = seedOf()
    const below = chance(seed)
    let last = 0
    for (let i = 0; i < 2000; i++) {
      const n = Math.floor(2 ** below(53)) + below(1000)
      expect(num(n) < num(last), `seed ${seed}`).toBe(n < last)
      const at = `xx${num(n)}${num(last)}`
      expect(numAt(at, 2)).toBe(n)
      expect(numAt(at, afterNum(at, 2))).toBe(last)
      last = n
    }
  })

  it('of each kind keep their bytes', () => {
    expect(hex(key.inode(1 as Ino))).toBe('690101')
    expect(hex(key.dentry(1 as Ino, 0x0102_0304_0506))).toBe('640101010203040506')
    expect(hex(key.extent(300 as Ino, 65536))).toBe('6502012c03010000')
    expect(hex(key.reverse(7 as ChunkId, 1 as Ino, 0))).toBe('720107010100')
    expect(hex(key.reply(3 as SessionId, 4))).toBe('7901030104')
    expect(hex(key.changelog(9))).toBe('670109')
    expect(hex(key.xattr(1 as Ino, 'user.a'))).toBe('780101757365722e61')
  })

  it('of all tables begin with chars of their own', () => {
    const prefixes = Object.values(tables).map((table) => table.prefix)
    expect(new Set(prefixes).size).toBe(prefixes.length)
    for (const prefix of prefixes) expect(after(prefix) > `${prefix}\xff\xff`).toBe(true)
  })
})

describe('name hashes', () => {
  it('stay what they are', () => {
    expect(nameHash('a', [1, 2])).toBe(GOLDEN.hashA)
    expect(nameHash('caf\xe9', [1, 2])).toBe(GOLDEN.hashCafe)
  })

  it('of a million names hardly meet, and depend on the salt', () => {
    const seen = new Set<number>()
    for (let i = 0; i < 1_000_000; i++) seen.add(nameHash(`file-${i}.txt`, [11, 22]))
    // 10^12 / 2 pairs over 2^48 values: fewer than one in a hundred tries has a single pair.
    expect(1_000_000 - seen.size).toBeLessThanOrEqual(1)
    expect(nameHash('a', [1, 2])).not.toBe(nameHash('a', [1, 3]))
  })
})

describe('values', () => {
  it('of a storage class, of patterns and of a file in a class keep their bytes', () => {
    const text = {
      name: 'hddec',
      description: '',
      create: '2I',
      keep: '2H/[RACK]:STRICT',
      archive: '@4+1,H',
      trash: '',
      defaultMode: 'std' as const,
      archiveAfterMs: 3_600_000,
      archiveBy: 'C',
      minBytes: 0,
      trashMinRetentionMs: 0,
      priority: 7,
    }
    const kept = { version: 1, text, inodes: 3 }
    const value = encodeRecord(classRecord, kept)
    expect(hex(value)).toBe(GOLDEN.storageClass)
    expect(decodeRecord(classRecord, value, 'class')).toEqual(kept)
    const pattern = { glob: '*.mp4', uid: undefined, gid: 5, priority: 1, classId: 2 }
    expect(hex(encodeRecord(patternsRecord, [{ number: 3, pattern }]))).toBe(GOLDEN.patterns)
    const classed = { ...file, attr: { ...file.attr, classId: 300 } }
    expect(inodeRecord.decode(unpack(pack(inodeRecord.encode(classed))), file.attr.ino)).toEqual(classed)
    expect([hex(key.class(2)), hex(key.reclass(1 as Ino))]).toEqual(['500102', '700101'])
  })

  it('of a plain file are short: defaults at the end and repeated times are not written', () => {
    const value = pack(inodeRecord.encode(file))
    expect(hex(value)).toBe(GOLDEN.file)
    expect(inodeRecord.decode(unpack(value), file.attr.ino)).toEqual(file)
  })

  it('of inodes with everything are read as they were written', () => {
    for (const type of FILE_TYPE_NAMES) {
      const record: InodeRecord = {
        ...file,
        attr: {
          ...file.attr,
          type,
          rdev: 0xffff_ffff,
          hasXattr: true,
          size: 2 ** 44,
          atime: { sec: -5, nsec: 999_999_999 },
        },
        name: 'd\xe9',
        entries: 12,
        xattrBytes: 77,
        copies: 3,
        retentionMs: 0,
        target: '../x',
        trashedUntil: 4_000_000_000,
        doomed: true,
        quota: 9 as Ino,
      }
      expect(inodeRecord.decode(unpack(pack(inodeRecord.encode(record))), record.attr.ino)).toEqual(record)
    }
  })

  it('of a file that counts in a quota say so last', () => {
    const counted = { ...file, quota: 9 as Ino }
    const value = pack(inodeRecord.encode(counted))
    expect(hex(value)).toBe(GOLDEN.counted)
    expect(inodeRecord.decode(unpack(value), file.attr.ino)).toEqual(counted)
  })

  it('of quotas keep their bytes', () => {
    const none = { soft: undefined, hard: undefined, overSec: undefined }
    const quota = {
      version: 1,
      phase: 'active' as const,
      parent: 3 as Ino,
      graceMs: 604_800_000,
      inodes: { soft: 10, hard: 20, overSec: 1_700_000_000 },
      length: none,
      raw: { ...none, hard: 4_096 },
      usage: { inodes: 12, length: 100, used: 90, classes: [{ classId: 3, used: 80 }] },
      leaves: undefined,
    }
    expect(hex(encodeRecord(quotaRecord, quota))).toBe(GOLDEN.quota)
    expect(decodeRecord(quotaRecord, Buffer.from(GOLDEN.quota, 'hex'), 'quota')).toEqual(quota)
  })

  it('of names and chunks keep their bytes', () => {
    const bucket = [{ slot: 0, name: 'caf\xe9', ino: 5 as Ino, type: 'file' as const }]
    expect(hex(pack(bucketRecord.encode(bucket)))).toBe(GOLDEN.bucket)
    expect(bucketRecord.decode(unpack(Buffer.from(GOLDEN.bucket, 'hex')))).toEqual(bucket)
    const counted = { session: 3 as SessionId, length: 100, live: 90, createdSec: 1 }
    const chunk = chunkOn([1, 2], counted)
    expect(hex(encodeRecord(chunkRecord, chunk))).toBe(GOLDEN.chunk)
    expect(decodeRecord(chunkRecord, Buffer.from(GOLDEN.chunk, 'hex'), 'chunk')).toEqual(chunk)
    // As it was written before a chunk could lose its end, and when it could.
    expect(decodeRecord(chunkRecord, Buffer.from('9c010203645a020192010290c0c0c0', 'hex'), 'chunk')).toEqual(chunk)
    expect(decodeRecord(chunkRecord, Buffer.from('9a010203645a020192010290c0', 'hex'), 'chunk')).toEqual(chunk)
  })
})

describe('records of the mesh', () => {
  const member: MemberRecord = {
    version: 1,
    name: 'vps1',
    keys: [meshKey(1)],
    ip: '10.77.0.1',
    roles: ['chunkserver', 'gateway'],
    label: 'usb',
    site: undefined,
    rack: undefined,
    tokenId: meshToken(2),
    joinedSec: 1_700_000_000,
    confirmedSec: 1_700_000_005,
    certificates: [{ serial: '1f', expiresSec: 1_800_000_000 }],
    candidates: ['192.168.1.2:51820'],
    statics: [],
    relays: 'blind',
    request: meshHash(3),
  }
  const made: TokenRecord = {
    version: 1,
    key: meshHash(9),
    roles: ['client'],
    label: undefined,
    site: 'home',
    uses: 2,
    expiresSec: 1_700_003_600,
    rejoin: undefined,
    revoked: false,
    spent: [{ node: meshNode(1), key: meshKey(1), request: meshHash(3), closed: true }],
  }

  it('keep their bytes', () => {
    expect(hex(encodeRecord(memberRecord, member))).toBe(GOLDEN.member)
    expect(decodeRecord(memberRecord, Buffer.from(GOLDEN.member, 'hex'), 'member')).toEqual(member)
    expect(hex(encodeRecord(tokenRecord, made))).toBe(GOLDEN.token)
    expect(decodeRecord(tokenRecord, Buffer.from(GOLDEN.token, 'hex'), 'token')).toEqual(made)
    const founded = { version: 1, ...mesh, foundedSec: 1_700_000_000 }
    expect(hex(encodeRecord(meshRecord, founded))).toBe(GOLDEN.mesh)
    const buried = { version: 1, name: 'vps1', ip: '10.77.0.1', removedSec: 1_700_000_000 }
    expect(hex(encodeRecord(buriedRecord, buried))).toBe('9401a476707331a931302e37372e302e31ce6553f100')
    expect(hex(encodeRecord(deniedRecord, { version: 1, expiresSec: 1_800_000_000 }))).toBe('9201ce6b49d200')
    expect(key.member(meshNode(1))).toBe(`Mn${meshNode(1)}`)
  })

  it('of a join in the changelog keep their bytes', () => {
    const own = { ...envelope, session: 0 as SessionId, seq: 0, acked: 0 }
    const command = { kind: 'memberJoined' as const, ...joining(2, 1, { rack: 'r1' }) }
    expect(hex(encodeChangelog(own, command, undefined))).toBe(GOLDEN.memberJoined)
    expect(decodeChangelog(Buffer.from(GOLDEN.memberJoined, 'hex')).command).toEqual(command)
  })

  it('of measured places, and the commands that change them, keep their bytes', () => {
    const map = {
      places: [{ node: meshNode(1), site: 's1', rack: 'r2' }],
      own: ['rack r2', 'site s1'],
      lastSite: 1,
      lastRack: 2,
    }
    const measured = { version: 1, number: 7, measuring: { auto: true, siteUs: 10_000, rackUs: 2_000 }, map }
    expect(hex(encodeRecord(measuredRecord, measured))).toBe(GOLDEN.measured)
    expect(decodeRecord(measuredRecord, Buffer.from(GOLDEN.measured, 'hex'), 'measured')).toEqual(measured)
    const own = { ...envelope, session: 0 as SessionId, seq: 0, acked: 0 }
    const written = [
      { kind: 'placesMeasured' as const, after: 7, map },
      { kind: 'measuringSet' as const, auto: false, siteUs: undefined, rackUs: 3_000 },
      { kind: 'placeRenamed' as const, level: 'site' as const, from: 's1', to: 'home' },
      { kind: 'memberPlaced' as const, node: meshNode(1), site: 'home', rack: undefined },
    ]
    for (const [i, command] of written.entries()) {
      expect(hex(encodeChangelog(own, command, undefined))).toBe(GOLDEN.placed[i])
      expect(decodeChangelog(Buffer.from(GOLDEN.placed[i]!, 'hex')).command).toEqual(command)
    }
  })

  it('are in no database of before: its counters say that there is no mesh, its chunkservers are of no node', () => {
    const counters = encodeRecord(
      countersRecord,
      countersRecord.sample(() => 1),
    )
    const before = (unpack(counters) as unknown[]).slice(0, Object.keys(countersRecord.fields).indexOf('meshVersion'))
    expect(decodeRecord(countersRecord, pack(before), 'counters').meshVersion).toBeUndefined()
    const older = Buffer.from('9601a26e31a36f6e65a831302e302e302e31cd24f5a3302e31', 'hex')
    expect(decodeRecord(nodeRecord, older, 'node').member).toBeUndefined()
  })
})

describe('records of ways between sites', () => {
  it('keep their bytes', () => {
    const night = { from: 1380, to: 480, bytesPerS: 5_000_000 }
    const links = [
      { a: 'cabin', b: 'home', bytesPerS: undefined, windows: [night] },
      { a: 'home', b: 'vps', bytesPerS: 0, windows: [] },
    ]
    expect(hex(encodeRecord(linksRecord, links))).toBe(GOLDEN.links)
    expect(decodeRecord(linksRecord, Buffer.from(GOLDEN.links, 'hex'), 'links')).toEqual(links)
    const own = { ...envelope, session: 0 as SessionId, seq: 0, acked: 0 }
    const command = { kind: 'linkLimit' as const, a: 'home', b: 'cabin', bytesPerS: 7, window: { from: 0, to: 60 } }
    expect(hex(encodeChangelog(own, command, undefined))).toBe(GOLDEN.linkLimit)
    expect(decodeChangelog(Buffer.from(GOLDEN.linkLimit, 'hex')).command).toEqual(command)
  })
})

describe('records of jobs', () => {
  const job = {
    version: 1,
    kind: 'snapshot',
    phase: 'clearing',
    source: '/caf\xe9',
    target: '/copy',
    parent: 1,
    name: 'copy',
    root: 70_000,
    inodes: 300,
    bytes: 4096,
    begunSec: 1_700_000_000,
    overSec: undefined,
    errno: 17,
    detail: 'it exists',
  } as const

  it('keep their bytes', () => {
    expect(hex(encodeRecord(jobRecord, job))).toBe(
      '9e010001a62f636166c3a9a52f636f707901a4636f7079ce00011170cd012ccd1000ce6553f100c011a9697420657869737473',
    )
    expect(decodeRecord(jobRecord, encodeRecord(jobRecord, job), 'job')).toEqual(job)
    const unfinished = { source: 5 as Ino, after: 'd\x01\x05\xff' }
    expect(hex(encodeRecord(unfinishedRecord, unfinished))).toBe('9205a5640105c3bf')
    expect(decodeRecord(unfinishedRecord, encodeRecord(unfinishedRecord, unfinished), 'unfinished')).toEqual(unfinished)
    expect(hex(key.image(3, key.inode(5 as Ino)))).toBe('6a690103690105')
    expect(hex(key.unfinished(3, 256 as Ino))).toBe('6a710103020100')
  })

  it('are in no database of before: its counters say that no snapshot is being made and no chunk counted', () => {
    const counters = encodeRecord(
      countersRecord,
      countersRecord.sample(() => 0),
    )
    const before = (unpack(counters) as unknown[]).slice(0, Object.keys(countersRecord.fields).indexOf('imaging'))
    const { imaging, usageTo } = decodeRecord(countersRecord, pack(before), 'counters')
    expect([imaging, usageTo]).toEqual([undefined, undefined])
  })
})

describe('records of chunkservers and disks', () => {
  it('of before they had labels and places are read, as nothing of these', () => {
    const node = decodeRecord(
      nodeRecord,
      Buffer.from('9601a26e31a36f6e65a831302e302e302e31cd24f5a3302e31', 'hex'),
      'node',
    )
    expect(node).toMatchObject({ version: 1, uuid: 'n1', name: 'one', host: '10.0.0.1', port: 9461, software: '0.1' })
    expect([node.labels, node.labelsSet, node.rack, node.site, node.machine, node.graceMs]).toEqual(
      Array.from({ length: 6 }, () => undefined),
    )
    const disk = decodeRecord(diskRecord, Buffer.from('9a0101a26431a22f64c30703c005c0', 'hex'), 'disk')
    expect(disk).toMatchObject({ version: 1, node: 1, uuid: 'd1', path: '/d', draining: true, chunks: 3 })
    expect([disk.labels, disk.labelsSet]).toEqual([undefined, undefined])
  })

  it('of settings of before there were backup labels, or bounds for what is moved, are read, as none', () => {
    const settings = { copies: 2, graceMs: 600_000, trashRetentionMs: 0, sessionTimeoutMs: 30_000 }
    expect(settingsRecord.decode([2, 600_000, 0, 30_000], 'settings')).toEqual({ ...settings, backupLabels: undefined })
    expect(settingsRecord.decode([2, 600_000, 0, 30_000, ['B']], 'settings')).toEqual({
      ...settings,
      backupLabels: ['B'],
    })
    expect(settingsRecord.encode(settings)).toEqual([2, 600_000, 0, 30_000, null, null])
  })

  it('that joined before that are still read from the changelog', () => {
    const older = '949609ce6553f10001030402289701a26e31a36f6e65a831302e302e302e31cd24f5a3302e31919302a26431a22f6400'
    expect(decodeChangelog(Buffer.from(older, 'hex')).command).toEqual({
      kind: 'nodeJoined',
      ...{ node: 1, uuid: 'n1', name: 'one', host: '10.0.0.1', port: 9461, version: '0.1' },
      disks: [{ disk: 2, uuid: 'd1', path: '/d', labels: undefined }],
      place: undefined,
      labels: undefined,
    })
  })
})

describe('changelog records', () => {
  it('are [envelope, command, fields, errno]', () => {
    const command = create(5 as Ino, 1 as Ino, 'a')
    const value = encodeChangelog(envelope, command, 'EEXIST')
    expect(hex(value)).toBe(GOLDEN.changelog)
    expect(decodeChangelog(Buffer.from(GOLDEN.changelog, 'hex'))).toEqual({ envelope, command, errno: 'EEXIST' })
  })

  it('that lack the fields of a later version are read all the same', () => {
    const command = create(5 as Ino, 1 as Ino, 'a')
    const older = '949609ce6553f100010304020b9901a16105cd01a4000708c2c211'
    expect(decodeChangelog(Buffer.from(older, 'hex'))).toEqual({ envelope, command, errno: 'EEXIST' })
  })

  it('of what chunks are to be, one by one as before and many at once, keep their bytes', () => {
    const own = { ...envelope, session: 0 as SessionId, seq: 0, acked: 0 }
    const coded = { classId: 2, phase: 'archive' as const, copies: 2, code: { data: 4, parity: 1 } }
    const one = { kind: 'chunkWish', chunk: 300 as ChunkId, ...coded } as const
    const plain = { chunk: 7 as ChunkId, classId: undefined, phase: undefined, copies: 3, code: undefined }
    const wishes = [{ chunk: 300 as ChunkId, ...coded }, plain]
    const many = { kind: 'chunkWishes' as const, wishes }
    expect(hex(encodeChangelog(own, one, undefined))).toBe(GOLDEN.chunkWish)
    expect(hex(encodeChangelog(own, many, undefined))).toBe(GOLDEN.chunkWishes)
    expect(decodeChangelog(Buffer.from(GOLDEN.chunkWish, 'hex')).command).toEqual(one)
    expect(decodeChangelog(Buffer.from(GOLDEN.chunkWishes, 'hex')).command).toEqual(many)
  })

  it('of every command are read as they were written', () => {
    const seed = seedOf()
    const below = chance(seed)
    for (const kind of Object.keys(commands) as CommandName[])
      for (let i = 0; i < 20; i++) {
        const fields = commands[kind].fields.sample(below) as object
        const command = { kind, ...fields } as never
        const read = decodeChangelog(encodeChangelog(envelope, command, undefined))
        expect(read, `seed ${seed}, ${kind}`).toEqual({ envelope, command, errno: undefined })
      }
  })

  it('have numbers of commands that are used once', () => {
    const ids = Object.values(commands).map((row) => row.id)
    expect(new Set(ids).size).toBe(ids.length)
  })
})

const GOLDEN = {
  measured:
    '94010793c3cd2710cd07d0949193d9203030303030303030303030303030303030303030303030303030303030303031a27331a2723292a77261636b207232a7736974652073310102',
  placed: [
    '949609ce6553f10001000000ccd29207949193d9203030303030303030303030303030303030303030303030303030303030303031a27331a2723292a77261636b207232a773697465207331010200',
    '949609ce6553f10001000000ccd393c2c0cd0bb800',
    '949609ce6553f10001000000ccd49300a27331a4686f6d6500',
    '949609ce6553f10001000000ccd593d9203030303030303030303030303030303030303030303030303030303030303031a4686f6d65c000',
  ],
  links: '9294a5636162696ea4686f6d65c09193cd0564cd01e0ce004c4b4094a4686f6d65a37670730090',
  linkLimit: '949609ce6553f10001000000cce694a4686f6d65a5636162696e0792003c00',
  member:
    'dc001001d94030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303033a47670733191d92c415145424151454241514542415145424151454241514542415145424151454241514542415145424151453da931302e37372e302e310aa3757362c0c0b030303030303030303030303030303032ce6553f100ce6553f1059192a23166ce6b49d20091b13139322e3136382e312e323a35313832309001',
  token:
    '9a01c29194d9203030303030303030303030303030303030303030303030303030303030303031d92c415145424151454241514542415145424151454241514542415145424151454241514542415145424151453dd94030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303033c3d9403030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303904c0a4686f6d6502ce6553ff10c0',
  mesh: '9801ce6553f100b030313233343536373839616263646566ac31302e37372e302e302f3136cdca6cbc2d2d2d2d2d424547494e2043455254494649434154452d2d2d2d2d0a91b06875622e6578616d706c653a38343433d92c794d6a49794d6a49794d6a49794d6a49794d6a49794d6a49794d6a49794d6a49794d6a49794d6a49794d673d',
  memberJoined:
    '949609ce6553f10001000000cccb98b030303030303030303030303030303032d9203030303030303030303030303030303030303030303030303030303030303031a56e6f646531d92c415145424151454241514542415145424151454241514542415145424151454241514542415145424151453dd94030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303031c0c0a2723100',
  chunkWish: '949609ce6553f100010000006395cd012c02000292040100',
  chunkWishes: '949609ce6553f1000100000064919295cd012c0200029204019507c0c003c000',
  storageClass: '93019ca56864646563a0a23249b032482f5b5241434b5d3a535452494354a640342b312c48a001ce0036ee80a14300000703',
  patterns: '91920395a52a2e6d7034c0050102',
  hashA: 134468871967484,
  hashCafe: 142480561029907,
  file: 'dc00100104cd01a401cd03e8cd03e8cd1000cd1000ce6553f101ce075bcd15ce6553f10005c0c00202',
  counted: 'dc001b0104cd01a401cd03e8cd03e8cd1000cd1000ce6553f101ce075bcd15ce6553f10005c0c00202c0000000c000c0c0000009',
  quota: '99010203ce240c8400930a14ce6553f10093c0c0c093c0cd1000c0940c645a91920350c0',
  bucket: '9400a5636166c3a90504',
  chunk: '99010203645a020192010290',
  changelog: '949609ce6553f100010304020b9a01a16105cd01a4000708c2c2c011',
}
