/*
 * Where `holdfast` begins. `run ROLE --config FILE` goes straight to the role: a daemon on a small machine should not carry
 * the command line's 20 MB for the rest of its life. Everything else is oclif's, with the exit codes of the errno table.
 */

import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Also under dist/: both lie two levels below the package. */
const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const words = process.argv.slice(2)

// `holdfast … | head`: the reader has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

if (words[0] === 'run' && words.length === 4 && words[2] === '--config' && !words[1]!.startsWith('-')) {
  const { runRole } = await import('./role.ts')
  await runRole(words[1]!, words[3]!)
} else {
  const { run, settings } = await import('@oclif/core')
  // Our sources are never compiled on the fly; without this oclif looks for a TypeScript compiler that it understands.
  settings.enableAutoTranspile = false
  try {
    await run(words, { root: packageRoot })
  } catch (error) {
    const { reportFailure } = await import('./failure.ts')
    const { meant } = await import('./meant.ts')
    process.exitCode = reportFailure(meant(error), words.includes('--json'))
  }
}
