/*
 * Load that can be held to account: writer processes that fsync and note what they were promised in a log outside the
 * filesystem, and the comparison of those logs with what is there after an accident.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { errnoOf } from '../../src/base/fault.ts'

const SCRIPT = fileURLToPath(new URL('./crash-writer.py', import.meta.url))

interface Noted {
  readonly file?: string
  readonly size?: number
  readonly sha1?: string
  readonly gone?: string
  readonly try?: string
}

export class Writer {
  readonly #child: ChildProcess
  readonly #log: string
  #said = ''
  readonly #gone: Promise<void>

  constructor(directory: string, log: string, seed: number) {
    this.#log = log
    this.#child = spawn('python3', [SCRIPT, directory, log, String(seed)], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#child.stderr!.on('data', (piece: Buffer) => {
      this.#said = (this.#said + piece.toString()).slice(-4000)
    })
    this.#gone = new Promise((done) => this.#child.on('close', () => done()))
  }

  /** Ends it where it stands. A writer that had ended by itself found an error that no program should see. */
  async stop(): Promise<void> {
    const ended = this.#child.exitCode
    this.#child.kill('SIGKILL')
    await this.#gone
    if (ended !== null) throw new Error(`the writer ended by itself (${ended}): ${this.#said}`)
  }

  /** How many promises have been made to it. */
  async promises(): Promise<number> {
    return (await this.#notes()).filter((note) => note.file !== undefined || note.gone !== undefined).length
  }

  async #notes(): Promise<Noted[]> {
    const lines = (await readFile(this.#log, 'utf8')).split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Noted)
  }

  /** What was promised and is not there, in sentences. A file that was being changed may be old or new. */
  async broken(directory: string): Promise<string[]> {
    const promised = new Map<string, { note: Noted; changing: boolean }>()
    for (const note of await this.#notes()) {
      const name = note.file ?? note.gone
      if (name !== undefined) promised.set(name, { note, changing: false })
      const known = note.try === undefined ? undefined : promised.get(note.try)
      if (known !== undefined) known.changing = true
    }
    const problems: string[] = []
    for (const [name, { note, changing }] of promised) {
      // Half-done changes truncate first: anything may be there. The promise was about what went before.
      if (changing) continue
      let data: Buffer | undefined
      try {
        data = await readFile(join(directory, name))
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') problems.push(`${name} cannot be read: ${String(error)}`)
        else if (note.file !== undefined) problems.push(`${name} is missing`)
        continue
      }
      if (note.gone !== undefined) problems.push(`${name} is back`)
      else if (data.length !== note.size) problems.push(`${name} has ${data.length} bytes, promised were ${note.size}`)
      else if (createHash('sha1').update(data).digest('hex') !== note.sha1) problems.push(`${name} has other bytes`)
    }
    return problems
  }
}
