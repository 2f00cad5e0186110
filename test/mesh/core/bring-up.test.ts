import { describe, expect, test } from 'vitest'
import { kernelAnswer, refusalFor } from '../../../src/mesh/core/bring-up.ts'

test.each([
  [0, '', 'made'],
  [2, 'Error: Unknown device type.\n', 'no-module'],
  [2, 'RTNETLINK answers: Operation not supported\n', 'no-module'],
  [2, 'RTNETLINK answers: Operation not permitted\n', 'not-allowed'],
  [2, 'RTNETLINK answers: File exists\n', 'failed'],
])('ip link add that ends with %i and says %j: %s', (exitCode, stderr, expected) =>
  expect(kernelAnswer(exitCode, stderr)).toBe(expected),
)

describe('what to do where there is no WireGuard', () => {
  test('in a container without /dev/net/tun: lines for its host', () => {
    expect(refusalFor({ kernel: 'no-module', tun: 'missing', hasWireguardGo: true, container: true })).toBe(
      [
        'no WireGuard here: the kernel has no WireGuard, and there is no /dev/net/tun for wireguard-go',
        '  on the host of this container: echo wireguard >> /etc/modules && modprobe wireguard',
        '  or on Proxmox VE 8.1 or newer: pct set ID --dev0 /dev/net/tun',
        '  or in /etc/pve/lxc/ID.conf: lxc.cgroup2.devices.allow: c 10:200 rwm',
        '                         and: lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file',
        '  then restart the container',
      ].join('\n'),
    )
  })
  test('on a machine of its own', () => {
    expect(refusalFor({ kernel: 'no-module', tun: 'missing', hasWireguardGo: false, container: false })).toBe(
      [
        'no WireGuard here: the kernel has no WireGuard, and there is no /dev/net/tun for wireguard-go',
        '  as root: echo wireguard >> /etc/modules && modprobe wireguard',
        '  or for wireguard-go, as root: modprobe tun',
        '  and: apt-get install --yes wireguard-go',
      ].join('\n'),
    )
  })
  test('without the right to make interfaces nothing else is of use', () => {
    const obstacles = { kernel: 'not-allowed', tun: 'usable', hasWireguardGo: true } as const
    expect(refusalFor({ ...obstacles, container: false })).toMatch(/needs root or CAP_NET_ADMIN$/)
    expect(refusalFor({ ...obstacles, container: true })).toMatch(/lacks CAP_NET_ADMIN$/)
  })
  test('with everything but the program', () => {
    expect(refusalFor({ kernel: 'no-module', tun: 'usable', hasWireguardGo: false, container: false })).toMatch(
      /wireguard-go is not installed\n.*modprobe wireguard\n {2}and: apt-get install/,
    )
  })
})
