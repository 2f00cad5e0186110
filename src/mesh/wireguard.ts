/*
 * One WireGuard interface of this machine, over wg(8), ip(8) and where the kernel has none, wireguard-go. The only file that
 * runs them. Others see `WireGuard`; a fake fulfils the same suite.
 *
 * One command at a time for each interface, each with a time limit. Keys stand in files of mode 0600 and are named by their
 * path; the dump's private key is dropped where it is parsed, and whatever a tool complains of has its keys struck out.
 * Endpoints are literal addresses only: wg(8) would ask DNS for a minute. wg-quick is never used, nor the default route,
 * nor `wg setconf` (ends all sessions) or `wg syncconf` (wipes the key when it is not in the file).
 *
 * The interface outlives this process: the kernel's by nature, wireguard-go because it is started apart. What is there at the
 * start is taken over. When wireguard-go dies, the interface is gone with everything on it: `ensure` makes it again
 * and says so, and `onGone` tells at once when the process was started here.
 */

import { spawn } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { access, open, readFile } from 'node:fs/promises'
import { execa } from 'execa'
import { FsError } from '../base/fault.ts'
import type { Clock, Log } from '../base/world.ts'
import { kernelAnswer, type Obstacles, refusalFor } from './core/bring-up.ts'
import { commandsOf, type DeviceChange } from './core/diff.ts'
import { type Device, parseDump } from './core/dump.ts'
import type { Route } from './core/routes.ts'

export interface InterfaceSettings {
  /** `10.77.0.5/16` */
  readonly address: string
  readonly mtu: number
  /**
   * Where echoes go (src/mesh/probe.ts). They get a route of their own, without a peer's size: by that one the kernel would cut
   * a large echo into pieces that pass, and every size would seem proved.
   */
  readonly probePort?: number
  /**
   * Packets that come by this interface for others of the mesh go out by it again; nothing else that comes by it goes anywhere
   * but to this machine. The number of a routing table that is ours.
   */
  readonly forwardTable?: number
}

export type Backend = 'kernel' | 'userspace'

export interface WireGuard {
  readonly name: string
  /** Makes the interface unless it is there. Refuses with the lines that would help where it cannot be made. */
  ensure(): Promise<{ readonly backend: Backend; readonly made: boolean }>
  destroy(): Promise<void>
  /** undefined: there is no such interface. */
  dump(): Promise<Device | undefined>
  apply(change: DeviceChange): Promise<void>
  /** Gives it this address and no other, its size, the way for echoes, and puts it up. Returns what this kernel cannot. */
  configure(settings: InterfaceSettings): Promise<string[]>
  /** The routes over it that someone added; the one that comes with its address is not among them unless it was changed. */
  routes(): Promise<Route[]>
  /**
   * Makes them the routes over it, by the fewest changes. Returns the congestion controls that this kernel does not have:
   * their routes are set without.
   */
  setRoutes(routes: readonly Route[]): Promise<string[]>
  /** Called when the process behind the interface has ended. */
  onGone(callback: () => void): void
}

export interface WireGuardOptions {
  /** The interface's private key, in a file of mode 0600. Below /etc/wireguard: AppArmor lets wg(8) read nothing else. */
  readonly keyFile: string
  /** What wireguard-go says goes here; unset: nowhere. A pipe would end it when this process ends. */
  readonly logFile?: string
  readonly backends?: readonly Backend[]
  /** A network namespace in which everything is done. */
  readonly namespace?: string
}

/** Long for a command that asks the kernel, short for whoever waits for the next one. */
const COMMAND_MS = 5_000
/** wireguard-go listens some 20 ms after its start; a machine that swaps may take longer. */
const START_MS = 5_000
const START_STEP_MS = 20
/** Between an interface and its socket, when another process makes or ends the two. */
const HALF_MS = 2_000
/** An interface of 600 peers dumps some 100 kB. */
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024
/** IFNAMSIZ − 1. */
const NAME = /^[a-z][a-z0-9_-]{0,14}$/

interface Outcome {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export class HostWireGuard implements WireGuard {
  readonly name: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: WireGuardOptions
  /** The last of those who wait for their turn. */
  #turn: Promise<unknown> = Promise.resolve()
  #process:
    | {
        readonly pid: number | undefined
        readonly kill: (signal: 'SIGTERM' | 'SIGKILL') => void
        readonly ended: Promise<string>
      }
    | undefined
  #gone: () => void = () => {}
  #probing: { readonly network: string; readonly port: number } | undefined
  /** Said once: a container without the right does not get it while it runs. */
  #cannotForward = false
  /** Congestion controls that this kernel has refused. */
  readonly #unknownControls = new Set<string>()

