/* Log lines as JSON on stderr (or a file), one component field. The only file that knows pino. */

import { pino } from 'pino'
import type { Log } from '../base/world.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export function hostLog(options: { component: string; level?: LogLevel; file?: string }): Log {
  const destination = pino.destination({ dest: options.file ?? 2, sync: true, mkdir: true, append: true })
  const root = pino(
    { level: options.level ?? 'info', base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    destination,
  )
  return root.child({ component: options.component })
}
