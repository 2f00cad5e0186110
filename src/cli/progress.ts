/* One line that changes in place on a terminal; elsewhere one line per tenth, so that a log stays readable. */

export class ProgressLine {
  readonly #on: boolean
  readonly #terminal: boolean = process.stderr.isTTY === true
  #last = ''

  constructor(on: boolean) {
    this.#on = on
  }

  show(text: string): void {
    if (!this.#on) return
    if (this.#terminal) {
      process.stderr.write(`\r\x1b[2K${text}`)
      this.#last = text
      return
    }
    // The percentage up to its tens decides whether a line is worth writing.
    const mark = /(\d+)\d %/.exec(text)?.[1] ?? text
    if (mark === this.#last) return
    this.#last = mark
    process.stderr.write(`${text}\n`)
  }

  end(): void {
    if (this.#on && this.#terminal && this.#last !== '') process.stderr.write('\n')
  }
}
