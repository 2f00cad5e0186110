/*
 * What tells this machine from others: so that a disk that was copied with a node's identity on it is seen as a clone. Nothing
 * here is a secret, and nothing of it leaves the machine.
 */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { MACHINE_CARDS_MAX } from '../base/limits.ts'

export interface Machine {
  /** Hex: of the system's id and the firmware's number, where they are told. */
  readonly machine: string
  /** Hex, one for each network card. */
  readonly cards: readonly string[]
}

/** Made by programs: what they are called tomorrow, and whether they are there, says nothing of the machine. */
const LINKS_OF_ITS_OWN = /^(lo|docker|br-|veth|virbr|tun|tap|wg|holdfast|hf)/
/** Of 64 hex digits; cards are few. */
const CARD_CHARS = 16
const COMMAND_MS = 5_000

/** Also of cards that are down or have no address yet: a node may start before its network. */
export async function thisMachine(): Promise<Machine> {
  const files = await Promise.all(['/etc/machine-id', '/sys/class/dmi/id/product_uuid'].map(textOf))
  const machine = hashOf(files.map((text) => `${text}\n`).join(''))
  const { stdout } = await promisify(execFile)('ip', ['-json', 'link', 'show'], { timeout: COMMAND_MS })
  const links = JSON.parse(stdout) as { ifname?: string; link_type?: string; address?: string }[]
  const addresses = links
    .filter(({ ifname = '', link_type }) => link_type === 'ether' && !LINKS_OF_ITS_OWN.test(ifname))
    .flatMap(({ address }) => (address === undefined || address === '00:00:00:00:00:00' ? [] : [address]))
  const cards = [...new Set(addresses)].sort().slice(0, MACHINE_CARDS_MAX)
  return { machine, cards: cards.map((address) => hashOf(machine + address).slice(0, CARD_CHARS)) }
}

/**
 * Whether the two are one machine. A copy of a virtual machine or container has the ids of the system and other cards; a machine of
 * which one card was changed, or which has none at the moment, is still itself.
 */
export const isSameMachine = (known: Machine, found: Machine): boolean =>
  known.machine === found.machine &&
  (known.cards.length === 0 || found.cards.length === 0 || known.cards.some((card) => found.cards.includes(card)))

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Empty where it is not there or not for us to read: then it tells nothing. */
async function textOf(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return ''
  }
}
