/*
 * WireGuard's keys, made on the node that uses them, and files for secrets. A key is handed to other programs by the name of
 * its file only: arguments are seen by every user of a machine, and wg(8) cannot open a pipe that Node gives it as
 * standard input.
 */

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { FsError } from '../base/fault.ts'
import { isKey32 } from '../wire/mesh-shapes.ts'

/** The last 32 bytes of both DER forms are the raw key (RFC 8410). */
const RAW_BYTES = 32
/** What stands before them in PKCS #8. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex')

export interface WireGuardKeys {
  readonly privateKey: string
  readonly publicKey: string
}

export function newKeys(): WireGuardKeys {
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(-RAW_BYTES).toString('base64'),
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(-RAW_BYTES).toString('base64'),
  }
}

export function publicKeyOf(privateKey: string): string {
  const raw = Buffer.from(privateKey, 'base64')
  if (raw.length !== RAW_BYTES) throw new FsError('EINVAL', 'a WireGuard key has 32 bytes')
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, raw]), format: 'der', type: 'pkcs8' })
  return createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-RAW_BYTES).toString('base64')
}

/** The key of a file and its public half. A message names the file, never what stands in it. */
export async function readKeys(path: string): Promise<WireGuardKeys> {
  const privateKey = (await readFile(path, 'utf8')).trim()
  if (!isKey32(privateKey)) throw new FsError('EINVAL', `${path}: expected a WireGuard key of 44 characters`)
  return { privateKey, publicKey: publicKeyOf(privateKey) }
}

/**
 * Writes what nobody else may read: a new file of mode 0600 that takes the old one's place when it is on the disk. There is no
 * moment in which it could be read by others, or in which a crash leaves half of it.
 */
export async function writeSecret(path: string, content: string): Promise<void> {
  const fresh = `${path}.new`
  await rm(fresh, { force: true })
  const file = await open(fresh, 'wx', 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(fresh, path)
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** What both ends of a join derive of a token's secret: it proves that one has it, and is what the master keeps. Hex. */
export const tokenKey = (secret: Uint8Array): string =>
  createHash('sha256').update('holdfast join token\n').update(secret).digest('hex')
