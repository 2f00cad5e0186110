/*
 * The second door over the reference model: the same conformance suite, with what its API cannot do shown as skipped.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe } from 'vitest'
import { fuseNativeEnvironment } from '../../src/fuse/fuse-native-door.ts'
import { skippedFeatures } from '../../src/fuse/fuse-native-limits.ts'
import { type MountFeature, mountConformance } from '../conformance/mount.ts'
import { canMount, serveMemory } from '../support/mount-child.ts'

const usable = canMount() && process.platform === 'linux' && process.arch === 'x64'

describe.skipIf(!usable)('the fuse-native door', () => {
  let libraries: string | undefined
  afterAll(async () => {
    if (libraries !== undefined) await rm(libraries, { recursive: true, force: true })
  })

  mountConformance('memory through fuse-native', async () => {
    libraries = await mkdtemp(join(tmpdir(), 'holdfast-lib-'))
    const env = await fuseNativeEnvironment(libraries)
    const mount = await serveMemory({ how: 'fuse-native', env })
    return { ...mount, skip: skippedFeatures() as ReadonlyMap<MountFeature, string> }
  })
})
