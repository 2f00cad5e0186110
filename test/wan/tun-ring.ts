/*
 * The memory that the thread which reads packets and the relay's thread share. One writes, one reads, neither waits.
 */

/** Number of packets read from the device, of packets taken out, and whether the relay has been woken and has not looked yet. */
export const WRITTEN_AT = 0
export const READ_AT = 1
export const WAKING = 2

/** Half a second of packets at 100 Mbit/s: longer than any pause of the garbage collector. The numbers stay below 2^31. */
export const RING_SLOTS = 4096
/** Before each packet: its length, and when it came. */
export const HEAD_BYTES = 16
/** A packet of 1500 bytes and its head. */
export const SLOT_BYTES = 2048

export interface Ring {
  readonly state: SharedArrayBuffer
  readonly slots: SharedArrayBuffer
}

export function newRing(): Ring {
  return { state: new SharedArrayBuffer(16), slots: new SharedArrayBuffer(RING_SLOTS * SLOT_BYTES) }
}
