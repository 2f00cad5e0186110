/*
 * A process that appends and says what was answered, killed at random moments: on the real disk, everything answered is there
 * afterwards, synced or not, because the page cache outlives the process.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { chunkId } from '../../src/base/ids.ts'
import { hostRandom } from '../../src/host/clock.ts'
import { appendedByte } from '../support/append-child.ts'
import { attachedDisk } from '../support/real-disk.ts'

const ROUNDS = 6

test('what was answered before a SIGKILL is there after it', async () => {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-kill-'))
  try {
    let answered = 0
    for (let round = 0; round < ROUNDS; round++) {
      const child: ChildProcess = spawn(
        process.execPath,
        ['--import', 'tsx', join(import.meta.dirname, '../support/append-child.ts'), root],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      )
      const ended = new Promise((resolve) => child.once('close', resolve))
      let lines = 0
      const target = 20 + hostRandom.below(300)
      for await (const line of createInterface({ input: child.stdout! })) {
        answered = Number(line)
        if (++lines === target) child.kill('SIGKILL')
      }
      await ended
      const disk = await attachedDisk(root)
      const held = await disk.chunks.verify(chunkId(1), true)
      expect(held.state).toBe('open')
      expect(held.length).toBeGreaterThanOrEqual(answered)
      for (let at = 0; at < held.length; at += 1024 * 1024) {
        const got = await disk.chunks.read(chunkId(1), at, 1024 * 1024)
        for (let i = 0; i < got.length; i++)
          if (got[i] !== appendedByte(at + i)) throw new Error(`byte ${at + i} is wrong`)
      }
      await disk.close()
    }
    expect(answered).toBeGreaterThan(0)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}, 60_000)
