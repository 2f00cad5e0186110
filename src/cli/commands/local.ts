/* `holdfast local start | stop | status`: a whole cluster on this machine. */

import { relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Flags } from '@oclif/core'
import { formatDuration } from '../../base/units.ts'
import { BaseCommand } from '../base.ts'
import { DEFAULT_CHUNKSERVERS, DEFAULT_COPIES, DEFAULT_DIR, DEFAULT_MOUNT } from '../local/state.ts'
import type { LocalStatus, RoleStatus } from '../local/status.ts'
import { count, table } from '../render.ts'

const localDir = Flags.string({
  summary: `Directory of the cluster (default: HOLDFAST_DIR, then ./${DEFAULT_DIR}).`,
  helpValue: 'DIR',
})
const dirOf = (flag: string | undefined): string => resolve(flag ?? (process.env.HOLDFAST_DIR || DEFAULT_DIR))

export class LocalStart extends BaseCommand {
  static override summary = 'Start a cluster on this machine and mount it; Ctrl-C stops it, its files stay.'
  static override description =
    'Starts a master, chunkservers and a mount, each as its own process, and restarts what is killed. ' +
    'Options given are remembered in the directory; later starts need none.'
  static override examples = [
    '<%= config.bin %> local start',
    '<%= config.bin %> local start --dir /srv/holdfast --mount /mnt/holdfast --detach',
    '<%= config.bin %> local start --dir b --mount mnt-b --chunkservers 5 --copies 3',
    '<%= config.bin %> local start --dir c --mount mnt-c --chunkservers 12 --racks 4 --sites 2',
  ]
  static override flags = {
    dir: localDir,
    mount: Flags.string({
      summary: `Where the filesystem appears (first time: ./${DEFAULT_MOUNT}).`,
      helpValue: 'DIR',
    }),
    chunkservers: Flags.integer({ summary: `How many (first time: ${DEFAULT_CHUNKSERVERS}).`, min: 1, max: 64 }),
    copies: Flags.integer({ summary: `Copies of each chunk (first time: ${DEFAULT_COPIES}).`, min: 1, max: 64 }),
    racks: Flags.integer({
      summary:
        'Let the chunkservers stand in so many racks, as if each were a machine of its own (to try storage classes).',
      min: 1,
      max: 64,
    }),
    sites: Flags.integer({ summary: 'And the racks on so many sites.', min: 1, max: 64 }),
    door: Flags.option({ options: ['fuse', 'fuse-native'] as const, summary: 'How the kernel is spoken to.' })(),
    detach: Flags.boolean({
      summary: 'Return when the mount answers; the cluster goes on in the background.',
      default: false,
    }),
  }

  async run(): Promise<LocalStatus | undefined> {
    const { flags } = await this.parse(LocalStart)
    const dir = dirOf(flags.dir)
    const { localStatus } = await import('../local/status.ts')
    if (flags.detach) {
      const { startDetached } = await import('../local/detach.ts')
      await startDetached(dir, startWords(flags))
      const status = await localStatus(dir)
      this.log(welcome(status, true))
      return status
    }
    const { startSupervisor } = await import('../local/supervisor.ts')
    const { tellParent } = await import('../local/detach.ts')
    const { stopSignal } = await import('../stop-signal.ts')
    const signal = stopSignal()
    const say = (sentence: string): void => void process.stderr.write(`holdfast: ${sentence}\n`)
    let supervisor: Awaited<ReturnType<typeof startSupervisor>>
    try {
      supervisor = await startSupervisor(dir, flags, signal, say)
    } catch (error) {
      const { failureOf } = await import('../failure.ts')
      const { errno } = await import('../../base/errno.ts')
      const failure = failureOf(error)
      const number = failure.code in errno ? errno[failure.code as keyof typeof errno].number : errno.EIO.number
      await tellParent({ failed: { number, message: failure.message } })
      throw error
    }
    await tellParent({ ready: true })
    const status = await localStatus(dir)
    if (this.jsonEnabled()) this.logJson(status)
    else this.log(welcome(status, false))
    await aborted(signal)
    if (!this.jsonEnabled()) say('stopping')
    await supervisor.stop()
    return undefined
  }
}

