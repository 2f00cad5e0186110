import { describe, expect, it } from 'vitest'
import { type Health, healthOf, renderHealth } from '../../src/cli/health.ts'
import { classWith, writeClass } from '../../src/topology/storage-class.ts'
import type {
  ClassesReport,
  ClassReport,
  DiskReport,
  NodeReport,
  ScrubReport,
  StatusReport,
} from '../../src/wire/reports.ts'

const node = (number: number, rest: Partial<NodeReport> = {}): NodeReport => ({
  node: number,
  name: `node-${number}`,
  host: `10.0.0.${number}`,
  port: 9461,
  version: '0.1.0',
  machine: '',
  rack: '',
  site: '',
  labels: [],
  labelsSet: false,
  connected: true,
  awaySeconds: 0,
  graceLeftSeconds: 0,
  graceSeconds: 600,
  graceSet: false,
  maintenanceLeftSeconds: 0,
  ...rest,
})
const disk = (number: number, rest: Partial<DiskReport> = {}): DiskReport => ({
  disk: number,
  node: number,
  nodeName: `node-${number}`,
  path: '/d',
  state: 'ok',
  error: '',
  draining: false,
  totalBytes: 1e12,
  usedBytes: 1e9,
  availableBytes: 1e11,
  reservedBytes: 0,
  chunks: 5,
  errors: 0,
  toMove: 0,
  toMoveAtStart: 0,
  drainSecondsLeft: null,
  drainedForErrors: false,
  scrub: null,
  labels: [],
  labelsSet: false,
  ...rest,
})
const status = (rest: Partial<StatusReport> = {}): StatusReport => ({
  cluster: 'c',
  version: '0.1.0',
  uptimeSeconds: 5,
  changelogIndex: 1,
  settings: {
    ...{ copies: 2, graceMs: 600_000, trashRetentionMs: 0, sessionTimeoutMs: 0, backupLabels: [] },
    moving: {
      ...{ rebalance: true, rebalancePercent: 5 },
      ...{ diskBytesPerSecond: 0, nodeBytesPerSecond: 0, sitesBytesPerSecond: 0 },
    },
  },
  files: 1,
  directories: 1,
  trashed: 0,
  sustained: 0,
  quotas: { set: 0, exceeded: 0, counting: 0 },
  logicalBytes: 0,
  totalBytes: 0,
  usedBytes: 0,
  availableBytes: 0,
  reservedBytes: 0,
  chunks: { safe: 7, under: 0, endangered: 0, lost: 0, over: 0, open: 0, lostBytes: 0 },
  repair: { waiting: [], running: 0, nowhere: 0, endangeredCoded: 0, secondsLeft: null },
  behind: { nowSec: 0, atLeast: false, rows: [] },
  usage: { counting: false, deletedBytes: 0, classes: [] },
  nodes: [node(1), node(2)],
  disks: [disk(1), disk(2)],
  sessions: [],
  work: [],
  ...rest,
})
const oneClass = (
  name: string,
  flags: Parameters<typeof classWith>[1],
  rest: Partial<ClassReport> = {},
): ClassReport => ({
  classId: 2,
  ...writeClass(classWith(name, flags)),
  inodes: 1,
  ...rest,
})
const byDefault: ClassReport = oneClass('default', { K: '2' }, { classId: 1, keep: '', inodes: null })
const classes = (...more: ClassReport[]): ClassesReport => ({
  classes: [byDefault, ...more],
  patterns: [],
  usage: status().usage,
  copies: 2,
})

const health = (rest: Partial<StatusReport> = {}, ...more: ClassReport[]): Health =>
  healthOf(status(rest), classes(...more))
const chunks = (rest: Partial<StatusReport['chunks']>) => ({ ...status().chunks, ...rest })
const repair = (rest: Partial<StatusReport['repair']>) => ({ ...status().repair, ...rest })
const text = (rest: Partial<StatusReport>, ...more: ClassReport[]): string => renderHealth(health(rest, ...more))

