/*
 * Names of what a bed makes, and its removal. Every name carries the process that made it and when that process started, so
 * what a run left that was killed is told from what another run is using, and is removed by the next one. Everything here is
 * synchronous: it also runs while a process ends.
 *
 * A namespace is removed last: as long as one is there, something of the bed may be.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'

export const NETNS_DIR = '/run/netns'
export const WIREGUARD_DIR = '/var/run/wireguard'
const NAME = /^(hfwan-(\d+)-(\d+)-(\d+))-/

/** When a process started, in ticks since boot; undefined: there is none. */
function startOf(pid: number): string | undefined {
  try {
    // The program's name, in brackets, may hold blanks.
    return readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\)/s, '').trim().split(' ')[19]
  } catch {
    return undefined
  }
}

/** Of all namespaces of one bed: "hfwan-PID-START-NUMBER". */
export function bedPrefix(number: number): string {
  return `hfwan-${process.pid}-${startOf(process.pid)}-${number}`
}

/**
 * Interfaces of userspace WireGuard have sockets in one directory for all namespaces; at most 15 characters. The numbers
 * are those of the prefix in base 36.
 */
export function wireguardTag(prefix: string): string {
  const [, , pid, , number] = NAME.exec(`${prefix}-`)!
  return `hw${Number(pid).toString(36)}_${Number(number).toString(36)}_`
}

const namespaces = (): string[] => (existsSync(NETNS_DIR) ? readdirSync(NETNS_DIR) : [])

function pidsIn(namespace: string): number[] {
  try {
    return execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')
      .filter((line) => line !== '')
      .map(Number)
  } catch {
    // Somebody else has removed it meanwhile.
    return []
  }
}

/** Ends every process in the bed's namespaces but this one and removes them. Safe to do again. */
export function removeBed(prefix: string): void {
  const own = namespaces().filter((name) => name.startsWith(`${prefix}-`))
  for (const pid of own.flatMap(pidsIn)) {
    if (pid === process.pid) continue
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      // It ended by itself.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  const tag = wireguardTag(prefix)
  for (const file of existsSync(WIREGUARD_DIR) ? readdirSync(WIREGUARD_DIR) : [])
    if (file.startsWith(tag)) rmSync(`${WIREGUARD_DIR}/${file}`, { force: true })
  for (const name of own) {
    try {
      execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
    } catch (error) {
      if (existsSync(`${NETNS_DIR}/${name}`)) throw error
    }
  }
}

/** Removes the beds of processes that are no more. Returns their prefixes. */
export function sweep(): string[] {
  const dead = new Set<string>()
  for (const name of namespaces()) {
    const [, prefix, pid, start] = NAME.exec(name) ?? []
    if (prefix !== undefined && startOf(Number(pid)) !== start) dead.add(prefix)
  }
  for (const prefix of dead) removeBed(prefix)
  return [...dead]
}
