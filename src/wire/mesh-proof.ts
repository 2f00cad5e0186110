/*
 * What a joining node proves with its token's key, in bytes: HMAC-SHA256 over this is the proof. All parts have one length
 * each, so no two sets of values give the same bytes. The exporter value is that of the TLS session of the join
 * (RFC 5705): a proof that was overheard or relayed is worth nothing in another session.
 */

const WORD = 'holdfast-join-v1'
/** The label under which both ends of the TLS session export their 32 bytes. */
export const EXPORTER_LABEL = 'EXPORTER-holdfast-join-v1'
export const EXPORTED_BYTES = 32

export interface Proved {
  readonly exporter: Uint8Array
  /** WireGuard's public key, base64. */
  readonly key: string
  /** Hex. */
  readonly request: string
  /** Hex. */
  readonly node: string
}

export const bytesToProve = ({ exporter, key, request, node }: Proved): Buffer =>
  Buffer.concat([
    Buffer.from(WORD, 'latin1'),
    exporter,
    Buffer.from(key, 'base64'),
    Buffer.from(request, 'hex'),
    Buffer.from(node, 'hex'),
  ])
