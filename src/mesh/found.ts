/*
 * The first node of a mesh: what `mesh init` has made on its disk becomes the registry of the master, once. The founder joins
 * as any node does, with a token that it makes for itself, so there is one way in and the same checks for all.
 *
 * Repeating it is harmless: the mesh is there, the node is known with its key, the certificate is on the list.
 */

import { createHash, createHmac, randomBytes, X509Certificate } from 'node:crypto'
import { errnoOf } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'
import { bytesToProve } from '../wire/mesh-proof.ts'
import type { NodeRecord } from './files.ts'
import type { Authority, Registrar } from './hub.ts'
import { tokenKey } from './keys.ts'

const AGAIN_MS = 1_000
/** Only for the moments between making and spending it. */
const TOKEN_SEC = 300

export interface Founder {
  readonly registrar: Registrar
  readonly authority: Authority
  /** WireGuard's. */
  readonly publicKey: string
  /** Of the founder itself, PEM. */
  readonly certificate: string
}

/** Resolves when the master knows the mesh and this node in it; waits for a master that is not there yet. */
export async function found(
  own: NodeRecord,
  founder: Founder,
  { clock, log, signal }: { clock: Clock; log: Log; signal: AbortSignal },
): Promise<void> {
  for (let told = false; !signal.aborted; told = true) {
    try {
      return await foundOnce(own, founder, clock)
    } catch (error) {
      if (signal.aborted) return
      const code = errnoOf(error)
      // What the master refuses it will refuse again.
      if (code === undefined || code === 'EEXIST' || code === 'EINVAL' || code === 'EPERM') throw error
      if (!told) log.warn({ error: (error as Error).message }, 'waiting for the master, to found the mesh there')
      await clock.sleep(AGAIN_MS, { signal }).catch(() => undefined)
    }
  }
}

async function foundOnce(own: NodeRecord, { registrar, authority, publicKey, certificate }: Founder, clock: Clock) {
  await registrar.call('meshFound', {
    ...{ id: own.meshId, prefix: own.prefix, port: own.port, authority: authority.certificate },
    ...{ hubs: own.joins ?? [], mapKey: own.mapKey },
  })
  const { registry } = await registrar.call('meshRegistry', { since: 0, waitMs: 0 })
  const known = registry?.members.find((member) => member.node === own.node)
  const x509 = new X509Certificate(certificate)
  const serial = {
    node: own.node,
    serial: x509.serialNumber.toLowerCase(),
    expiresSec: Math.floor(Date.parse(x509.validTo) / 1000),
  }
  if (known === undefined) {
    const secret = randomBytes(32)
    const tokenId = randomBytes(8).toString('hex')
    const key = tokenKey(secret)
    const expiresSec = clock.now().sec + TOKEN_SEC
    const place = { label: own.label, site: own.site }
    await registrar.call('meshTokenMake', {
      tokenId,
      key,
      roles: own.roles,
      ...place,
      uses: 1,
      expiresSec,
      rejoin: undefined,
    })
    const exporter = randomBytes(32)
    const request = createHash('sha256')
      .update(x509.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex')
    const proof = createHmac('sha256', Buffer.from(key, 'hex'))
      .update(bytesToProve({ exporter, key: publicKey, request, node: own.node }))
      .digest()
    const joined = await registrar.call('meshJoin', {
      ...{ tokenId, node: own.node, name: own.name, key: publicKey, request, exporter, proof },
      ...{ label: own.label, site: own.site, rack: own.rack },
    })
    if (joined.ip !== own.ip) throw new Error(`the founder was given ${joined.ip}, not ${own.ip}`)
  }
  await registrar.call('meshCertified', serial)
  if (known?.confirmedSec === undefined) await registrar.call('meshConfirm', serial)
}
