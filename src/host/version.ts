/* The version of this program, as package.json says. */

import { readFileSync } from 'node:fs'

interface Manifest {
  readonly version: string
}

export const version: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as Manifest
).version
