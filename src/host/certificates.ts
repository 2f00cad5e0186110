/*
 * The certificate authority of a cluster, and what it signs: one certificate for each node, with its addresses, its id and
 * its roles (base/identity.ts). A node makes its own key and sends a request that proves that it has it; private keys never
 * travel. The authority signs nodes only (path length 0), so a stolen node key cannot make others.
 *
 * Keys are ECDSA P-256, which every TLS 1.3 speaks. The authority lives for 20 years: replacing it means joining every node
 * again. A node's certificate lives for 90 days and is renewed long before; one that is taken back is on a list of
 * serial numbers until it has expired (tls-net.ts).
 */

// The package's decorators want it to be there first.
import 'reflect-metadata'
import { createHash, createPublicKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { FsError } from '../base/fault.ts'
import { type Identity, identityUris } from '../base/identity.ts'

cryptoProvider.set(webcrypto as never)

const KEY = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY_MS = 86_400_000
const AUTHORITY_MS = 20 * 365 * DAY_MS
export const CERTIFICATE_MS: number = 90 * DAY_MS
/** Clocks of nodes differ: a certificate counts from an hour before it was made. */
const BACKDATED_MS = 3_600_000
/** RFC 5280: at most 20 bytes, positive. */
const SERIAL_BYTES = 16

/** PEM texts; the key is a secret. */
export interface CertifiedKey {
  readonly certificate: string
  readonly key: string
}

const newSerial = (): string => {
  const bytes = randomBytes(SERIAL_BYTES)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes.toString('hex')
}

const pemOf = async (key: webcrypto.CryptoKey): Promise<string> => {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64')
  return `-----BEGIN PRIVATE KEY-----\n${der.replace(/.{1,64}/g, '$&\n')}-----END PRIVATE KEY-----\n`
}
const keyFrom = (pem: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64'), KEY, true, [
    'sign',
  ])

/** Both halves of a private key. */
async function keysFrom(pem: string): Promise<webcrypto.CryptoKeyPair> {
  const jwk = createPublicKey(pem).export({ format: 'jwk' })
  const publicKey = await webcrypto.subtle.importKey('jwk', jwk as never, KEY, true, ['verify'])
  return { privateKey: await keyFrom(pem), publicKey }
}

const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>

export async function makeAuthority(cluster: string): Promise<CertifiedKey> {
  const keys = await newKeys()
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=Holdfast ${cluster}`,
    ...{ keys: keys as never, signingAlgorithm: KEY, serialNumber: newSerial() },
    notBefore: new Date(Date.now() - BACKDATED_MS),
    notAfter: new Date(Date.now() + AUTHORITY_MS),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  })
  return { certificate: `${certificate.toString('pem')}\n`, key: await pemOf(keys.privateKey) }
}

/** What a node sends: the request, and the key that stays. `key`: the one it has, when its certificate is only to be renewed. */
export async function makeRequest(
  node: string,
  key?: string,
): Promise<{ readonly request: string; readonly key: string }> {
  const keys = key === undefined ? await newKeys() : await keysFrom(key)
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: `CN=${node}`,
    ...{ keys: keys as never, signingAlgorithm: KEY },
  })
  return { request: `${request.toString('pem')}\n`, key: await pemOf(keys.privateKey) }
}

/**
 * The certificate of a node, PEM. Of the request only the key is taken; what the certificate says comes from `identity` and
 * `addresses`. Throws FsError EINVAL for a request that is none, or does not prove that its key is there.
 */
export async function signRequest(
  authority: CertifiedKey,
  request: string,
  identity: Identity,
  addresses: readonly string[],
  { livesMs = CERTIFICATE_MS }: { livesMs?: number } = {},
): Promise<string> {
  let asked: Pkcs10CertificateRequest
  try {
    asked = new Pkcs10CertificateRequest(request)
    if (!(await asked.verify())) throw new Error('its signature is wrong')
  } catch (error) {
    throw new FsError('EINVAL', `the certificate request cannot be used: ${(error as Error).message}`, { cause: error })
  }
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${identity.node}`,
    issuer: new X509Certificate(authority.certificate).subject,
    ...{ publicKey: asked.publicKey, signingKey: (await keyFrom(authority.key)) as never },
    ...{ signingAlgorithm: KEY, serialNumber: newSerial() },
    notBefore: new Date(Date.now() - BACKDATED_MS),
    notAfter: new Date(Date.now() + livesMs),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([
        ...addresses.map((value) => ({ type: 'ip' as const, value })),
        ...identityUris(identity).map((value) => ({ type: 'url' as const, value })),
      ]),
    ],
  })
  return `${certificate.toString('pem')}\n`
}

/** SHA-256 of the certificate's public key (SPKI), 32 bytes: what a join token pins. */
export function pinOf(certificate: string): Buffer {
  const spki = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(spki).digest()
}

/** As the list of those taken back has it. */
export const serialOf = (certificate: string): string => new X509Certificate(certificate).serialNumber

/** Unix seconds after which it counts no longer. */
export const endOf = (certificate: string): number =>
  Math.floor(Date.parse(new X509Certificate(certificate).validTo) / 1000)

/** SHA-256, hex, of the public key in a request. Throws FsError EINVAL for what is none. */
export function hashOfRequest(request: string): string {
  try {
    return createHash('sha256')
      .update(Buffer.from(new Pkcs10CertificateRequest(request).publicKey.rawData))
      .digest('hex')
  } catch (error) {
    throw new FsError('EINVAL', `the certificate request cannot be used: ${(error as Error).message}`, { cause: error })
  }
}