  constructor(name: string, clock: Clock, log: Log, options: WireGuardOptions) {
    if (!NAME.test(name))
      throw new FsError('EINVAL', `"${name}" is no name of an interface: a to z, 0 to 9, - and _, at most 15`)
    this.name = name
    this.#clock = clock
    this.#log = log
    this.#options = options
  }

  onGone(callback: () => void): void {
    this.#gone = callback
  }

  ensure(): Promise<{ readonly backend: Backend; readonly made: boolean }> {
    return this.#alone(async () => {
      const kind = await this.#kind()
      if (kind !== undefined) return { backend: kind, made: false }
      return { backend: await this.#make(), made: true }
    })
  }

  destroy(): Promise<void> {
    return this.#alone(async () => {
      const own = this.#process
      this.#process = undefined
      if (own !== undefined) {
        own.kill('SIGTERM')
        const over = new AbortController()
        const late = this.#clock.sleep(COMMAND_MS, { signal: over.signal }).then(
          () => own.kill('SIGKILL'),
          () => undefined,
        )
        await own.ended
        over.abort()
        await late
      }
      // Gone with its process, or the kernel's, or of a process that was taken over and ends with its interface.
      if ((await this.#kind()) !== undefined) {
        const outcome = await this.#run('ip', ['link', 'delete', 'dev', this.name])
        if (outcome.exitCode !== 0 && !ABSENT.test(outcome.stderr)) throw this.#failure('ip link delete', outcome)
      }
      if (this.#probing !== undefined) await this.#forgetProbeWay(this.#probing.network, this.#probing.port)
      this.#probing = undefined
    })
  }

  dump(): Promise<Device | undefined> {
    return this.#alone(() => this.#dump())
  }

  async #dump(): Promise<Device | undefined> {
    const outcome = await this.#run('wg', ['show', this.name, 'dump'])
    if (outcome.exitCode !== 0) {
      if (ABSENT.test(outcome.stderr)) return undefined
      throw this.#failure('wg show dump', outcome)
    }
    const parsed = parseDump(outcome.stdout)
    if (!('ok' in parsed)) throw new FsError(parsed.errno, parsed.detail)
    return parsed.ok
  }

  apply(change: DeviceChange): Promise<void> {
    return this.#alone(async () => {
      for (const words of commandsOf(change, this.#options.keyFile))
        await this.#must('wg', ['set', this.name, ...words])
    })
  }

  configure({ address, mtu, probePort, forwardTable }: InterfaceSettings): Promise<string[]> {
    return this.#alone(async () => {
      const [link] = await this.#json<LinkAddresses>(['-4', 'address', 'show', 'dev', this.name])
      const has = (link?.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`)
      if (!has.includes(address)) await this.#must('ip', ['-4', 'address', 'add', address, 'dev', this.name])
      for (const other of has)
        if (other !== address) await this.#must('ip', ['-4', 'address', 'delete', other, 'dev', this.name])
      if (link?.mtu !== mtu) await this.#must('ip', ['link', 'set', 'dev', this.name, 'mtu', String(mtu)])
      if (link?.flags?.includes('UP') !== true) await this.#must('ip', ['link', 'set', 'dev', this.name, 'up'])
      const network = networkOf(address)
      const lacking = probePort === undefined ? [] : await this.#probeWay(network, probePort)
      return [...lacking, ...(forwardTable === undefined ? [] : await this.#forward(network, String(forwardTable)))]
    })
  }

  /**
   * The kernel forwards by the interface that a packet came in, so the machine as a whole becomes no router. What comes in
   * here is led by a table that knows the mesh only: members cannot reach this machine's other networks through it.
   */
  async #forward(network: string, table: string): Promise<string[]> {
    const shown = await this.#run('ip', ['-json', '-4', 'route', 'show', 'table', table])
    const rows = shown.exitCode === 0 && shown.stdout.trim() !== '' ? (JSON.parse(shown.stdout) as RouteRow[]) : []
    if (rows.some(({ dst, dev }) => dst === network && dev === this.name)) return []
    if (this.#cannotForward) return ['forwarding']
    const rule = ['iif', this.name, 'lookup', table]
    for (let i = 0; i < RULES_MAX; i++)
      if ((await this.#run('ip', ['-4', 'rule', 'delete', ...rule])).exitCode !== 0) break
    const conf = `net.ipv4.conf.${this.name}`
    for (const [program, ...words] of [
      // First what holds it back, then what lets it go; the route last, because it says that all is done.
      ['ip', '-4', 'route', 'replace', 'unreachable', 'default', 'table', table],
      ['ip', '-4', 'rule', 'add', ...rule],
      ['sysctl', '-q', '-w', `${conf}.send_redirects=0`],
      ['sysctl', '-q', '-w', `${conf}.forwarding=1`],
      ['ip', '-4', 'route', 'replace', network, 'dev', this.name, 'table', table],
    ] as const)
      if ((await this.#run(program, words)).exitCode !== 0) {
        this.#cannotForward = true
        return ['forwarding']
      }
    return []
  }

  /** A table with the mesh's network in it, named like the port, and the rule that sends echoes there. */
  async #probeWay(network: string, port: number): Promise<string[]> {
    const table = String(port)
    this.#probing = { network, port }
    const shown = await this.#run('ip', ['-json', '-4', 'route', 'show', 'table', table])
    const rows = shown.exitCode === 0 && shown.stdout.trim() !== '' ? (JSON.parse(shown.stdout) as RouteRow[]) : []
    // The route goes with the interface, so where it is there the rule was made after it.
    if (rows.some(({ dst, dev }) => dst === network && dev === this.name)) return []
    await this.#forgetProbeWay(network, port)
    const rule = await this.#run('ip', ['-4', 'rule', 'add', ...probeRule(network, port)])
    if (/not supported/i.test(rule.stderr)) return ['ip rule']
    if (rule.exitCode !== 0) throw this.#failure('ip rule add', rule)
    await this.#must('ip', ['-4', 'route', 'replace', network, 'dev', this.name, 'table', table])
    return []
  }

  async #forgetProbeWay(network: string, port: number): Promise<void> {
    // One for each time that somebody was killed between adding the rule and the route; a stranger's are not matched.
    for (let i = 0; i < RULES_MAX; i++)
      if ((await this.#run('ip', ['-4', 'rule', 'delete', ...probeRule(network, port)])).exitCode !== 0) return
  }

  routes(): Promise<Route[]> {
    return this.#alone(() => this.#routes())
  }

  async #routes(): Promise<Route[]> {
    const rows = await this.#json<RouteRow>(['-4', 'route', 'show', 'dev', this.name])
    return rows.filter(isOurs).map(({ dst, metrics }) => {
      const { mtu, congestion } = Object.assign({}, ...(metrics ?? [])) as Omit<Route, 'to'>
      return {
        to: dst.includes('/') ? dst : `${dst}/32`,
        ...(mtu === undefined ? {} : { mtu }),
        ...(congestion === undefined ? {} : { congestion }),
      }
    })
  }

  setRoutes(routes: readonly Route[]): Promise<string[]> {
    return this.#alone(async () => {
      const refused = new Set<string>()
      const has = new Map((await this.#routes()).map((route) => [route.to, route]))
      const wanted = new Map(routes.map((route) => [route.to, route]))
      for (;;) {
        const changes: { readonly words: string; readonly congestion?: string | undefined }[] = []
        for (const { to, mtu, congestion: wish } of wanted.values()) {
          const unknown = wish !== undefined && this.#unknownControls.has(wish)
          if (unknown) refused.add(wish)
          const congestion = unknown ? undefined : wish
          const own = has.get(to)
          if (own !== undefined && own.mtu === mtu && own.congestion === congestion) continue
          const words = [
            ...(mtu === undefined ? [] : ['mtu', mtu]),
            ...(congestion === undefined ? [] : ['congctl', congestion]),
          ]
          changes.push({ words: ['route', 'replace', to, 'dev', this.name, ...words].join(' '), congestion })
        }
        for (const to of has.keys()) if (!wanted.has(to)) changes.push({ words: `route delete ${to} dev ${this.name}` })
        if (changes.length === 0) return [...refused]
        const outcome = await this.#run('ip', ['-4', '-batch', '-'], changes.map(({ words }) => `${words}\n`).join(''))
        if (outcome.exitCode === 0) return [...refused]
        // It names the line at which it stopped. One control less, so this ends; the lines before it do no harm again.
        const line = /[Uu]nknown tcp congestion[\s\S]*Command failed -:(\d+)/.exec(outcome.stderr)?.[1]
        const congestion = changes[Number(line) - 1]?.congestion
        if (congestion === undefined) throw this.#failure('ip route', outcome)
        this.#unknownControls.add(congestion)
        for (const [to, route] of (await this.#routes()).map((route) => [route.to, route] as const)) has.set(to, route)
      }
    })
  }

  /** undefined: no such interface. One of that name that is no WireGuard is nobody's to take over. */
  async #kind(): Promise<Backend | undefined> {
    const deadline = this.#clock.monotonicMs() + HALF_MS
    for (;;) {
      const outcome = await this.#run('ip', ['-details', '-json', 'link', 'show', 'dev', this.name])
      if (outcome.exitCode !== 0) {
        if (ABSENT.test(outcome.stderr)) return undefined
        throw this.#failure('ip link show', outcome)
      }
      const [link] = JSON.parse(outcome.stdout) as { linkinfo?: { info_kind?: string } }[]
      const kind = link?.linkinfo?.info_kind
      if (kind === 'wireguard') return 'kernel'
      if (kind === 'tun' && (await this.#dump()) !== undefined) return 'userspace'
      // A TUN without a socket may be about to have one, or to go: the agent ends it while a command looks.
      if (kind !== 'tun' || this.#clock.monotonicMs() > deadline) break
      await this.#clock.sleep(START_STEP_MS)
    }
    throw new FsError(
      'EEXIST',
      `there is an interface ${this.name} that is no WireGuard: choose another name, or remove it`,
    )
  }

  async #make(): Promise<Backend> {
    const { backends = ['kernel', 'userspace'] } = this.#options
    let kernel: Obstacles['kernel'] = 'not-tried'
    if (backends.includes('kernel')) {
      const outcome = await this.#run('ip', ['link', 'add', 'dev', this.name, 'type', 'wireguard'])
      kernel = kernelAnswer(outcome.exitCode, outcome.stderr)
      if (kernel === 'made') return 'kernel'
      if (kernel === 'failed') throw this.#failure('ip link add', outcome)
    }
    const tun = await tunState()
    const hasWireguardGo = (await this.#run('wireguard-go', ['--version'])).exitCode === 0
    const tried = backends.includes('userspace') && kernel !== 'not-allowed' && tun === 'usable' && hasWireguardGo
    if (tried) {
      await this.#start()
      return 'userspace'
    }
    throw new FsError('EOPNOTSUPP', refusalFor({ kernel, tun, hasWireguardGo, container: await inContainer() }))
  }

  /** -f: without it wireguard-go forks, and nobody knows its child. */
  async #start(): Promise<void> {
    const { logFile } = this.#options
    const fd = logFile === undefined ? undefined : openSync(logFile, 'a', 0o600)
    const [file, ...words] = this.#inNamespace('wireguard-go', ['-f', this.name])
    // Not through execa, which would keep a pipe to it.
    const child = spawn(file!, words, {
      env: { ...process.env, ...ENVIRONMENT, LOG_LEVEL: 'error', WG_PROCESS_FOREGROUND: '1' },
      stdio: ['ignore', fd ?? 'ignore', fd ?? 'ignore'],
      // Apart: a signal to this process's group, or its end, must not end the tunnel.
      detached: true,
    })
    child.unref()
    if (fd !== undefined) closeSync(fd)
    let over: string | undefined
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    }).then((how) => (over = how))
    const kill = (signal: 'SIGTERM' | 'SIGKILL'): void => {
      // Whoever waits for its end has to be kept alive by it.
      child.ref()
      child.kill(signal)
    }
    const own = { pid: child.pid, kill, ended }
    this.#process = own
    const deadline = this.#clock.monotonicMs() + START_MS
    while ((await this.#dump()) === undefined) {
      if (over !== undefined || this.#clock.monotonicMs() > deadline) {
        this.#process = undefined
        own.kill('SIGKILL')
        const why = over === undefined ? `does not answer within ${START_MS / 1000} s` : `ended at once (${over})`
        throw new FsError('EIO', `wireguard-go -f ${this.name} ${why}${await lastLine(logFile)}`)
      }
      await this.#clock.sleep(START_STEP_MS)
    }
    void ended.then((how) => {
      if (this.#process !== own) return
      this.#process = undefined
      this.#log.error({ interface: this.name, pid: own.pid, how }, 'wireguard-go has ended; the tunnel is made again')
      this.#gone()
    })
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  async #json<T>(words: readonly string[]): Promise<T[]> {
    const outcome = await this.#must('ip', ['-json', ...words])
    return outcome.stdout.trim() === '' ? [] : (JSON.parse(outcome.stdout) as T[])
  }

  async #must(program: string, words: readonly string[]): Promise<Outcome> {
    const outcome = await this.#run(program, words)
    if (outcome.exitCode !== 0) throw this.#failure(`${program} ${words.slice(0, 3).join(' ')}`, outcome)
    return outcome
  }

  #inNamespace(program: string, words: readonly string[]): string[] {
    const { namespace } = this.#options
    return [...(namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace]), program, ...words]
  }

  async #run(program: string, words: readonly string[], input?: string): Promise<Outcome> {
    const [file, ...rest] = this.#inNamespace(program, words)
    const result = await execa(file!, rest, {
      env: ENVIRONMENT,
      ...(input === undefined ? { stdin: 'ignore' } : { input }),
      reject: false,
      timeout: COMMAND_MS,
      killSignal: 'SIGKILL',
      maxBuffer: OUTPUT_BYTES_MAX,
      stripFinalNewline: false,
    })
    if (result.timedOut)
      throw new FsError('ETIMEDOUT', `${program} ${words[0] ?? ''} took longer than ${COMMAND_MS / 1000} s`)
    const stderr = result.code === 'ENOENT' ? `${program}: not installed` : result.stderr
    return { exitCode: result.exitCode ?? 127, stdout: result.stdout, stderr }
  }

  #failure(what: string, { exitCode, stderr }: Outcome): FsError {
    const said = withoutKeys(stderr).trim().split('\n').slice(0, 3).join('; ')
    const code = /not permitted/.test(said) ? 'EPERM' : ABSENT.test(said) ? 'ENODEV' : 'EIO'
    return new FsError(code, `${withoutKeys(what)} (${this.name}): ${said === '' ? `exit code ${exitCode}` : said}`)
  }
}

/** Without the kernel's module and without a socket wg(8) does not even know the family; all of them mean: not there. */
const ABSENT = /No such device|Cannot find device|does not exist|Protocol not supported/

const ENVIRONMENT = {
  LC_ALL: 'C',
  WG_ENDPOINT_RESOLUTION_RETRIES: '1',
  // Services are often started without the directories of administration.
  PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
}

/** wg(8) repeats a key that it cannot read. Public ones are struck out with the others: nobody can tell which is which. */
const withoutKeys = (text: string): string => text.replaceAll(/[A-Za-z0-9+/]{40,}={0,2}/g, '(key)')

interface LinkAddresses {
  readonly mtu?: number
  readonly flags?: readonly string[]
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number }[]
}
interface RouteRow {
  readonly dst: string
  readonly dev?: string
  readonly protocol?: string
  readonly metrics?: readonly object[]
}
const RULES_MAX = 10
const probeRule = (network: string, port: number): string[] => [
  'to',
  network,
  'ipproto',
  'udp',
  'dport',
  String(port),
  'lookup',
  String(port),
]
/** `10.77.0.5/16` → `10.77.0.0/16`; a mesh has a /16. */
const networkOf = (address: string): string => address.replace(/\.\d+\.\d+\/16$/, '.0.0/16')

/** The kernel adds one by itself for the network of the address. */
const isOurs = (row: RouteRow): boolean => row.protocol !== 'kernel'

/** Whether /dev/net/tun can be used by this process. */
export async function tunState(): Promise<Obstacles['tun']> {
  try {
    const file = await open('/dev/net/tun', constants.O_RDWR)
    await file.close()
    return 'usable'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'closed'
  }
}

/** systemd and LXC say it of process 1; nobody else may read that, and then the lines for a host are right often enough. */
async function inContainer(): Promise<boolean> {
  for (const path of ['/run/systemd/container', '/.dockerenv'])
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return true
  const environ = await readFile('/proc/1/environ', 'latin1').catch(() => '')
  return /(^|\0)container=/.test(environ)
}

async function lastLine(logFile: string | undefined): Promise<string> {
  if (logFile === undefined) return ''
  const text = await readFile(logFile, 'utf8').catch(() => '')
  const last = text.trimEnd().split('\n').at(-1) ?? ''
  return last === '' ? '' : `: ${withoutKeys(last)}`
}
