/*
 * Work that is begun ahead and taken in order: several questions under way, so that the distance does not decide the speed, and
 * never more than so many answers in memory.
 */

/**
 * At most `width` at a time, which may change meanwhile. `begin` starts the next piece, undefined at the end; `take` gets the results one after the other. After a failure nothing more is
 * begun, what was begun before the failed one is still taken, and nothing is under way any more when this throws.
 */
export async function pipelined<T>(
  width: number | (() => number),
  begin: () => Promise<T> | undefined,
  take: (result: T) => void | Promise<void>,
): Promise<void> {
  const window: Promise<T>[] = []
  let ended = false
  try {
    for (;;) {
      const most = typeof width === 'number' ? width : width()
      while (window.length < most && !ended) {
        const begun = begin()
        if (begun === undefined) {
          ended = true
          break
        }
        // Also when an earlier one fails first: nobody else would look at this one then.
        begun.catch(() => {
          ended = true
        })
        window.push(begun)
      }
      const head = window.shift()
      if (head === undefined) return
      await take(await head)
    }
  } finally {
    ended = true
    await Promise.allSettled(window)
  }
}
