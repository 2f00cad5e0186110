/*
 * What tells this machine from others: so that a disk that was copied with a node's identity on it is seen as a clone. Nothing
 * here is a secret, and nothing of it leaves the machine but its hash.
 */

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'

const LINKS_OF_ITS_OWN = /^(lo|docker|br-|veth|virbr|tun|tap|wg|holdfast|hf)/

/** Hex; the same for as long as it is this machine: id of the system, first network card, the firmware's number where it is told. */
export async function machineBinding(): Promise<string> {
  const hash = createHash('sha256')
  for (const file of ['/etc/machine-id', '/sys/class/dmi/id/product_uuid']) hash.update(`${await textOf(file)}\n`)
  const cards = Object.entries(networkInterfaces())
    .filter(([name]) => !LINKS_OF_ITS_OWN.test(name))
    .flatMap(([, addresses]) => addresses?.map(({ mac }) => mac) ?? [])
    .filter((mac) => mac !== '00:00:00:00:00:00')
  return hash.update(cards.sort()[0] ?? '').digest('hex')
}

/** Empty where it is not there or not for us to read: then it tells nothing. */
async function textOf(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return ''
  }
}
