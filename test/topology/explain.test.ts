import { describe, expect, test } from 'vitest'
import { diskId, nodeId } from '../../src/base/ids.ts'
import type { Candidate, CandidateState } from '../../src/topology/assign.ts'
import { explain, type PlacingReport } from '../../src/topology/explain.ts'
import { parsePlacing } from '../../src/topology/labels.ts'

function at(disk: number, node: number, labels: string, place = '', state: CandidateState = 'ready'): Candidate {
  const [site, rack] = place.split('/')
  const location = { host: `h${node}`, ...(site && { site }), ...(rack && { rack }) }
  return { disk: diskId(disk), node: nodeId(node), location, labels: new Set(labels), state }
}
const home = [at(1, 1, 'H', 'home/a'), at(2, 2, 'H', 'home/b'), at(3, 2, 'S', 'home/b'), at(4, 3, 'H', 'away/c')]

const explained = (text: string, disks: readonly Candidate[] = home): PlacingReport =>
  explain(parsePlacing(text)!, 'std', disks)
const fatal = (report: PlacingReport): string[] =>
  report.losses.map(({ kind, of, fatal }) => `${kind} ${fatal.join(' ') || '-'} of ${of}`)

describe('explaining a placing', () => {
  test('names the disks of every clause', () => {
    const full = [...home, at(5, 5, 'H', 'away/c', 'full')]
    expect(explained('2H,S', full).clauses).toEqual([
      { labels: 'H', wanted: 2, disks: [1, 2, 4, 5], ready: 3 },
      { labels: 'S', wanted: 1, disks: [3], ready: 1 },
    ])
  })

  test('says what finds no place, however loose the class is', () => {
    expect(explained('2S:l')).toMatchObject({ possible: false, missing: ['S'] })
    expect(explained('4H')).toMatchObject({ possible: false, missing: ['H'] })
    expect(explained('3H/[RACK]')).toMatchObject({ possible: true, missing: [] })
    expect(explained('3H/[SITE]')).toMatchObject({ possible: false, missing: ['H'] })
    expect(explained('@2+1,H').possible).toBe(true)
    expect(explained('*', [])).toMatchObject({ possible: false, missing: ['*'] })
  })

  test('says which single losses it would not survive', () => {
    expect(fatal(explained('2H'))).toEqual(['disk - of 4', 'node - of 3', 'rack - of 3', 'site home of 2'])
    expect(fatal(explained('2H/[SITE]'))).toEqual([
      'disk 4 of 4',
      'node 3 of 3',
      'rack away/c of 3',
      'site home away of 2',
    ])
    expect(fatal(explained('S'))).toEqual(['disk 3 of 4', 'node 2 of 3', 'rack home/b of 3', 'site home of 2'])
    expect(fatal(explained('4H'))).toEqual(['disk - of 4', 'node - of 3', 'rack - of 3', 'site - of 2'])
  })

  test('knows nothing of racks and sites that nobody named', () => {
    const unnamed = [at(1, 1, ''), at(2, 2, '')]
    expect(fatal(explained('2', unnamed))).toEqual(['disk 1 2 of 2', 'node 1 2 of 2', 'rack - of 0', 'site - of 0'])
  })
})
