/* A bed in a process that is to be ended: prints its namespaces as JSON when it stands and waits. */

import { Bed } from './bed.ts'

const bed = await Bed.start({ seed: 1, sites: { home: { nodes: 1 }, fra: { nodes: 1 } } })
process.stdout.write(`${JSON.stringify(bed.nodes)}\n`)
setInterval(() => {}, 60_000)