describe('the health of a cluster', () => {
  it('without any trouble is one sentence', () => {
    expect(health()).toMatchObject({ verdict: 'healthy', exit: 0 })
    expect(text({})).toBe('All is well: 7 chunks are safe; 2 chunkservers and 2 disks are there.')
    expect(text({ chunks: chunks({ safe: 1, open: 3 }) })).toContain('1 chunk is safe, 3 being written;')
  })

  it('names what is lost first, and what may bring it back', () => {
    const lost = chunks({ lost: 2, lostBytes: 1024, endangered: 1 })
    const found = health({ chunks: lost, nodes: [node(1), node(2, { connected: false, awaySeconds: 60 })] })
    expect(found).toMatchObject({ verdict: 'lost', exit: 2 })
    expect(found.sentences.map(({ level }) => level)).toEqual(['lost', 'endangered', 'degraded'])
    expect(found.sentences[0]).toMatchObject({
      what: '2 chunks are lost, 1.00 KiB of files with them: on no disk that can be read now.',
      todo: '`holdfast check` names the files. They may come back with node-2: bring that back first, and remove nothing.',
    })
    expect(health({ chunks: chunks({ lostBytes: 10 }) }).sentences[0]!.what).toBe(
      '10 B at the end of files are lost: no disk has them.',
    )
    const failed = health({ chunks: lost, disks: [disk(1, { state: 'failed' }), disk(2)] })
    expect(failed.sentences[0]!.todo).toContain('They may come back with disk 1 (node-1:/d)')
  })

  it('tells endangered copies from codes at their limit, with what is done and how long it takes', () => {
    const both = { chunks: chunks({ endangered: 5 }), repair: repair({ endangeredCoded: 2 }) }
    expect(health(both)).toMatchObject({ verdict: 'endangered', exit: 2 })
    expect(text(both)).toBe(
      'ENDANGERED: 3 chunks have one copy left and 2 erasure-coded chunks are down to as few parts as are enough: with one more disk data would be lost.\n' +
        '  What is away is waited for as long as a restart takes; then they are mended before all else.',
    )
    expect(text({ ...both, repair: repair({ endangeredCoded: 5 }) })).toContain(
      'ENDANGERED: 5 erasure-coded chunks are',
    )
    const waiting = [
      { urgency: 'endangered', chunks: 3 },
      { urgency: 'under', chunks: 1 },
      { urgency: 'over', chunks: 100 },
    ]
    const busy = repair({ running: 2, waiting, secondsLeft: 90 })
    expect(text({ chunks: chunks({ endangered: 1 }), repair: busy })).toBe(
      'ENDANGERED: 1 chunk has one copy left: with one more disk data would be lost.\n' +
        '  They are being mended before all else: 2 now, 2 waiting. 1 min 30 s left.\n\n' +
        'Chunks that are safe and still on their way: 100 with more copies than wanted.\n' +
        '  Nobody has to wait for it.',
    )
  })

  it('counts what is under its number, and says when no disk may take the rest', () => {
    const found = health({ chunks: chunks({ under: 4 }), repair: repair({ running: 1, secondsLeft: null }) })
    expect(found).toMatchObject({ verdict: 'degraded', exit: 1 })
    expect(found.sentences[0]).toMatchObject({
      what: '4 chunks have fewer copies or parts than wanted, but more than the last.',
      doing: 'They are being mended: 1 now, 0 waiting.',
      secondsLeft: null,
    })
    const nowhere = text({ chunks: chunks({ under: 4 }), repair: repair({ nowhere: 4 }) })
    expect(nowhere).toContain('For 4 of them no disk may take a copy now.')
    expect(nowhere).toContain('To do: add a disk (`holdfast disk add`)')
    expect(text({ repair: repair({ nowhere: 1 }) })).toContain(
      'DEGRADED: 1 chunk has copies where their class does not want them, for want of a disk.',
    )
  })

  it('lists what is safe and still on its way as a note', () => {
    const waiting = ['misplaced', 'converting', 'draining'].map((urgency) => ({ urgency, chunks: 2 }))
    expect(health({ repair: repair({ waiting }) }).exit).toBe(0)
    expect(text({ repair: repair({ waiting }) })).toContain(
      '2 with copies that belong on other disks, 2 to be cut into parts or put together again.',
    )
  })

  it('says that the master takes no changes, and why', () => {
    const work = [{ name: 'changes', state: 'failed' as const, progress: '', queued: 0, lastError: 'read-only: full' }]
    expect(health({ work }).exit).toBe(1)
    expect(text({ work })).toContain('DEGRADED: The master takes no changes: read-only: full.\n  Files can be read')
  })

  it('says that there is nobody to write to', () => {
    expect(text({ nodes: [], disks: [] })).toContain('There is no chunkserver yet: nothing can be read or written.')
    expect(
      text({ nodes: [node(1, { connected: false, awaySeconds: 3 })], disks: [disk(1, { state: 'away' })] }),
    ).toContain('No chunkserver is connected: nothing can be read or written.')
    expect(text({ disks: [] })).toContain('No disk is in use: nothing can be written.')
  })

  it('counts down for a chunkserver that is away, and says what to do when it is over', () => {
    const gone = (rest: Partial<NodeReport>) =>
      health({ nodes: [node(1), node(2, { connected: false, awaySeconds: 180, ...rest })] }).sentences[0]
    expect(gone({ graceLeftSeconds: 420 })).toEqual({
      level: 'degraded',
      what: 'node-2 has been away for 3 min.',
      doing: 'It is waited for; then what it holds is copied elsewhere, what is endangered at once.',
      secondsLeft: 420,
      todo: 'start it, or give it more time: `holdfast node maintenance node-2 on --for 2h`.',
    })
    expect(gone({})).toMatchObject({ what: 'node-2 has been away for 3 min, longer than it is waited for.' })
    expect(gone({})!.doing).toBe('What it holds (5 chunks) is being copied elsewhere.')
    const nodes = [node(1), node(2, { connected: false, awaySeconds: 700 })]
    const empty = [disk(1), disk(2, { state: 'away', chunks: 0 }), disk(3, { node: 1 })]
    expect(text({ nodes, disks: empty })).toContain('All that it held is elsewhere by now.')
    expect(gone({})!.todo).toContain('`holdfast node remove node-2`')
    expect(gone({ maintenanceLeftSeconds: 60, graceLeftSeconds: 60 })).toMatchObject({
      what: 'node-2 has been away for 3 min, in maintenance.',
      secondsLeft: 60,
    })
  })

  it('notes a maintenance of a chunkserver that is there', () => {
    const nodes = [node(1, { maintenanceLeftSeconds: 3600 }), node(2)]
    expect(health({ nodes }).exit).toBe(0)
    expect(text({ nodes })).toContain(
      'node-1 is in maintenance and connected.\n  It may be away without being copied. 1 h left.',
    )
  })

  it('says what to do about disks that failed, vanished, cannot be written, or are not reported', () => {
    const of = (rest: Partial<DiskReport>) => text({ disks: [disk(1, rest), disk(2), disk(3)] })
    expect(of({ state: 'failed', error: 'EIO' })).toContain(
      'DEGRADED: Disk 1 (node-1:/d) has failed: EIO.\n  What it held (5 chunks) is copied elsewhere.\n  To do: replace it',
    )
    expect(of({ state: 'gone', chunks: 0 })).toContain(
      'has vanished.\n  Nothing counts on it any more.\n  To do: `holdfast disk remove 1`',
    )
    expect(of({ state: 'readonly' })).toContain('can only be read.\n  To do: `holdfast disk drain 1`')
    expect(of({ state: 'away' })).toContain('Disk 1 (node-1:/d) is not reported by its chunkserver.')
  })

  it('tells one full disk from all of them being full', () => {
    const one = { disks: [disk(1, { state: 'full' }), disk(2), disk(3)] }
    expect(health(one).exit).toBe(0)
    expect(text(one)).toContain('Disk 1 (node-1:/d) is full.\n  New data goes to the others.')
    const two = { disks: [disk(1, { state: 'full' }), disk(2, { state: 'full' }), disk(3)] }
    expect(text(two)).toContain('2 disks (1, 2) are full.')
    const all = { disks: [disk(1, { state: 'full' }), disk(2, { state: 'full' })] }
    expect(health(all).exit).toBe(1)
    expect(text(all)).toContain('DEGRADED: Every disk is full: nothing new can be written.')
  })

  it('follows a drain to its end', () => {
    const of = (rest: Partial<DiskReport>) => ({
      disks: [disk(1, { draining: true, toMoveAtStart: 10, ...rest }), disk(2), disk(3, { node: 1 })],
    })
    expect(text(of({ toMove: 4, drainSecondsLeft: 40 }))).toContain(
      'Disk 1 (node-1:/d) is being emptied: 4 of 10 chunks left.\n  Its chunks are copied to other disks first. 40 s left.',
    )
    expect(health(of({ toMove: 4 })).exit).toBe(0)
    expect(text(of({}))).toContain('was emptied.\n  To do: `holdfast disk remove 1`')
    const errors = of({ toMove: 4, drainedForErrors: true })
    expect(health(errors).exit).toBe(1)
    expect(text(errors)).toContain('is being emptied because of its errors: 4 of 10 chunks left.')
  })

  it('says when the scrubber is behind its period', () => {
    const round: ScrubReport = {
      startedMs: 0,
      chunks: 2,
      bytes: 5,
      damaged: 0,
      finished: false,
      days: 30,
      lateSeconds: 7200,
      secondsLeft: 3600,
    }
    const of = (rest: Partial<ScrubReport>) => ({ disks: [disk(1, { scrub: { ...round, ...rest } }), disk(2)] })
    expect(text(of({}))).toContain(
      'Disk 1 (node-1:/d) has not been read through in its 30 days: the round is 2 h late.\n  2 of 5 chunks are checked. 1 h left.',
    )
    expect(health(of({})).exit).toBe(1)
    expect(health(of({ lateSeconds: 0 })).exit).toBe(0)
  })

  it('names background work that fails', () => {
    const work = [{ name: 'collect', state: 'failed' as const, progress: '', queued: 0, lastError: 'no space left' }]
    expect(text({ work })).toContain('DEGRADED: Work in the background fails (collect): no space left.')
  })

  it('says which class cannot be satisfied, by which clause, and why', () => {
    const hdd = oneClass('hddonly', { C: 'I', K: 'H,H/[RACK]:s' })
    const nodes = (...racks: string[]) => racks.map((rack, i) => node(i + 1, { labels: ['H', 'I'], rack, site: 's' }))
    expect(health({ nodes: nodes('r1', 'r2') }, hdd).exit).toBe(0)
    expect(text({ nodes: nodes('r1', 'r1') }, hdd)).toContain(
      'DEGRADED: Class hddonly cannot be satisfied now: keep 2H/[RACK]:STRICT: there are disks enough, but not on enough chunkservers (or racks, sites, as it asks) for one on H.',
    )
    const few = text({ nodes: [node(1, { labels: ['H'], rack: 'r1' }), node(2, { rack: 'r2' })] }, hdd)
    expect(few).toContain('I wants 1 disk, and none can take data')
    expect(few).toContain('H wants 2 disks, and 1 can take data')
    expect(few).toContain('`holdfast class explain hddonly`')
    const unused = { ...hdd, inodes: 0 }
    expect(health({ nodes: nodes('r1', 'r1') }, unused).exit).toBe(0)
    expect(text({ nodes: nodes('r1', 'r1') }, unused)).toContain('Class hddonly (nothing has it now) cannot be')
    // It only wants a larger cluster.
    const large = oneClass('EC4+1', { K: '2', A: '@4+1' })
    expect(text({ nodes: nodes('r1', 'r2') }, { ...large, inodes: 0 })).not.toContain('EC4+1')
    expect(text({ nodes: nodes('r1', 'r2') }, large)).toContain('Class EC4+1 cannot be satisfied now')
    const away = { nodes: nodes('r1', 'r2'), disks: [disk(1), disk(2, { state: 'away' })] }
    expect(text(away, hdd)).toContain('H wants 2 disks, and 1 of 2 can take data')
  })

  it('notes that one copy is no safety', () => {
    const one = { settings: { ...status().settings, copies: 1 } }
    const found = healthOf(status(one), { ...classes(), copies: 1 })
    expect(found.exit).toBe(0)
    expect(renderHealth(found)).toContain(
      'have one copy: what a disk holds is lost with it.\n  To do: `holdfast settings set --copies 2`.',
    )
  })

  it('notes quotas that are exceeded', () => {
    const quotas = { set: 3, exceeded: 2, counting: 0 }
    expect(health({ quotas }).exit).toBe(0)
    expect(text({ quotas })).toContain('2 quotas are exceeded.\n  To do: `holdfast quota list` shows which.')
  })

  it('never lets a name change the terminal', () => {
    expect(text({ disks: [disk(1, { state: 'failed', path: '/a\u001b[31m' }), disk(2)] })).toContain('/a\\x1b[31m')
  })
})
