/*
 * The handshake: what we want of the kernel, what it grants, and the reply. Pure.
 *
 * The granted flags are a value (`Negotiated`), because INIT happens once per mount and not once per process: a worker
 * that takes over the descriptor of a living mount gets the value handed in and never sees an INIT.
 */

import { FsError } from '../base/fault.ts'
import type { Request } from './codec.ts'
import {
  INIT_BITS,
  INIT_IN,
  INIT_OUT,
  type InitFlag,
  KERNEL_MAJOR,
  KERNEL_MINOR,
  KERNEL_MINOR_MIN,
} from './protocol.ts'

/**
 * AUTO_INVAL_DATA and EXPLICIT_INVAL_DATA are both left out on purpose. With the first, every stat after an own write
 * throws away the pages just written, because the file's mtime is made by the server. With the second, a file that grew
 * elsewhere shows zeros where its last cached page ended. With neither, the kernel drops its pages when the size differs
 * from what it knows; an overwrite of equal size is caught at open (no KEEP_CACHE when the data changed) and by the
 * invalidations we push. READDIRPLUS_AUTO is left out because the kernel then hardly ever asks for the attributes that
 * we have at hand.
 */
export const WANTED_FLAGS: readonly InitFlag[] = [
  'ASYNC_READ',
  'POSIX_LOCKS',
  'ATOMIC_O_TRUNC',
  'EXPORT_SUPPORT',
  'BIG_WRITES',
  'DONT_MASK',
  'FLOCK_LOCKS',
  'DO_READDIRPLUS',
  'ASYNC_DIO',
  'PARALLEL_DIROPS',
  'POSIX_ACL',
  'ABORT_ERROR',
  'MAX_PAGES',
  'CACHE_SYMLINKS',
  'HANDLE_KILLPRIV_V2',
  'SETXATTR_EXT',
  'INIT_EXT',
  'HAS_EXPIRE_ONLY',
  'HAS_RESEND',
]

/** The largest WRITE: 256 pages, the kernel's own default limit (/proc/sys/fs/fuse/max_pages_limit). */
export const MAX_WRITE_BYTES = 1024 * 1024
const MAX_PAGES = 256
/** Readahead and other background requests in hand at once: enough to fill 64 × 1 MiB over a 100 ms link at 5 Gbit/s. */
const MAX_BACKGROUND = 64
/** Three quarters of it, as the kernel's own default ratio. */
const CONGESTION_THRESHOLD = 48
/** One READ's worth; the kernel takes the smaller of this and its own, and the mount raises its own afterwards. */
const MAX_READAHEAD_BYTES = 1024 * 1024

export interface Negotiated {
  readonly minor: number
  readonly flags: ReadonlySet<InitFlag>
  readonly maxWriteBytes: number
}

export interface InitRequest {
  readonly major: number
  readonly minor: number
  readonly maxReadahead: number
  readonly flagsLow: number
  readonly flagsHigh: number
}

export function decodeInit(request: Request): InitRequest {
  request.need(16)
  const flagsLow = request.u32(INIT_IN.at.flags)
  const extended = hasBit(flagsLow, INIT_BITS.INIT_EXT) && request.bodyBytes >= INIT_IN.size
  return {
    major: request.u32(INIT_IN.at.major),
    minor: request.u32(INIT_IN.at.minor),
    maxReadahead: request.u32(INIT_IN.at.maxReadahead),
    flagsLow,
    flagsHigh: extended ? request.u32(INIT_IN.at.flags2) : 0,
  }
}

const hasBit = (word: number, bit: number): boolean => (word >>> bit) % 2 === 1

/** The flags that both sides have. A kernel too old for the tables is refused, not guessed at. */
export function negotiate(init: InitRequest): Negotiated {
  if (init.major < KERNEL_MAJOR || (init.major === KERNEL_MAJOR && init.minor < KERNEL_MINOR_MIN)) {
    throw new FsError('EPROTO', `the kernel speaks FUSE ${init.major}.${init.minor}, 7.${KERNEL_MINOR_MIN} is needed`)
  }
  const flags = WANTED_FLAGS.filter((name) => {
    const bit = INIT_BITS[name]
    return bit < 32 ? hasBit(init.flagsLow, bit) : hasBit(init.flagsHigh, bit - 32)
  })
  return { minor: Math.min(init.minor, KERNEL_MINOR), flags: new Set(flags), maxWriteBytes: MAX_WRITE_BYTES }
}

export function putInit(out: Buffer, at: number, init: InitRequest, agreed: Negotiated): number {
  out.fill(0, at, at + INIT_OUT.size)
  let low = 0
  let high = 0
  for (const name of agreed.flags) {
    const bit = INIT_BITS[name]
    if (bit < 32) low |= 1 << bit
    else high |= 1 << (bit - 32)
  }
  out.writeUInt32LE(KERNEL_MAJOR, at + INIT_OUT.at.major)
  out.writeUInt32LE(agreed.minor, at + INIT_OUT.at.minor)
  out.writeUInt32LE(Math.min(Math.max(init.maxReadahead, 4096), MAX_READAHEAD_BYTES), at + INIT_OUT.at.maxReadahead)
  out.writeUInt32LE(low >>> 0, at + INIT_OUT.at.flags)
  out.writeUInt16LE(MAX_BACKGROUND, at + INIT_OUT.at.maxBackground)
  out.writeUInt16LE(CONGESTION_THRESHOLD, at + INIT_OUT.at.congestionThreshold)
  out.writeUInt32LE(agreed.maxWriteBytes, at + INIT_OUT.at.maxWrite)
  out.writeUInt32LE(1, at + INIT_OUT.at.timeGran)
  out.writeUInt16LE(MAX_PAGES, at + INIT_OUT.at.maxPages)
  out.writeUInt32LE(high >>> 0, at + INIT_OUT.at.flags2)
  return INIT_OUT.size
}
