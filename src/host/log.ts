/* Log lines as JSON on stderr (or a file), one component field. The only file that knows pino. */

import { type Logger, pino } from 'pino'
import type { Log } from '../base/world.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export function hostLog(options: { component: string; level?: LogLevel; file?: string }): Log {
  const destination = pino.destination({ dest: options.file ?? 2, sync: true, mkdir: true, append: true })
  const root = pino(
    { level: options.level ?? 'info', base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    destination,
  )
  return within(root, { component: options.component })
}

/** pino repeats a key that a child sets again; a line shall carry one component. */
function within(root: Logger, fields: Record<string, unknown>): Log {
  const log = root.child(fields)
  return {
    debug: (more, message) => log.debug(more, message),
    info: (more, message) => log.info(more, message),
    warn: (more, message) => log.warn(more, message),
    error: (more, message) => log.error(more, message),
    child: (more) => within(root, { ...fields, ...more }),
  }
}
