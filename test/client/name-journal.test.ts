import { expect, test } from 'vitest'
import { freshAttr } from '../../src/base/attr.ts'
import type { Ino } from '../../src/base/ids.ts'
import { NameJournal } from '../../src/client/name-journal.ts'
import type { MasterSession } from '../../src/client/session.ts'
import { RemoteError } from '../../src/wire/link.ts'
import type { NameChange } from '../../src/wire/shapes.ts'
import { countingRandom, ManualClock, silentLog } from '../support/manual-clock.ts'
import { MemoryNet } from '../support/memory-net.ts'

const AT = { sec: 1000, nsec: 0 }
const ROOT = freshAttr(1 as Ino, 'dir', 0o755, { uid: 0, gid: 0 }, AT)
const FILE = { type: 'file', mode: 0o644, uid: 0, gid: 0, opened: false } as const

test('a batch that the master cannot read is reported change by change, and what comes behind it is told', async () => {
  const clock = new ManualClock()
  const heard: string[] = []
  const refused: string[] = []
  const session = {
    id: 7,
    closed: false,
    leased: () => true,
    now: () => AT,
    change: async (call: string, request: { changes: NameChange[] }) => {
      if (call === 'inosReserve') return { first: 100, count: 2560 }
      const names = request.changes.map(({ name }) => name)
      if (names.includes('poison')) throw new RemoteError('EINVAL', 'a field that nobody knows')
      heard.push(...names)
      return { errnos: names.map(() => 0), parents: [] }
    },
  }
  const journal = new NameJournal(
    { clock, random: countingRandom(), log: silentLog, net: new MemoryNet() },
    session as unknown as MasterSession,
    {
      told: () => {},
      born: () => {},
      unlinked: () => {},
      refused: ({ name }, error) => refused.push(`${name} ${error.code}`),
    },
  )
  journal.hold(1 as Ino, journal.recalls)
  await Promise.resolve()
  const make = (name: string) => journal.make(ROOT, name, FILE)
  expect(make('before')?.ino).toBe(100)
  expect(make('poison')?.ino).toBe(101)
  await journal.settle()
  expect(refused).toEqual(['before EINVAL', 'poison EINVAL'])
  make('after')
  await journal.settle()
  expect(heard).toEqual(['after'])
})
