/*
 * The tables of the kernel protocol against numbers taken from the kernel's own header.
 */

import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { ino } from '../../src/base/ids.ts'
import { deletedEntry, invalidateEntry, invalidateInode, resendRequests } from '../../src/fuse/codec.ts'
import { fuseNativePage } from '../../src/fuse/fuse-native-limits.ts'
import { OPS } from '../../src/fuse/ops.ts'
import * as protocol from '../../src/fuse/protocol.ts'

describe('protocol tables', () => {
  test('every structure has the size that the kernel gives it', () => {
    const sizes: Record<string, number> = {
      IN_HEADER: 40,
      OUT_HEADER: 16,
      ATTR: 88,
      ENTRY: 40,
      ATTR_VALID: 16,
      OPEN_OUT: 16,
      SIZE_OUT: 8,
      DIRENT: 24,
      STATFS_OUT: 80,
      INIT_IN: 20,
      INIT_OUT: 64,
      SETATTR_IN: 88,
      MKNOD_IN: 16,
      MKDIR_IN: 8,
      RENAME_IN: 8,
      RENAME2_IN: 16,
      LINK_IN: 8,
      OPEN_IN: 8,
      CREATE_IN: 16,
      RELEASE_IN: 24,
      FLUSH_IN: 24,
      IO_IN: 40,
      FSYNC_IN: 16,
      SETXATTR_IN: 16,
      GETXATTR_IN: 8,
      LK_IN: 48,
      FILE_LOCK: 24,
      INTERRUPT_IN: 8,
      FALLOCATE_IN: 32,
      LSEEK_IN: 24,
      COPY_IN: 56,
      INVAL_INODE_OUT: 24,
      INVAL_ENTRY_OUT: 16,
      DELETE_OUT: 24,
    }
    const tables = protocol as unknown as Record<string, { size: number }>
    expect(Object.fromEntries(Object.keys(sizes).map((name) => [name, tables[name]!.size]))).toEqual(sizes)
  })

  test('fields with neighbours of another width stand where the kernel has them', () => {
    expect(protocol.IN_HEADER.at).toMatchObject({ opcode: 4, unique: 8, nodeid: 16, pid: 32, totalExtlen: 36 })
    expect(protocol.ATTR.at).toMatchObject({ atimensec: 48, mode: 60, rdev: 76, flags: 84 })
    expect(protocol.SETATTR_IN.at).toMatchObject({ size: 16, atime: 32, mode: 68, uid: 76, gid: 80 })
    expect(protocol.INIT_OUT.at).toMatchObject({ maxBackground: 16, maxWrite: 20, maxPages: 28, flags2: 32 })
    expect(protocol.LK_IN.at).toMatchObject({ owner: 8, start: 16, type: 32, lkFlags: 40 })
  })

  test('every opcode that a kernel may send has a row, except those the session answers itself', () => {
    const own = ['FORGET', 'BATCH_FORGET', 'NOTIFY_REPLY', 'INTERRUPT', 'INIT', 'DESTROY']
    const unused = ['SETUPMAPPING', 'REMOVEMAPPING']
    const missing = Object.entries(protocol.OPCODES).filter(([, code]) => OPS[code] === undefined)
    expect(missing.map(([name]) => name).sort()).toEqual([...own, ...unused].sort())
  })
})

describe('notifications', () => {
  test('invalidating an inode with its data starts at offset 0, without data below it', () => {
    expect(invalidateInode(ino(5), true).toString('hex')).toBe(
      '28000000' + '02000000' + '0000000000000000' + '0500000000000000' + '0000000000000000' + '0000000000000000',
    )
    expect(invalidateInode(ino(5), false).subarray(24, 32).toString('hex')).toBe('ffffffffffffffff')
  })

  test('names travel as bytes with their length and a terminating zero', () => {
    expect(invalidateEntry(ino(1), 'a\xff').toString('hex')).toBe(
      '23000000' + '03000000' + '0000000000000000' + '0100000000000000' + '02000000' + '00000000' + '61ff00',
    )
    expect(deletedEntry(ino(1), ino(9), 'x').toString('hex')).toBe(
      '2a000000' +
        '06000000' +
        '0000000000000000' +
        '0100000000000000' +
        '0900000000000000' +
        '01000000' +
        '00000000' +
        '7800',
    )
    expect(resendRequests().toString('hex')).toBe('10000000' + '07000000' + '0000000000000000')
  })
})

test('docs/fuse-native.md is made from the table', async () => {
  expect(await readFile(new URL('../../docs/fuse-native.md', import.meta.url), 'utf8')).toBe(fuseNativePage())
})
