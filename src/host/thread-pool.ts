/*
 * How many threads libuv has for this process: what the environment said when the first one was needed (bin/holdfast), read
 * as libuv reads it.
 */

const DEFAULT_THREADS = 4
const THREADS_MAX = 1024

export function poolThreads(): number {
  const said = process.env.UV_THREADPOOL_SIZE
  if (said === undefined) return DEFAULT_THREADS
  const threads = Number.parseInt(said, 10)
  return Number.isNaN(threads) ? 1 : Math.min(Math.max(threads, 1), THREADS_MAX)
}
