/* What tests of the mesh's registry say: a mesh, tokens, nodes that join, each by a small number. */

import { createHmac } from 'node:crypto'
import { bytesToProve } from '../../src/wire/mesh-proof.ts'
import type { Founding, Joining, TokenMaking } from '../../src/wire/mesh-shapes.ts'

export const meshNode = (n: number): string => n.toString(16).padStart(32, '0')
export const meshToken = (n: number): string => n.toString(16).padStart(16, '0')
export const meshKey = (n: number): string => Buffer.alloc(32, n).toString('base64')
export const meshHash = (n: number): string => n.toString(16).padStart(64, '0')

export const mesh: Founding = {
  id: '0123456789abcdef',
  prefix: '10.77.0.0/16',
  port: 51_820,
  authority: '-----BEGIN CERTIFICATE-----\n',
  hubs: ['hub.example:8443'],
  mapKey: meshKey(200),
}

/** Its key is the hash of its number. */
export const token = (n: number, expiresSec: number, more: Partial<TokenMaking> = {}): TokenMaking => ({
  tokenId: meshToken(n),
  key: meshHash(n),
  roles: ['chunkserver'],
  label: undefined,
  site: undefined,
  uses: 1,
  expiresSec,
  rejoin: undefined,
  ...more,
})

/** A node with its own key and request, all by one number. */
export const joining = (tokenNumber: number, n: number, more: Partial<Joining> = {}): Joining => ({
  tokenId: meshToken(tokenNumber),
  node: meshNode(n),
  name: `node${n}`,
  key: meshKey(n),
  request: meshHash(n),
  label: undefined,
  site: undefined,
  rack: undefined,
  ...more,
})

/** With the proof that whoever has the token's key makes in one TLS session. */
export function proved(asked: Joining, tokenKey: string, exporter: Buffer = Buffer.alloc(32, 7)) {
  const proof = createHmac('sha256', Buffer.from(tokenKey, 'hex'))
    .update(bytesToProve({ ...asked, exporter }))
    .digest()
  return { ...asked, exporter, proof }
}
