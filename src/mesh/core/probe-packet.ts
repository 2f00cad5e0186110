/*
 * The echo by which nodes measure each other: a UDP datagram over the mesh, sent back as it is with the time that it was held.
 *
 *   0 magic u16   2 version u8   3 flags u8 (1: answer)   4 sequence u32   8 sent u64 (ns, the sender's own clock)
 *   16 boot u32   20 epoch u16   22 zero u16   24 held u32 (µs)   28 zero u32   then zeros up to the size
 *
 * Only the sender reads his times. The answer is as long as the question, so a size that comes back has passed both ways, and
 * nobody gets more sent than he sends. Inside the tunnel no signature is needed: who it comes from is known.
 */

export const PROBE_BYTES_MIN = 32
/** The largest inner packet, less the headers of IPv4 and UDP. */
export const PROBE_BYTES_MAX = 1420 - 28
const MAGIC = 0x4846
const VERSION = 1
const ANSWER = 1
const FLAGS_AT = 3
const HELD_AT = 24
const HELD_US_MAX = 0xffff_ffff

export interface ProbePacket {
  readonly answer: boolean
  readonly sequence: number
  readonly sentNs: bigint
  readonly boot: number
  /** Counts the ways that the pair has had: an answer to a question of before says nothing about this one. */
  readonly epoch: number
  readonly heldUs: number
}

export function writeProbe(packet: Omit<ProbePacket, 'answer' | 'heldUs'>, sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(Math.min(Math.max(sizeBytes, PROBE_BYTES_MIN), PROBE_BYTES_MAX))
  bytes.writeUInt16BE(MAGIC, 0)
  bytes[2] = VERSION
  bytes.writeUInt32BE(packet.sequence, 4)
  bytes.writeBigUInt64BE(packet.sentNs, 8)
  bytes.writeUInt32BE(packet.boot, 16)
  bytes.writeUInt16BE(packet.epoch, 20)
  return bytes
}

/** undefined: none of ours. */
export function readProbe(bytes: Buffer): ProbePacket | undefined {
  if (bytes.length < PROBE_BYTES_MIN || bytes.readUInt16BE(0) !== MAGIC || bytes[2] !== VERSION) return undefined
  return {
    answer: (bytes[FLAGS_AT]! & ANSWER) !== 0,
    sequence: bytes.readUInt32BE(4),
    sentNs: bytes.readBigUInt64BE(8),
    boot: bytes.readUInt32BE(16),
    epoch: bytes.readUInt16BE(20),
    heldUs: bytes.readUInt32BE(HELD_AT),
  }
}

/** Makes the question its own answer, in place. */
export function makeAnswer(bytes: Buffer, heldUs: number): void {
  bytes[FLAGS_AT]! |= ANSWER
  bytes.writeUInt32BE(Math.min(Math.max(0, Math.round(heldUs)), HELD_US_MAX), HELD_AT)
}

/** Milliseconds on the way; undefined when somebody claims to have held it longer than it was away. */
export function roundTripMs(packet: ProbePacket, nowNs: bigint): number | undefined {
  const awayNs = nowNs - packet.sentNs - BigInt(packet.heldUs) * 1000n
  return awayNs < 0n ? undefined : Number(awayNs) / 1e6
}

/** How often a peer is asked: rounds of so many echoes, 20 ms apart. */
export const paces = {
  /** Enough for a minimum that means something, little enough for 300 nodes. */
  usual: { everyMs: 10_000, echoes: 3 },
  /** After a loss, and while its MTU is being found: three in a row are 3 to 4 s. */
  quick: { everyMs: 1_000, echoes: 1 },
  /** While much is being sent there: what the throttle listens to. */
  busy: { everyMs: 100, echoes: 1 },
} as const
export type Pace = keyof typeof paces
export const ECHO_GAP_MS = 20
/** An echo that is away longer counts as lost: a link with a second of queue is of no use to anybody. */
export const ECHO_LOST_MS = 1_000

export interface ProbePeer {
  readonly id: string
  /** In the mesh. */
  readonly address: string
  readonly epoch: number
  readonly pace: Pace
  /** An inner packet of this size is asked for in each round as well (nextEcho of the MTU ladder). */
  readonly packetBytes?: number
}

/** What became of a round, told when its last echo is back or lost. */
export interface ProbeRound {
  readonly id: string
  readonly epoch: number
  readonly sent: number
  /** Of those that came back, in the order of sending. */
  readonly rttsMs: readonly number[]
  readonly full?: { readonly packetBytes: number; readonly answered: boolean }
}

export interface ProbeOptions {
  /** Own address in the mesh; nothing is heard on any other. */
  readonly address: string
  readonly port: number
  /** Questions from elsewhere are not answered. */
  readonly prefix: string
  /** Another one after each start: answers to a former life count for nothing. */
  readonly boot: number
}

export type ProbeOrder = { readonly kind: 'peers'; readonly peers: readonly ProbePeer[] } | { readonly kind: 'stop' }
export type ProbeNews =
  | { readonly kind: 'ready'; readonly port: number }
  | { readonly kind: 'round'; readonly round: ProbeRound }
  | { readonly kind: 'failed'; readonly message: string }
