/*
 * Which WireGuard a machine can have, and what to tell its owner when it can have none. The kernel's own is tried first, by
 * making an interface: looking for modules says nothing in a container, where the host's kernel decides. Then wireguard-go,
 * which needs /dev/net/tun. There is no third: a mesh without a tunnel would be an open network.
 */

export type KernelAnswer = 'made' | 'no-module' | 'not-allowed' | 'failed'

/** What `ip link add NAME type wireguard` meant. */
export function kernelAnswer(exitCode: number, stderr: string): KernelAnswer {
  if (exitCode === 0) return 'made'
  if (/Unknown device type|Operation not supported|Protocol not supported/i.test(stderr)) return 'no-module'
  return /Operation not permitted/i.test(stderr) ? 'not-allowed' : 'failed'
}

export interface Obstacles {
  readonly kernel: KernelAnswer | 'not-tried'
  /** /dev/net/tun: `missing`, `closed` (there, and may not be opened), or usable. */
  readonly tun: 'missing' | 'closed' | 'usable'
  readonly hasWireguardGo: boolean
  /** Inside a container the lines are for its host. */
  readonly container: boolean
}

/** The sentence and the exact lines that help, the one to try first before the others. */
export function refusalFor({ kernel, tun, hasWireguardGo, container }: Obstacles): string {
  if (kernel === 'not-allowed')
    return container
      ? 'this container may not make network interfaces: it lacks CAP_NET_ADMIN'
      : 'making a network interface needs root or CAP_NET_ADMIN'
  const where = container ? 'on the host of this container' : 'as root'
  const lines = [
    ...(kernel === 'not-tried' ? [] : [`${where}: echo wireguard >> /etc/modules && modprobe wireguard`]),
    ...(tun === 'usable'
      ? []
      : container
        ? [
            'or on Proxmox VE 8.1 or newer: pct set ID --dev0 /dev/net/tun',
            'or in /etc/pve/lxc/ID.conf: lxc.cgroup2.devices.allow: c 10:200 rwm',
            '                       and: lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file',
            'then restart the container',
          ]
        : [`or for wireguard-go, ${where}: modprobe tun`]),
    ...(hasWireguardGo ? [] : ['and: apt-get install --yes wireguard-go']),
  ]
  const why = [
    ...(kernel === 'not-tried' ? [] : ['the kernel has no WireGuard']),
    tun === 'missing'
      ? 'there is no /dev/net/tun for wireguard-go'
      : tun === 'closed'
        ? '/dev/net/tun may not be opened by wireguard-go'
        : hasWireguardGo
          ? 'wireguard-go did not start'
          : 'wireguard-go is not installed',
  ]
  return [`no WireGuard here: ${why.join(', and ')}`, ...lines].join('\n  ')
}
