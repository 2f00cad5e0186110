/* The Ed25519 keys with which hubs sign peer maps. A public key is told as the base64 of its 32 bytes. */

import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { FsError } from '../base/fault.ts'
import type { SignedMap } from '../wire/mesh-shapes.ts'
import { bytesToSign, isNewer, type PeerMap, parseMap } from './core/peer-map.ts'

/** What stands before the 32 bytes in SPKI (RFC 8410). */
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex')

export function newMapKey(): { readonly secret: string; readonly publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  return {
    secret: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicKey: spki.subarray(SPKI_HEAD.length).toString('base64'),
  }
}

export const signMap = (secret: string, text: string): SignedMap => ({
  text,
  signature: sign(null, bytesToSign(text), createPrivateKey(secret)).toString('base64'),
})

/** The map, once it is certain that a hub of this mesh has made it. Throws FsError EPROTO that says what is wrong. */
export function readMap(mapKey: string, meshId: string, { text, signature }: SignedMap): PeerMap {
  const key = createPublicKey({
    key: Buffer.concat([SPKI_HEAD, Buffer.from(mapKey, 'base64')]),
    format: 'der',
    type: 'spki',
  })
  if (!verify(null, bytesToSign(text), key, Buffer.from(signature, 'base64')))
    throw new FsError('EPROTO', 'peer map: its signature is not of a hub of this mesh')
  const parsed = parseMap(text)
  if (!('ok' in parsed)) throw new FsError(parsed.errno, parsed.detail)
  if (parsed.ok.meshId !== meshId) throw new FsError('EPROTO', `peer map: it is of mesh ${parsed.ok.meshId}`)
  return parsed.ok
}

/** The newest map that is known, and who waits for a newer one. */
export class Newest {
  #held: { readonly map: PeerMap; readonly signed: SignedMap } | undefined
  readonly #waiters = new Set<() => void>()

  get map(): PeerMap | undefined {
    return this.#held?.map
  }
  get signed(): SignedMap | undefined {
    return this.#held?.signed
  }

  /** Whether it took the place of what was held. */
  offer(map: PeerMap, signed: SignedMap): boolean {
    if (!isNewer(map, this.#held?.map)) return false
    this.#held = { map, signed }
    for (const wake of [...this.#waiters]) wake()
    return true
  }

  /** Calls back once, when there is a newer one; the returned function forgets it. */
  onNewer(callback: () => void): () => void {
    const wake = (): void => {
      this.#waiters.delete(wake)
      callback()
    }
    this.#waiters.add(wake)
    return () => this.#waiters.delete(wake)
  }
}
