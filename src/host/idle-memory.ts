/*
 * Memory on machines where a gigabyte is all there is. V8 lets the heap grow to up to four times of what lives in it before
 * it collects, and a role that was busy and is idle now keeps what it needed then, because V8 collects when it allocates.
 * So a role that has been idle for a while after work collects once; and the heap of the master, whose memory grows with the
 * work of all mounts, may only double between two collections. Measured while 200 000 files were made (one run each):
 * anonymous memory of the master at most 140 MB instead of 232, for 9 % more processor time. The others keep V8's own
 * measure: eight jobs of random reads lost about a tenth by it.
 *
 * What a collection that was asked for costs later: V8 lets less garbage gather from then on, above all buffers. A chunkserver
 * that threw away 64 KiB for each random read was stopped for 10 full collections a second instead of 1 or 2, and used up to
 * twice the processor time. Hot paths therefore use their large buffers again (chunk/chunk-blocks.ts).
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const LOOK_MS = 5_000
/** Of one core. A collection is worth its tenth of a second after as much work as that took a hundred times over. */
const BUSY_MS = 10_000
const IDLE_PART = 0.05

/** When to collect: pure, told the processor time used between two looks. */
export class IdleWatch {
  #workedMs = 0

  /** `usedMs` of processor time in the last `passedMs`; whether to collect now. */
  look(usedMs: number, passedMs: number): boolean {
    if (usedMs > passedMs * IDLE_PART) {
      this.#workedMs += usedMs
      return false
    }
    if (this.#workedMs < BUSY_MS) return false
    this.#workedMs = 0
    return true
  }
}

/** A heap of N bytes after a collection is collected again at twice that. */
const GROWING_PERCENT = 100

/** To be called before the heap has grown. */
export function growModestly(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`)
}

/** For the life of the process, without keeping it alive. */
export function collectWhenIdle(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const watch = new IdleWatch()
  let used = usedMs()
  let at = performance.now()
  setInterval(() => {
    const now = performance.now()
    const total = usedMs()
    if (watch.look(total - used, now - at)) collect()
    used = usedMs()
    at = performance.now()
  }, LOOK_MS).unref()
}

function usedMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
