/* A log that says nothing; tests that want lines collect them instead. */
import type { Log } from '../../src/base/world.ts'

export const quietLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => quietLog,
}
