/*
 * Network namespaces for a test, and whether this machine can have them. Names carry the process id and a number: the
 * directory of namespaces and wireguard-go's directory of sockets belong to the whole machine.
 */

import { execFile, execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { promisify } from 'node:util'

const run = promisify(execFile)

let made = 0
export const uniqueName = (prefix: string): string => `${prefix}${process.pid.toString(36)}${(made++).toString(36)}`

export class NetworkNamespace {
  readonly name: string = uniqueName('hft')

  private constructor() {}

  static async make(): Promise<NetworkNamespace> {
    const namespace = new NetworkNamespace()
    await run('ip', ['netns', 'add', namespace.name])
    await namespace.run('ip', 'link', 'set', 'dev', 'lo', 'up')
    return namespace
  }

  async run(program: string, ...words: string[]): Promise<string> {
    return (await run('ip', ['netns', 'exec', this.name, program, ...words])).stdout
  }

  /** A cable to another one; each end has an address, its bits included. Returns the names of both ends. */
  async connect(other: NetworkNamespace, own: string, others: string): Promise<[string, string]> {
    const [a, b] = [uniqueName('va'), uniqueName('vb')]
    await run('ip', ['link', 'add', a, 'netns', this.name, 'type', 'veth', 'peer', 'name', b, 'netns', other.name])
    for (const [namespace, link, address] of [
      [this, a, own],
      [other, b, others],
    ] as const) {
      await namespace.run('ip', 'address', 'add', address, 'dev', link, ...(address.includes(':') ? ['nodad'] : []))
      await namespace.run('ip', 'link', 'set', 'dev', link, 'up')
    }
    return [a, b]
  }

  /** Everything in it goes with it; processes have to be ended before. */
  async remove(): Promise<void> {
    await run('ip', ['netns', 'delete', this.name])
  }
}

/** Why WireGuard cannot be tried here, with these programs beside it; undefined: it can. Under HOLDFAST_NO_SKIP it has to be. */
export function noWireGuard(...programs: readonly string[]): string | undefined {
  if (process.env.HOLDFAST_NO_SKIP === '1') return undefined
  if (process.getuid?.() !== 0) return 'needs root for network namespaces'
  for (const program of ['wg', 'wireguard-go', 'ip', ...programs])
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], {
        stdio: 'ignore',
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
      })
    } catch {
      return `${program} is not installed`
    }
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return 'there is no /dev/net/tun'
  }
  const probe = uniqueName('hfp')
  try {
    execFileSync('ip', ['netns', 'add', probe], { stdio: 'ignore' })
    execFileSync('ip', ['netns', 'delete', probe], { stdio: 'ignore' })
  } catch {
    return 'network namespaces cannot be made'
  }
  return undefined
}
