/* The reference model keeps the contract that others are compared with. */

import { vfsConformance } from '../conformance/vfs.ts'
import { MemoryVfs } from '../support/memory-vfs.ts'
import { realClock } from '../support/real-clock.ts'

vfsConformance('memory', async () => ({ vfs: new MemoryVfs(realClock), stop: async () => undefined }), {
  second: false,
})
