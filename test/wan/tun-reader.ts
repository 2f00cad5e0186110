/*
 * A thread that does nothing but read packets from a TUN device, waiting in the system call, and puts them with the time
 * they came into a ring in shared memory. The relay's own thread never waits, so its timers stay exact.
 */

import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { HEAD_BYTES, READ_AT, RING_SLOTS, type Ring, SLOT_BYTES, WAKING, WRITTEN_AT } from './tun-ring.ts'

const { fd, ring } = workerData as { fd: number; ring: Ring }
const state = new Int32Array(ring.state)
const slots = new Uint8Array(ring.slots)
const heads = new DataView(ring.slots)
const spare = new Uint8Array(SLOT_BYTES)

for (;;) {
  const written = Atomics.load(state, WRITTEN_AT)
  const full = written - Atomics.load(state, READ_AT) >= RING_SLOTS
  const at = (written % RING_SLOTS) * SLOT_BYTES
  const room = full ? spare : slots.subarray(at + HEAD_BYTES, at + SLOT_BYTES)
  const bytes = readSync(fd, room)
  // The relay is that far behind: dropped, as a router would.
  if (full) continue
  heads.setUint32(at, bytes)
  heads.setFloat64(at + 8, Number(process.hrtime.bigint()) / 1e6)
  Atomics.store(state, WRITTEN_AT, written + 1)
  if (Atomics.exchange(state, WAKING, 1) === 0) parentPort!.postMessage(null)
}
