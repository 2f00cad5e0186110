/*
 * How large a packet gets through to a peer. wireguard-go forbids fragmenting its packets, and where a router on the way takes
 * less and the message about it is filtered, everything that is too large vanishes: a connection that shakes hands and then
 * carries nothing. So every peer begins with a size that passes everywhere, and is raised step by step to what an echo of
 * that size has proved. When large ones stop coming back while small ones do, it goes down at once.
 *
 * Pure: the caller sends the echoes that `nextEcho` asks for and says what came of them; `mtu` goes into the peer's route.
 */

/**
 * Inner sizes in use out there, all multiples of 16 so that WireGuard's padding adds nothing: IPv6's minimum, then VXLAN and
 * PPPoE in several wrappings; 1420 is a plain 1500 with IPv6 outside.
 */
export const MTU_LADDER: readonly number[] = [1280, 1328, 1360, 1376, 1392, 1408, 1420]
export const MTU_MIN = 1280
/** What WireGuard adds outside: IPv6 40, UDP 8, its own 32. */
const OVERHEAD_BYTES = 80
/** IPv4 and UDP headers of an echo: what its payload lacks of the size of its packet. */
export const ECHO_HEADER_BYTES = 28

/** A size is too large when none of so many echoes came back. */
const TRIES = 3
/** Routes change; an hour is often enough, what became too large is noticed at once. */
export const REPROBE_MS = 3_600_000

export interface MtuState {
  /** For the peer's route: proved, or the smallest. */
  readonly mtu: number
  readonly top: number
  /** The size under test; undefined: at rest. */
  readonly testing: number | undefined
  /** Echoes of that size lost in a row. */
  readonly lost: number
  /** Full-size echoes lost in a row while smaller ones came back. */
  readonly holes: number
  readonly restUntilMs: number
}

/** The interface's own size: 1420, or what the link below leaves. */
export const interfaceMtu = (linkMtu: number): number => Math.max(MTU_MIN, Math.min(1420, linkMtu - OVERHEAD_BYTES))

const above = (size: number, top: number): number | undefined => MTU_LADDER.find((step) => step > size && step <= top)
const below = (size: number): number => MTU_LADDER.findLast((step) => step < size) ?? MTU_MIN

export function newMtu(linkMtu = 1500): MtuState {
  const top = interfaceMtu(linkMtu)
  return { mtu: MTU_MIN, top, testing: above(MTU_MIN, top), lost: 0, holes: 0, restUntilMs: 0 }
}

/** The size of which an echo is to be sent now. At rest that is now and then one of the full size. */
export const nextEcho = (state: MtuState): number => state.testing ?? state.mtu

/** After the way has changed (relay to direct, another endpoint): what was proved was another way. */
export const onNewWay = (state: MtuState): MtuState => ({
  ...state,
  mtu: MTU_MIN,
  testing: above(MTU_MIN, state.top),
  lost: 0,
  holes: 0,
})

/** An hour is over, or TCP to the peer stalls. */
export function onTick(
  state: MtuState,
  nowMs: number,
  { stalled = false }: { readonly stalled?: boolean } = {},
): MtuState {
  if (stalled) return onNewWay(state)
  if (state.testing !== undefined || nowMs < state.restUntilMs) return state
  return { ...state, testing: above(state.mtu, state.top), lost: 0, restUntilMs: nowMs + REPROBE_MS }
}

/**
 * What became of an echo of `size`. `alive`: whether a small one sent at the same time came back; if not, the peer is away and
 * nothing is learned of sizes.
 */
export function onEcho(state: MtuState, size: number, answered: boolean, alive: boolean, nowMs: number): MtuState {
  if (answered) {
    if (size === state.testing) {
      const testing = above(size, state.top)
      return {
        ...state,
        mtu: size,
        testing,
        lost: 0,
        holes: 0,
        restUntilMs: testing === undefined ? nowMs + REPROBE_MS : state.restUntilMs,
      }
    }
    return size >= state.mtu ? { ...state, holes: 0 } : state
  }
  if (!alive) return state
  if (size === state.testing) {
    if (state.lost + 1 < TRIES) return { ...state, lost: state.lost + 1 }
    return { ...state, testing: undefined, lost: 0, restUntilMs: nowMs + REPROBE_MS }
  }
  if (size !== state.mtu || size === MTU_MIN) return state
  if (state.holes + 1 < TRIES) return { ...state, holes: state.holes + 1 }
  // Not upwards again before the hour: the size that was lost has just been seen to be too large.
  return { ...state, mtu: below(size), testing: undefined, lost: 0, holes: 0, restUntilMs: nowMs + REPROBE_MS }
}
