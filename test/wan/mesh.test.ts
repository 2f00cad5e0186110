/*
 * Machines become a mesh by one line each: real WireGuard between namespaces, the program as a person runs it, nothing prepared.
 */

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { StatusReport } from '../../src/wire/reports.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { describeOnBed } from './with-bed.ts'

describeOnBed('a mesh', () => {
  let bed: Bed
  let machines: Machines
  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 7, wireguard: false, sites: { fra: { nodes: 1 }, home: { nodes: 2 } } },
      links: { 'fra-home': { delayMs: 20 } },
    })
    machines = await Machines.on(bed)
  })
  afterAll(async () => {
    await machines?.close()
    await bed?.stop()
  })

  test('is founded by one command on the first machine', async () => {
    await machines.init('fra1')
    machines.start('fra1', 'mesh')
    machines.start('fra1', 'master')
    await eventually('the master answers over the mesh', 30_000, async () => {
      try {
        return await machines.json<StatusReport>('fra1', ['status'])
      } catch (error) {
        throw new Error(`${String(error)}\n${machines.said('fra1', 'mesh')}\n${machines.said('fra1', 'master')}`)
      }
    })
    const report = await eventually('the mesh is founded', 10_000, async () => {
      const told = await machines.meshStatus('fra1')
      return told.mapVersion > 0 ? told : undefined
    })
    expect(report).toMatchObject({ name: 'fra1', backend: 'userspace', peers: [] })
  })

  test('takes a machine in that then stores chunks, within ten seconds of the one line', async () => {
    const beganMs = performance.now()
    await machines.join('fra1', 'home1', { words: ['--disk', `${machines.dir('home1')}/disk =-64MiB`] })
    machines.start('home1', 'mesh')
    machines.start('home1', 'chunkserver')
    await eventually('the chunkserver is there', 30_000, async () => {
      try {
        const { nodes } = await machines.json<StatusReport>('fra1', ['status'])
        if (nodes.some(({ name, connected }) => name === 'home1' && connected)) return true
      } catch (error) {
        throw new Error(`${String(error)}`)
      }
      throw new Error(
        `${machines.said('home1', 'mesh')}\n${machines.said('home1', 'chunkserver')}\n${machines.said('fra1', 'mesh')}`,
      )
    })
    expect(performance.now() - beganMs).toBeLessThan(15_000)
  })
})
