import { describe, expect, it } from 'vitest'
import { renderFile } from '../../src/cli/commands/file.ts'
import type { CopyReport, FileChunkReport, FileReport } from '../../src/wire/reports.ts'

const copy = (disk: number, rest: Partial<CopyReport> = {}): CopyReport => ({
  disk,
  nodeName: `node-${disk}`,
  path: '/d',
  rack: 'r1',
  site: 's1',
  connected: true,
  readable: true,
  ...rest,
})
const chunk = (rest: Partial<FileChunkReport>): FileChunkReport => ({
  chunk: '0000000000000002',
  state: 'sealed',
  length: 1000,
  liveBytes: 1000,
  class: 'hddec',
  phase: 'keep',
  ec: null,
  ecWanted: null,
  wanted: 2,
  there: 2,
  copies: [],
  parts: [],
  missing: [],
  ...rest,
})
const file = (chunks: FileChunkReport[]): FileReport => ({
  path: '/f',
  ino: 2,
  type: 'file',
  size: 1000,
  used: 1000,
  copiesWanted: 2,
  class: 'hddec',
  trashRetentionMs: 0,
  sites: [],
  extents: [{ offset: 0, length: 1000, chunk: '0000000000000002', chunkOffset: 0, lost: 0 }],
  chunks,
})

describe('a file shown to people', () => {
  it('says of each copy where it stands and whether it can be read now', () => {
    const copies = [copy(1), copy(2, { connected: false, readable: false }), copy(3, { readable: false })]
    const text = renderFile(file([chunk({ copies, there: 1, missing: ['a copy on H'] })]))
    expect(text).toMatch(/sealed +hddec +keep .*copies +1 of 2 +a copy on H/)
    expect(text).toMatch(/copy +1 +node-1:\/d +r1 +s1 +yes/)
    expect(text).toMatch(/copy +2 +node-2:\/d .* no: away/)
    expect(text).toMatch(/copy +3 +node-3:\/d .* no: incomplete or damaged/)
  })
  it('shows parts by number and kind, also one that no disk has', () => {
    const parts = [
      { kind: 'data' as const, part: 1, chunk: 'a', length: 500, copies: [copy(1)] },
      { kind: 'data' as const, part: 2, chunk: 'b', length: 500, copies: [] },
      { kind: 'parity' as const, part: 3, chunk: 'c', length: 500, copies: [copy(3)] },
    ]
    const text = renderFile(file([chunk({ ec: { data: 2, parity: 1 }, phase: 'archive', wanted: 3, parts })]))
    expect(text).toMatch(/archive .* 2\+1 +2 of 3/)
    expect(text).toMatch(/data 1 of 3 +1 /)
    expect(text).toMatch(/data 2 of 3 +NOWHERE .* no/)
    expect(text).toMatch(/parity 3 of 3 +3 /)
  })
  it('says so when a chunk is on no disk at all', () => {
    expect(renderFile(file([chunk({ there: 0 })]))).toMatch(/copy +NOWHERE/)
  })
})
