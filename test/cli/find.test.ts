import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FindWorld, findCluster, mountOf } from '../../src/cli/find.ts'
import { type ClusterFile, writeClusterFile } from '../../src/cli/local/state.ts'
import { parseMountInfo } from '../../src/fuse/mounts.ts'

let base: string
beforeAll(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'holdfast-find-')))
  for (const [name, port] of [
    ['a', 1001],
    ['b', 1002],
  ] as const)
    await writeClusterFile(join(base, name), {
      format: 1,
      cluster: `id-${name}`,
      mount: join(base, `mnt-${name}`),
      copies: 2,
      door: 'fuse',
      master: { port },
      chunkservers: [],
    } satisfies ClusterFile)
  await mkdir(join(base, 'mnt', 'deep'), { recursive: true })
  await symlink(join(base, 'mnt', 'deep'), join(base, 'link'))
  await writeFile(join(base, 'node.toml'), '[cluster]\nid = "n"\n[mount]\nmasterHost = "10.0.0.1"\nmasterPort = 7\n')
})
afterAll(async () => {
  await rm(base, { recursive: true })
})

const mountinfo = (extra = ''): string =>
  `22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:54 / ${base}/mnt rw - fuse.holdfast holdfast://127.0.0.1:1003 rw\n${extra}`
const world = (changes: Partial<FindWorld> = {}): FindWorld => ({
  env: {},
  nodeConfigFile: join(base, 'missing.toml'),
  mounts: async () => parseMountInfo(mountinfo()),
  ...changes,
})

describe('the cluster that a command means', () => {
  it('is the one of --dir before anything else', async () => {
    const found = await findCluster(
      { dir: join(base, 'a'), path: join(base, 'mnt', 'x') },
      world({ env: { HOLDFAST_DIR: join(base, 'b') } }),
    )
    expect(found).toMatchObject({ port: 1001, cluster: 'id-a', dir: join(base, 'a') })
  })
  it('is then the one of HOLDFAST_DIR', async () => {
    const env = { HOLDFAST_DIR: join(base, 'b') }
    expect(await findCluster({ dir: undefined, path: join(base, 'mnt', 'x') }, world({ env }))).toMatchObject({
      port: 1002,
    })
  })
  it('is then the one whose mount the path lies in, also through a symlink and for a name that is gone', async () => {
    for (const path of [join(base, 'mnt'), join(base, 'mnt', 'deep', 'gone'), join(base, 'link', 'x')])
      expect(await findCluster({ dir: undefined, path }, world())).toMatchObject({ host: '127.0.0.1', port: 1003 })
  })
  it("is then the node's own", async () => {
    const nodeConfigFile = join(base, 'node.toml')
    expect(await findCluster({ dir: undefined, path: '/etc/passwd' }, world({ nodeConfigFile }))).toMatchObject({
      host: '10.0.0.1',
      port: 7,
      cluster: 'n',
    })
  })
  it('is never another one when the named directory holds none', async () => {
    const nodeConfigFile = join(base, 'node.toml')
    await expect(findCluster({ dir: join(base, 'nothing') }, world({ nodeConfigFile }))).rejects.toMatchObject({
      code: 'ENOENT',
    })
    await expect(
      findCluster({ dir: undefined }, world({ nodeConfigFile, env: { HOLDFAST_DIR: base } })),
    ).rejects.toThrow('HOLDFAST_DIR')
  })
  it('is not guessed: the error names every way', async () => {
    await expect(findCluster({ dir: undefined, path: '/etc/passwd' }, world())).rejects.toThrow(
      /--dir DIR.*HOLDFAST_DIR.*mount.*missing\.toml/,
    )
  })
})

describe('the mount a path lies in', () => {
  it('is the innermost one, and nothing when that is not ours', () => {
    const mounts = parseMountInfo(mountinfo(`41 40 0:55 / ${base}/mnt/deep rw - tmpfs tmpfs rw\n`))
    expect(mountOf(join(base, 'mnt', 'a'), mounts)?.source).toBe('holdfast://127.0.0.1:1003')
    expect(mountOf(join(base, 'mnt', 'deep', 'a'), mounts)).toBeUndefined()
    expect(mountOf(join(base, 'mnt-other'), mounts)).toBeUndefined()
  })
})