type StartFlags = Readonly<
  Record<'mount' | 'door', string | undefined> &
    Record<'chunkservers' | 'copies' | 'racks' | 'sites', number | undefined>
>

function startWords(flags: StartFlags): string[] {
  const words: string[] = []
  for (const name of ['mount', 'chunkservers', 'copies', 'door', 'racks', 'sites'] as const)
    if (flags[name] !== undefined) words.push(`--${name}`, String(flags[name]))
  return words
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    if (signal.aborted) done()
    signal.addEventListener('abort', () => done(), { once: true })
  })

/** How a person at this prompt calls the program. */
function program(): string {
  const own = fileURLToPath(new URL('../../../bin/holdfast', import.meta.url))
  const near = relative(process.cwd(), own)
  return near.startsWith('..') ? own : near
}

function welcome(status: LocalStatus, detached: boolean): string {
  const near = relative(process.cwd(), status.dir)
  const dir = near.startsWith('..') ? status.dir : near === '' ? '.' : near
  const option = dir === DEFAULT_DIR ? '' : ` --dir ${dir}`
  const stop = `${program()} local stop${option}`
  return [
    `Holdfast runs: one master, ${count(status.chunkservers.length, 'chunkserver')}, ${status.copies} ${status.copies === 1 ? 'copy' : 'copies'} of everything.`,
    `  files   ${status.mount}`,
    `  look    ${program()} status${option}    ${program()} local status${option}`,
    `  stop    ${detached ? stop : `Ctrl-C    (or ${stop})`}`,
  ].join('\n')
}

export class LocalStop extends BaseCommand {
  static override summary = 'Stop a local cluster in order; its files stay.'
  static override examples = ['<%= config.bin %> local stop', '<%= config.bin %> local stop --dir /srv/holdfast']
  static override flags = { dir: localDir }

  async run(): Promise<{ dir: string; stopped: boolean }> {
    const { flags } = await this.parse(LocalStop)
    const dir = dirOf(flags.dir)
    const { localStatus } = await import('../local/status.ts')
    await localStatus(dir)
    const { stopCluster } = await import('../local/supervisor.ts')
    const stopped = await stopCluster(dir, (sentence) => void process.stderr.write(`holdfast: ${sentence}\n`))
    this.log(stopped ? 'Stopped.' : 'It was not running.')
    return { dir, stopped }
  }
}

export class LocalStatusCommand extends BaseCommand {
  static override summary = 'Which processes of a local cluster run, since when, how often they were restarted.'
  static override description =
    'Asks no role, so it answers also when the cluster does not. See docs/local-status.md for --json.'
  static override examples = [
    '<%= config.bin %> local status',
    '<%= config.bin %> local status --dir /srv/holdfast --json',
  ]
  static override flags = { dir: localDir }

  async run(): Promise<LocalStatus> {
    const { flags } = await this.parse(LocalStatusCommand)
    const { localStatus } = await import('../local/status.ts')
    const status = await localStatus(dirOf(flags.dir))
    const rows: (RoleStatus & { name: string; port: number | undefined })[] = [
      { name: 'master', ...status.master },
      ...status.chunkservers,
      { name: 'mount', port: undefined, ...status.mountRole },
    ]
    this.log(`${status.phase}: ${status.dir}`)
    this.log(`files at ${status.mount}${status.mounted ? '' : ' (not mounted)'}\n`)
    this.log(
      table(rows, [
        { title: 'ROLE', value: (r) => r.name },
        { title: 'STATE', value: (r) => r.state },
        { title: 'PID', value: (r) => r.pid ?? '-', right: true },
        { title: 'PORT', value: (r) => r.port ?? '-', right: true },
        { title: 'UP', value: (r) => (r.pid === null ? '-' : formatDuration(r.uptimeSeconds * 1000)), right: true },
        { title: 'RESTARTS', value: (r) => r.restarts, right: true },
        { title: 'LAST EXIT', value: (r) => r.lastExit || '-' },
      ]),
    )
    return status
  }
}
