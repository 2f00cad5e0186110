/*
 * Somebody who wants to speak to a role: with the identity in DIRECTORY, to HOST PORT of CLUSTER, as ROLE; of an agent it wants
 * the map. Prints what came of it as JSON.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostClock } from '../../src/host/clock.ts'
import { TlsNet } from '../../src/host/tls-net.ts'
import type { Role } from '../../src/wire/call-row.ts'
import { connectLink } from '../../src/wire/connect.ts'
import { PROTOCOL_VERSION } from '../../src/wire/protocol.ts'
import { quietLog } from '../support/quiet-log.ts'

const [identity, host, port, cluster, role] = process.argv.slice(2) as [string, string, string, string, string]
const runDir = mkdtempSync(join(tmpdir(), 'holdfast-stranger-'))
let outcome: object
try {
  const peer = await connectLink(new TlsNet(identity, runDir, hostClock, quietLog), host, Number(port), {
    hello: { version: PROTOCOL_VERSION, cluster, role: role as Role, name: 'stranger' },
    ...{ handlers: {}, clock: hostClock, log: quietLog, connectTimeoutMs: 2_000 },
  })
  const asked =
    role === 'mesh' ? await peer.call('memberMap', { since: 0, waitMs: 0 }, { timeoutMs: 2_000 }) : undefined
  outcome = { greeted: true, got: asked?.reply.map !== undefined }
  peer.close()
} catch (error) {
  outcome = { greeted: false, why: (error as Error).message }
}
rmSync(runDir, { recursive: true, force: true })
process.stdout.write(JSON.stringify(outcome), () => process.exit(0))
