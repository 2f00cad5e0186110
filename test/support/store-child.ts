/*
 * A process that counts up in a state store and says each number when it is committed, until somebody kills it.
 */

import { writeSync } from 'node:fs'
import { LmdbStore } from '../../src/master/lmdb-store.ts'

const store = LmdbStore.open(process.argv[2]!, { takeOverBytes: 20_000 })
let count = Number(Buffer.from(store.get('xcount') ?? Buffer.from('0')).toString())
for (;;) {
  count += 1
  const value = Buffer.from(`${count}`)
  store.transaction(() => {
    store.put('xcount', value)
    store.put('icount', value)
    store.put(`e${String(count).padStart(9, '0')}`, Buffer.from('row'))
  })
  await store.committed()
  if (count % 5 === 0) await new Promise((resolve) => setImmediate(resolve))
  writeSync(1, `${count}\n`)
}
