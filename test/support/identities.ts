/* A cluster's authority for a test, and the directories of nodes that it signed. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CertifiedKey, makeAuthority, makeRequest, signRequest } from '../../src/host/certificates.ts'
import { IDENTITY_FILES } from '../../src/host/tls-net.ts'

export class Identities {
  readonly dir: string
  readonly cluster: string
  readonly authority: CertifiedKey

  private constructor(dir: string, cluster: string, authority: CertifiedKey) {
    this.dir = dir
    this.cluster = cluster
    this.authority = authority
  }

  static async make(cluster = 'c1'): Promise<Identities> {
    return new Identities(await mkdtemp(join(tmpdir(), 'holdfast-identity-')), cluster, await makeAuthority(cluster))
  }

  /** Of a node with these roles at these addresses; answers its directory. */
  async node(
    node: string,
    roles: readonly string[],
    addresses: readonly string[] = ['127.0.0.1'],
    options: { livesMs?: number } = {},
  ): Promise<string> {
    const { request, key } = await makeRequest(node)
    const identity = { cluster: this.cluster, node, roles }
    const certificate = await signRequest(this.authority, request, identity, addresses, options)
    const dir = join(this.dir, node)
    await mkdir(dir, { recursive: true })
    await writeFile(join(dir, IDENTITY_FILES.authority), this.authority.certificate)
    await writeFile(join(dir, IDENTITY_FILES.certificate), certificate)
    await writeFile(join(dir, IDENTITY_FILES.key), key, { mode: 0o600 })
    return dir
  }

  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true })
  }
}
