import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { loadConfig, nearest, parseConfig } from '../../src/config/load.ts'
import { mountSource, parseMountSource } from '../../src/config/mount-source.ts'
import { sections } from '../../src/config/tables.ts'
import { configToml } from '../../src/config/write.ts'

const refusal = (run: () => unknown): FsError => {
  try {
    run()
  } catch (error) {
    if (error instanceof FsError) return error
    throw error
  }
  throw new Error('nothing was refused')
}
const parse = (toml: string) => parseConfig('master', toml, '/etc/holdfast/master.toml')

describe('a configuration file', () => {
  it('fills in defaults and makes paths absolute from its own directory', () => {
    const config = parse('[master]\ndataDir = "data"\n')
    expect(config.dataDir).toBe('/etc/holdfast/data')
    expect(config.sessionTimeoutMs).toBe(30_000)
    expect(config.cluster.id).toBe('')
    expect(config.log).toEqual({ level: 'info', file: '' })
  })

  it('takes durations and sizes as people write them', () => {
    const config = parseConfig(
      'mount',
      '[mount]\nmountpoint = "/mnt"\nonDisconnectMs = "10 min"\ncacheBytes = "128 MiB"\n',
      'x.toml',
    )
    expect(config.onDisconnectMs).toBe(600_000)
    expect(config.cacheBytes).toBe(128 * 1024 * 1024)
  })

  it('refuses an unknown key with file, line and the nearest known key', () => {
    const error = refusal(() => parse('[master]\ndataDir = "/d"\nlistenprot = 5\n'))
    expect(error.code).toBe('EINVAL')
    expect(error.message).toContain('/etc/holdfast/master.toml:3')
    expect(error.message).toContain('unknown key "listenprot" in [master]; did you mean "listenPort"?')
  })

  it('lists the known keys when none is near', () => {
    expect(refusal(() => parse('[master]\ndataDir = "/d"\nzebra = 5\n')).message).toContain('known are: dataDir')
  })

  it('refuses an unknown section and a key outside of any', () => {
    expect(refusal(() => parse('[mastre]\n')).message).toContain('unknown section [mastre]; did you mean [master]?')
    expect(refusal(() => parse('level = "info"\n')).message).toContain('key "level" outside a section')
    expect(refusal(() => parse('log = 1\n')).message).toContain('must be a section')
  })

  it('names line and expectation of a wrong type, a value out of range and a missing key', () => {
    expect(refusal(() => parse('[master]\n\ndataDir = 7\n')).message).toContain(
      '/etc/holdfast/master.toml:3: "dataDir" must be a path in quotes',
    )
    expect(refusal(() => parse('[master]\ndataDir = "/d"\ncopies = 0\n')).message).toContain('1 … 64')
    expect(refusal(() => parse('[master]\ncopies = 1\n')).message).toContain('[master] needs the key "dataDir"')
    expect(refusal(() => parse('[log]\nlevel = "info"\n')).message).toContain('section [master] is missing')
    expect(refusal(() => parse('[log]\nlevel = "loud"\n[master]\ndataDir="/d"')).message).toContain('one of "debug"')
  })

  it('names the line of a syntax error', () => {
    const message = refusal(() => parse('[master]\ndataDir = /unquoted\n')).message
    expect(message).toContain('/etc/holdfast/master.toml:2: ')
    expect(message).not.toContain('\n')
  })

  it('names the file that is not there', async () => {
    await expect(loadConfig('master', '/nonexistent/x.toml')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('written by a tool reads back as the same values', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'holdfast-config-'))
    try {
      const file = join(dir, 'c.toml')
      const values = { dataDir: '/x "y"\\z', disks: ['*/disk a 10%', '/b -1GiB'], name: 'ü\u0001' }
      await writeFile(file, configToml('chunkserver', values, { cluster: { id: 'c1' } }))
      expect(await loadConfig('chunkserver', file)).toMatchObject({ ...values, cluster: { id: 'c1' } })
    } finally {
      await rm(dir, { recursive: true })
    }
  })

  it('has defaults that its own rows accept, and a sentence for every row', () => {
    for (const [section, rows] of Object.entries(sections))
      for (const [key, row] of Object.entries(rows)) {
        expect(row.means, `${section}.${key}`).toMatch(/^[A-Z`].+\.$/)
        if (row.default !== undefined)
          expect(
            row.read(row.default as never, (p: string) => p),
            `${section}.${key}`,
          ).toEqual({ ok: row.default })
      }
  })
})

describe('the nearest word', () => {
  it('is found through case, hyphens and small errors, and not when nothing is near', () => {
    expect(nearest('data-dir', ['dataDir', 'disks'])).toBe('dataDir')
    expect(nearest('mastreport', ['masterHost', 'masterPort'])).toBe('masterPort')
    expect(nearest('colour', ['dataDir', 'disks'])).toBeUndefined()
  })
})

describe('the source of a mount', () => {
  it('tells the address of the master, for IPv6 too', () => {
    for (const [host, port] of [
      ['127.0.0.1', 9460],
      ['fd00::1', 1],
      ['master.example', 65535],
    ] as const)
      expect(parseMountSource(mountSource(host, port, false))).toEqual({ host, port })
    // A path in a meta mount is none of the filesystem.
    expect(parseMountSource(mountSource('127.0.0.1', 9460, true))).toBeUndefined()
    expect(parseMountSource('tmpfs')).toBeUndefined()
    expect(parseMountSource('/dev/sda1')).toBeUndefined()
  })

  it('refuses to listen where other machines are unless somebody has to prove who he is, or need not', () => {
    const at = (listenHost: string, cluster = '') =>
      parseConfig(
        'master',
        `[cluster]\n${cluster}\n[master]\ndataDir = "/d"\nlistenHost = "${listenHost}"\n`,
        '/x/n.toml',
      )
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) expect(at(host).listenHost).toBe(host)
    for (const host of ['0.0.0.0', '::', '10.77.0.1', 'nas.lan'])
      expect(() => at(host)).toThrow(`/x/n.toml:5: listenHost "${host}" is reached from other machines`)
    expect(at('10.77.0.1', 'identityDir = "mesh"').cluster.identityDir).toBe('/x/mesh')
    expect(at('0.0.0.0', 'trustNetwork = true').listenHost).toBe('0.0.0.0')
  })
})
