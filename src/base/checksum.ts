/*
 * CRC-32 (IEEE 802.3, the one of zlib, gzip, ext4's old journals and MooseFS). The only file of a pure room that reaches a
 * `node:` module: the built-in is a function without state.
 */

import { crc32 as zlibCrc32 } from 'node:zlib'

/** `seed` is the CRC of the bytes before, so a CRC can be carried on over appended data. */
export const crc32 = (data: Uint8Array, seed = 0): number => zlibCrc32(data, seed)
