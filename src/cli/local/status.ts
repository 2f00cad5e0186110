/*
 * `local status`: what the directory and the process table say, without asking any role, so that it answers also while
 * the cluster hangs. The JSON form is documented in docs/local-status.md and only grows.
 */

import { resolve } from 'node:path'
import { FsError } from '../../base/fault.ts'
import { mountsAt } from '../../fuse/mounts.ts'
import { isAlive, type Phase, paths, type RoleRecord, type RoleState, readClusterFile, readStateFile } from './state.ts'

export interface RoleStatus {
  /** null when it does not run. */
  readonly pid: number | null
  readonly state: RoleState
  readonly restarts: number
  readonly uptimeSeconds: number
  readonly lastExit: string
  readonly log: string
}
export interface LocalStatus {
  readonly dir: string
  readonly cluster: string
  /** The supervisor lives and every role was ready once. */
  readonly running: boolean
  /** `orphaned`: the supervisor was killed and left roles behind; the next start or stop ends them. */
  readonly phase: Phase | 'stopped' | 'orphaned'
  readonly mount: string
  readonly mounted: boolean
  readonly copies: number
  readonly door: string
  readonly supervisor: { readonly pid: number | null; readonly uptimeSeconds: number }
  readonly master: RoleStatus & { readonly port: number; readonly dataDir: string }
  readonly chunkservers: readonly (RoleStatus & {
    readonly name: string
    readonly port: number
    readonly dir: string
  })[]
  readonly mountRole: RoleStatus
}

export async function localStatus(dirGiven: string): Promise<LocalStatus> {
  const dir = resolve(dirGiven)
  const cluster = await readClusterFile(dir)
  if (cluster === undefined)
    throw new FsError('ENOENT', `${dir} holds no local cluster (holdfast local start makes one)`)
  const state = await readStateFile(dir)
  const supervised = state !== undefined && (await isAlive(state.supervisor))
  const where = paths(dir)
  let living = 0
  const role = async (name: string): Promise<RoleStatus> => {
    const record: RoleRecord | undefined = state?.roles[name]
    const alive = await isAlive(record?.process)
    if (alive) living++
    return {
      pid: alive ? record!.process!.pid : null,
      state: record === undefined || (!alive && !supervised) ? 'stopped' : record.state,
      restarts: record?.restarts ?? 0,
      uptimeSeconds: alive ? secondsSince(record!.sinceMs) : 0,
      lastExit: record?.lastExit ?? '',
      log: where.log(name),
    }
  }
  const master = { ...(await role('master')), port: cluster.master.port, dataDir: where.data('master') }
  const chunkservers = []
  for (const { name, port } of cluster.chunkservers)
    chunkservers.push({ name, ...(await role(name)), port, dir: where.data(name) })
  const mountRole = await role('mount')
  const top = (await mountsAt(cluster.mount)).at(-1)
  const phase = supervised ? state.phase : living > 0 ? 'orphaned' : 'stopped'
  return {
    dir,
    cluster: cluster.cluster,
    running: phase === 'running',
    phase,
    mount: cluster.mount,
    mounted: top?.type.startsWith('fuse') ?? false,
    copies: cluster.copies,
    door: cluster.door,
    supervisor: {
      pid: supervised ? state.supervisor.pid : null,
      uptimeSeconds: supervised ? secondsSince(state.sinceMs) : 0,
    },
    master,
    chunkservers,
    mountRole,
  }
}

const secondsSince = (ms: number): number => Math.max(0, Math.round((Date.now() - ms) / 1000))
