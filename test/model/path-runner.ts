/* Operations carried out below directories of a real filesystem, by a child process with plain system calls. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Ran, Runner } from './compare.ts'
import type { Operation } from './operations.ts'

/** Several runners may share one filesystem. */
let runs = 0
const SCRIPT = fileURLToPath(new URL('./path-runner.py', import.meta.url))

export class PathRunner implements Runner {
  /** Ways to one directory: itself, or the same one through several mounts. */
  readonly #ways: readonly string[]
  readonly #child: ChildProcess
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = []
  #errors = ''

  constructor(...ways: string[]) {
    this.#ways = ways
    this.#child = spawn('python3', [SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] })
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#waiting.shift()?.resolve(line))
    this.#child.stderr!.on('data', (piece: Buffer) => {
      this.#errors = (this.#errors + piece.toString()).slice(-4000)
    })
    this.#child.on('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`the runner ended: ${this.#errors}`))
    })
  }

  /** In a new directory each time. */
  async run(operations: readonly Operation[]): Promise<Ran> {
    const name = `run-${runs++}`
    if (this.#ways.length > 1) await writeFile(join(this.#ways[0]!, 'barrier'), '')
    await mkdir(join(this.#ways[0]!, name))
    const roots = this.#ways.map((way) => join(way, name))
    const answer = new Promise<string>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    this.#child.stdin!.write(`${JSON.stringify({ roots, barrier: roots.length > 1, ops: operations })}\n`)
    return JSON.parse(await answer) as Ran
  }

  async stop(): Promise<void> {
    const gone = new Promise((done) => this.#child.on('close', done))
    this.#child.stdin!.end()
    if (this.#child.exitCode === null) await gone
  }
}
