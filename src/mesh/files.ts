/*
 * What a node of the mesh keeps in its directory (mode 0700): who it is, its certificate, the last map, and on a hub the keys of
 * the mesh. Every file is written whole or not at all, and secrets never have another mode than 0600.
 *
 *   node.json      who this node is in which mesh
 *   node.crt, node.key, ca.crt, denied    its identity (host/tls-net.ts reads them, and sees when they change)
 *   map.json       the last signed map: the mesh works with every hub gone
 *   ca.key, map.key    on hubs only: the authority, and what signs maps
 *
 * The WireGuard key lies below /etc/wireguard, where wg(8) may read it everywhere.
 */

import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FsError } from '../base/fault.ts'
import { MACHINE_CARDS_MAX } from '../base/limits.ts'
import type { Role } from '../base/mesh-roles.ts'
import { type Infer, list, optional, struct, text, uint } from '../base/schema.ts'
import { memberId, meshId, meshName, meshWord, nodeRoles, type SignedMap, signedMap } from '../wire/mesh-shapes.ts'
import { writeSecret } from './keys.ts'

const WORD_MAX = 64

/** `node.json`, by name, so that a person can read it. */
const nodeFields = {
  node: memberId,
  name: meshName,
  cluster: text(WORD_MAX),
  meshId,
  ip: text(15),
  prefix: text(18),
  interface: text(15),
  /** WireGuard's UDP port. */
  port: uint(65_535),
  roles: nodeRoles,
  label: optional(meshWord),
  site: optional(meshWord),
  rack: optional(meshWord),
  /** Ed25519, base64 of the 32 bytes: who may sign maps. */
  mapKey: text(44),
  /** Where agents listen in the mesh. */
  agentPort: uint(65_535),
  masterHost: text(WORD_MAX),
  masterPort: uint(65_535),
  /** On a hub: where it takes joins, HOST:PORT as nodes reach it. */
  joins: optional(list(text(300), 4)),
  /** Which machine this is, to see that the disk was cloned (host/machine.ts). */
  machine: text(WORD_MAX),
  cards: list(text(WORD_MAX), MACHINE_CARDS_MAX),
}
const node = struct(nodeFields)
export type NodeRecord = Infer<typeof node>

export class MeshDir {
  readonly dir: string

  constructor(dir: string) {
    this.dir = dir
  }

  path(file: string): string {
    return join(this.dir, file)
  }

  async make(): Promise<void> {
    await mkdir(this.dir, { recursive: true, mode: 0o700 })
  }

  /** Undefined: this machine is in no mesh. Throws FsError EINVAL naming file and field. */
  async node(): Promise<NodeRecord | undefined> {
    const found = await this.read('node.json')
    if (found === undefined) return undefined
    const path = this.path('node.json')
    let raw: Record<string, unknown>
    try {
      raw = JSON.parse(found) as Record<string, unknown>
    } catch (error) {
      throw new FsError('EINVAL', `${path}: it is not JSON: ${(error as Error).message}`, { cause: error })
    }
    const values = Object.entries(nodeFields).map(([field, schema]) => [
      field,
      (schema as { decode(raw: unknown, path: string): unknown }).decode(
        fromJson(field, raw[field]),
        `${path}: ${field}`,
      ),
    ])
    return Object.fromEntries(values) as NodeRecord
  }

  async writeNode(record: NodeRecord): Promise<void> {
    await this.write('node.json', `${JSON.stringify(record, null, 2)}\n`)
  }

  async map(): Promise<SignedMap | undefined> {
    const found = await this.read('map.json')
    return found === undefined ? undefined : signedMap.decode(JSON.parse(found), this.path('map.json'))
  }

  async writeMap(map: SignedMap): Promise<void> {
    await this.write('map.json', JSON.stringify(signedMap.encode(map)))
  }

  async read(file: string): Promise<string | undefined> {
    try {
      return await readFile(this.path(file), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  async must(file: string): Promise<string> {
    const found = await this.read(file)
    if (found === undefined) throw new FsError('ENOENT', `${this.path(file)} is missing`)
    return found
  }

  write(file: string, content: string): Promise<void> {
    return writeSecret(this.path(file), content)
  }
}

/** Roles stand by their names in the file. */
function fromJson(field: string, value: unknown): unknown {
  if (field !== 'roles' || !Array.isArray(value)) return value
  return nodeRoles.encode(value as Role[])
}
