/*
 * Joining as a person does it, and as it goes wrong: tokens that do not count, a join that broke off, machines that are copies
 * of another, networks that overlap. At the end ten machines see each other.
 */

import { existsSync } from 'node:fs'
import { cp, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MeshToken } from '../../src/wire/mesh-shapes.ts'
import { Bed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { describeOnBed } from './with-bed.ts'

const NODES = Array.from({ length: 10 }, (_, i) => `home${i + 1}`)

describeOnBed('joining a mesh', () => {
  let bed: Bed
  let machines: Machines
  let network: string
  beforeAll(async () => {
    bed = await Bed.start({
      ...{ seed: 11, wireguard: false, sites: { fra: { nodes: 1 }, home: { nodes: 12 }, other: { nodes: 1 } } },
      link: { delayMs: 5 },
    })
    machines = await Machines.on(bed)
    await machines.found('fra1')
    network = (JSON.parse(await machines.file('fra1', 'mesh/node.json')) as { prefix: string }).prefix
  })
  afterAll(async () => {
    await machines?.close()
    await bed?.stop()
  })

  const refused = async (node: string, token: string, words: string[] = []) => {
    await mkdir(machines.dir(node), { recursive: true })
    const outcome = await machines.failure(node, machines.joinWords(node, words), { HOLDFAST_TOKEN: token })
    for (const file of ['mesh/node.json', 'mesh/node.crt', 'mesh/map.json', 'holdfast.toml'])
      expect(existsSync(join(machines.dir(node), file)), `${file} of ${node}`).toBe(false)
    return outcome
  }
  const used = async (tokenId: string): Promise<number> => {
    const tokens = await machines.json<MeshToken[]>('fra1', ['mesh', 'token', 'list'])
    const { uses, usesLeft } = tokens.find((token) => token.tokenId === tokenId)!
    return uses - usesLeft
  }

  test('what is no token, or not a whole one, is refused here: nothing is written, nobody is asked', async () => {
    const { token, tokenId } = await machines.token('fra1')
    for (const [text, sentence] of [
      ['hello', 'join token'],
      [token.slice(0, -3), 'join token'],
      [token.replace(/\.(.)/, (_, one: string) => `.${one === 'A' ? 'B' : 'A'}`), 'join token'],
    ] as const) {
      const { exit, said } = await refused('home12', text)
      expect(exit).toBe(64)
      expect(said).toContain(sentence)
      expect(said).not.toContain(token.slice(-30))
    }
    expect(existsSync(join(machines.dir('home12'), 'mesh'))).toBe(false)
    expect((await machines.failure('home12', machines.joinWords('home12'))).said).toContain(
      'no token: set HOLDFAST_TOKEN',
    )
    expect(await used(tokenId)).toBe(0)
  })

  test('a token that was revoked, one that is over, one that is spent and one of another mesh say so', async () => {
    const revoked = await machines.token('fra1')
    await machines.holdfast('fra1', ['mesh', 'token', 'revoke', revoked.tokenId])
    expect(await refused('home12', revoked.token)).toMatchObject({ exit: 77, said: expect.stringContaining('revoked') })

    const short = await machines.token('fra1', '--ttl', '1s')
    await sleep(2_000)
    expect(await refused('home12', short.token)).toMatchObject({ exit: 77, said: expect.stringContaining('expired') })

    const once = await machines.token('fra1')
    await machines.joinWith('home1', once.token)
    const spent = await refused('home12', once.token)
    expect(spent).toMatchObject({ exit: 77, said: expect.stringMatching(/spent|used/) })

    // Its hub is the first one's, its pin that of an authority which has nothing to do with it.
    const { token: foreign } = await otherMesh()
    const { exit, said } = await refused('home12', foreign)
    expect(said).toContain('not of the authority that the token pins')
    expect(exit).toBe(69)
  })

  /** As a token of a second mesh that names the first one's hub would be. */
  async function otherMesh(): Promise<{ token: string }> {
    const { encodeToken, parseToken } = await import('../../src/mesh/core/token.ts')
    const { token } = await machines.token('fra1')
    const parsed = parseToken(token)
    if (!('ok' in parsed)) throw new Error(parsed.detail)
    const encoded = encodeToken({ ...parsed.ok, meshId: 'f'.repeat(16), pin: Buffer.alloc(32, 7) })
    if (!('ok' in encoded)) throw new Error(encoded.detail)
    return { token: encoded.ok }
  }

  test('a hub that is not there is named, with what to look at', async () => {
    const { token } = await machines.token('fra1')
    await bed.run('fra1', 'sh', [
      '-c',
      'nft add table ip t; nft add chain ip t i "{ type filter hook input priority 0; }"; nft add rule ip t i tcp dport 9463 reject with tcp reset',
    ])
    try {
      const { exit, said } = await refused('home12', token)
      expect(exit).toBe(69)
      expect(said).toContain('nobody listens there')
    } finally {
      await bed.run('fra1', 'nft', ['delete', 'table', 'ip', 't'])
    }
  })

  test('a network that overlaps a route of the machine is refused before it is a member', async () => {
    const { token } = await machines.token('fra1')
    const narrower = network.replace('.0.0/16', '.3.0/24')
    await bed.run('home2', 'ip', ['route', 'add', narrower, 'via', '198.18.2.254'])
    try {
      const { exit, said } = await refused('home2', token)
      expect(exit).toBe(73)
      expect(said).toContain(`${network} overlaps the route to ${narrower}`)
    } finally {
      await bed.run('home2', 'ip', ['route', 'delete', narrower])
    }
    // The same token lets the same node in when the route is gone: it was spent for it.
    await machines.joinWith('home2', token)
  })

  test('a join that broke off is repeated as the same node with the same token; a whole one is not repeated', async () => {
    const { token, tokenId } = await machines.token('fra1')
    await machines.joinWith('home3', token)
    const first = JSON.parse(await machines.file('home3', 'mesh/node.json')) as { node: string; ip: string }
    for (const file of ['mesh/node.json', 'mesh/node.crt', 'holdfast.toml']) await rm(join(machines.dir('home3'), file))
    await machines.joinWith('home3', token)
    expect(JSON.parse(await machines.file('home3', 'mesh/node.json'))).toMatchObject({ node: first.node, ip: first.ip })
    expect(await used(tokenId)).toBe(1)
    const again = await machines.failure('home3', machines.joinWords('home3'), { HOLDFAST_TOKEN: token })
    expect(again.exit).toBe(73)
    expect(again.said).toContain(`this machine is home3 (${first.ip})`)
    expect(again.said).toContain('holdfast mesh leave comes first')
  })

  test('a disk that was cloned is refused where it is used: the agent, and a join with the id or the key of another', async () => {
    await cp(machines.dir('home3'), machines.dir('home11'), { recursive: true })
    const config = (await readFile(machines.config('home11'), 'utf8')).replaceAll(
      machines.dir('home3'),
      machines.dir('home11'),
    )
    await bed.run('home11', 'sh', ['-c', `cat > ${machines.config('home11')} <<'END'\n${config}\nEND`])
    const agent = await machines.failure('home11', ['run', 'mesh', '--config', machines.config('home11')])
    expect(agent.exit).toBe(77)
    expect(agent.said).toContain('this disk is a clone of home3. Run holdfast mesh join --as-new')

    const { token, tokenId } = await machines.token('fra1')
    for (const file of ['mesh/node.json', 'mesh/node.crt', 'mesh/map.json', 'holdfast.toml'])
      await rm(join(machines.dir('home11'), file))
    // The id with keys of its own.
    await rm(join(machines.dir('home11'), 'wireguard/key'))
    await rm(join(machines.dir('home11'), 'mesh/node.key'))
    const sameId = await refused('home11', token)
    expect(sameId.exit).toBe(77)
    expect(sameId.said).toContain('is home3 (10.')
    expect(sameId.said).toContain('holdfast mesh join --as-new')
    // The key with an id of its own.
    await cp(join(machines.dir('home3'), 'wireguard/key'), join(machines.dir('home11'), 'wireguard/key'))
    await rm(join(machines.dir('home11'), 'mesh/node-id'))
    const sameKey = await refused('home11', token)
    expect(sameKey.exit).toBe(77)
    expect(sameKey.said).toContain('holdfast mesh join --as-new')
    expect(await used(tokenId)).toBe(0)
    // What the sentence says helps.
    await machines.joinWith('home11', token, ['--as-new'])
    const ids = await Promise.all(['home3', 'home11'].map((node) => machines.file(node, 'mesh/node-id')))
    expect(ids[0]).not.toBe(ids[1])
  })

  test('ten machines that join one after the other see each other', async () => {
    const { token } = await machines.token('fra1', '--uses', '20')
    for (const node of NODES) {
      if (!existsSync(join(machines.dir(node), 'mesh/node.json'))) await machines.joinWith(node, token)
      machines.start(node, 'mesh')
    }
    await eventually('everybody hears everybody', 60_000, async () => {
      for (const node of ['fra1', ...NODES]) {
        const { peers } = await machines.meshStatus(node)
        const heard = peers.filter(({ handshakeAgeS, rttMs }) => handshakeAgeS !== undefined && rttMs !== undefined)
        const missing = ['fra1', ...NODES].filter((one) => one !== node && !heard.some(({ name }) => name === one))
        if (missing.length > 0)
          throw new Error(`${node} does not hear ${missing.join(', ')}\n${machines.said(node, 'mesh')}`)
      }
      return true
    })
  }, 120_000)
})
