import { describe } from 'vitest'
import { wireGuardSuite } from '../conformance/wireguard.ts'
import { FakeWireGuard } from '../support/fake-wireguard.ts'

describe('the fake of WireGuard', () => wireGuardSuite((keyFile) => new FakeWireGuard('fake0', keyFile)))
