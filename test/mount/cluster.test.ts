/*
 * The mount suite over a real cluster of processes on this machine, through both doors.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe } from 'vitest'
import { fuseNativeEnvironment } from '../../src/fuse/fuse-native-door.ts'
import { skippedFeatures } from '../../src/fuse/fuse-native-limits.ts'
import { type MountFeature, mountConformance } from '../conformance/mount.ts'
import { LocalCluster } from '../support/local-cluster.ts'
import { canMount } from '../support/mount-child.ts'

describe.skipIf(!canMount())('a cluster of processes', () => {
  mountConformance('through /dev/fuse', async () => {
    const cluster = await LocalCluster.start({ mounts: 1 })
    return { path: cluster.path(), stop: () => cluster.stop() }
  })
})

describe.skipIf(!canMount() || process.arch !== 'x64')('a cluster of processes behind libfuse', () => {
  let libraries: string | undefined
  const before = process.env.LD_LIBRARY_PATH
  afterAll(async () => {
    if (before === undefined) delete process.env.LD_LIBRARY_PATH
    else process.env.LD_LIBRARY_PATH = before
    if (libraries !== undefined) await rm(libraries, { recursive: true, force: true })
  })

  mountConformance('through fuse-native', async () => {
    libraries = await mkdtemp(join(tmpdir(), 'holdfast-lib-'))
    // The roles inherit it: only the mount looks for libfuse.
    Object.assign(process.env, await fuseNativeEnvironment(libraries))
    const cluster = await LocalCluster.start({ mounts: 1, mount: { door: 'fuse-native' } })
    return {
      path: cluster.path(),
      stop: () => cluster.stop(),
      skip: skippedFeatures() as ReadonlyMap<MountFeature, string>,
    }
  })
})
