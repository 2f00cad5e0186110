/*
 * The redo log of the state store: what transactions changed, appended before they count, until LMDB has it too.
 *
 * A file is a row of records: length, CRC, sequence number, then per key its length, the value's length and the bytes.
 * A write puts a record into the page cache, where it outlives the process; sync() makes it outlive the machine. Reading
 * stops at the first record that is torn, damaged or out of sequence: what comes after it was never acknowledged.
 *
 * Files are numbered. A full one is closed to new records when LMDB begins to take over what it holds, and deleted when
 * LMDB has flushed that.
 */

import {
  closeSync,
  fdatasync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { crc32 } from '../base/checksum.ts'

const fdatasyncAsync = promisify(fdatasync)

/** A value, or null for a key that is gone. */
export type Change = readonly [key: string, value: Uint8Array | null]

/** Length and CRC (4 bytes each), sequence number (8). */
const HEADER_BYTES = 16
const CHANGE_HEADER_BYTES = 6
const GONE = 0xffff_ffff
const NAME = /^redo-(\d{10})\.log$/

interface LogFile {
  readonly number: number
  readonly path: string
  readonly fd: number
  bytes: number
  syncedBytes: number
}

export class RedoLog {
  readonly #dir: string
  /** Oldest first; the last one is written. */
  readonly #files: LogFile[] = []
  #nextNumber: number
  #nextSeq: number
  #scratch = Buffer.allocUnsafe(64 * 1024)
  #directorySynced = false

  /** `files` and `nextSeq` are what readRedo found. */
  constructor(dir: string, old: readonly number[], nextSeq: number) {
    this.#dir = dir
    this.#nextNumber = (old.at(-1) ?? 0) + 1
    this.#nextSeq = nextSeq
    for (const number of old) {
      const path = pathOf(dir, number)
      this.#files.push({ number, path, fd: openSync(path, 'r+'), bytes: 0, syncedBytes: -1 })
    }
    this.rotate()
  }

  /** The sequence number of the last record. */
  get seq(): number {
    return this.#nextSeq - 1
  }
  /** Bytes in the file that is written. */
  get bytes(): number {
    return this.#files.at(-1)!.bytes
  }

  /** Appends one record. When the disk refuses, nothing of it is left and the error is thrown. */
  append(changes: Iterable<Change>): void {
    const length = this.#encode(changes)
    const file = this.#files.at(-1)!
    let written = 0
    try {
      while (written < length)
        written += writeSync(file.fd, this.#scratch, written, length - written, file.bytes + written)
    } catch (error) {
      // Half a record would end the reading there, with later records behind it.
      ftruncateSync(file.fd, file.bytes)
      throw error
    }
    file.bytes += length
    this.#nextSeq += 1
  }

  /** Further records go to a new file, or to the last one when it has none yet. Answers a word for drop(). */
  rotate(): number {
    const last = this.#files.at(-1)
    // Asked for again and again while LMDB cannot take over; what an earlier process left is of unknown length.
    if (last !== undefined && last.number === this.#nextNumber - 1 && last.bytes === 0 && last.syncedBytes === 0)
      return last.number
    const number = this.#nextNumber
    const path = pathOf(this.#dir, number)
    const fd = openSync(path, 'w+')
    this.#nextNumber += 1
    this.#files.push({ number, path, fd, bytes: 0, syncedBytes: 0 })
    this.#directorySynced = false
    return number
  }

  /** LMDB has flushed everything in files before this one. */
  drop(before: number): void {
    while (this.#files.length > 1 && this.#files[0]!.number < before) {
      const { fd, path } = this.#files.shift()!
      closeSync(fd)
      unlinkSync(path)
    }
  }

  /** Everything appended before the call is on disk. */
  async sync(): Promise<void> {
    if (!this.#directorySynced) {
      const fd = openSync(this.#dir, 'r')
      try {
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      this.#directorySynced = true
    }
    // Oldest first, so that a later record is never on disk without an earlier one.
    for (const file of [...this.#files]) {
      const { bytes } = file
      if (file.syncedBytes >= bytes) continue
      try {
        await fdatasyncAsync(file.fd)
      } catch (error) {
        // Dropped meanwhile: LMDB has flushed what it held.
        if (!this.#files.includes(file)) continue
        throw error
      }
      file.syncedBytes = bytes
    }
  }

  totalBytes(): number {
    return this.#files.reduce((sum, file) => sum + file.bytes, 0)
  }
  close(): void {
    for (const { fd } of this.#files) closeSync(fd)
    this.#files.length = 0
  }

  #encode(changes: Iterable<Change>): number {
    let at = HEADER_BYTES
    for (const [key, value] of changes) {
      const size = CHANGE_HEADER_BYTES + key.length + (value?.length ?? 0)
      if (at + size > this.#scratch.length) this.#grow(at + size)
      const scratch = this.#scratch
      scratch.writeUInt16LE(key.length, at)
      scratch.writeUInt32LE(value === null ? GONE : value.length, at + 2)
      at += CHANGE_HEADER_BYTES
      for (let i = 0; i < key.length; i++) scratch[at + i] = key.charCodeAt(i)
      at += key.length
      if (value !== null) {
        scratch.set(value, at)
        at += value.length
      }
    }
    this.#scratch.writeUInt32LE(at, 0)
    this.#scratch.writeBigUInt64LE(BigInt(this.#nextSeq), 8)
    this.#scratch.writeUInt32LE(crc32(this.#scratch.subarray(8, at)), 4)
    return at
  }
  #grow(needed: number): void {
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#scratch.length * 2))
    this.#scratch.copy(larger)
    this.#scratch = larger
  }
}

const pathOf = (dir: string, number: number): string => join(dir, `redo-${String(number).padStart(10, '0')}.log`)

/** Hands over every change after record `afterSeq`, in order. Answers the files there are and the next number. */
export function readRedo(
  dir: string,
  afterSeq: number,
  take: (key: string, value: Uint8Array | null) => void,
): { files: number[]; nextSeq: number } {
  const files = readdirSync(dir)
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
  let nextSeq = afterSeq + 1
  for (const number of files) {
    const data = readFileSync(pathOf(dir, number))
    for (let at = 0; at + HEADER_BYTES <= data.length; ) {
      const length = data.readUInt32LE(at)
      if (length < HEADER_BYTES || at + length > data.length) break
      if (crc32(data.subarray(at + 8, at + length)) !== data.readUInt32LE(at + 4)) break
      const seq = Number(data.readBigUInt64LE(at + 8))
      if (seq > nextSeq) return { files, nextSeq }
      if (seq === nextSeq) {
        takeRecord(data.subarray(at + HEADER_BYTES, at + length), take)
        nextSeq += 1
      }
      at += length
    }
  }
  return { files, nextSeq }
}

function takeRecord(record: Buffer, take: (key: string, value: Uint8Array | null) => void): void {
  for (let at = 0; at < record.length; ) {
    const keyBytes = record.readUInt16LE(at)
    const valueBytes = record.readUInt32LE(at + 2)
    at += CHANGE_HEADER_BYTES
    const key = record.toString('latin1', at, at + keyBytes)
    at += keyBytes
    if (valueBytes === GONE) take(key, null)
    else {
      take(key, record.subarray(at, at + valueBytes))
      at += valueBytes
    }
  }
}
