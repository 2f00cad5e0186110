/*
 * The state of a cluster in sentences, most urgent first: what is wrong, what is being done about it, how long that will
 * take, and what a person should do. Pure: from the master's reports, which say what is known at this moment. A rate that
 * nobody has seen yet is no time; then nothing is promised.
 *
 * How bad it is decides the exit code of `holdfast health`: 0 healthy, 1 degraded but safe, 2 endangered or lost.
 */

import { formatBytes, formatDuration } from '../base/units.ts'
import type { ClassesReport, ClassReport, DiskReport, NodeReport, StatusReport } from '../wire/reports.ts'
import { type Explained, explained, meaningOf, type Places, placesFrom, placingsOf } from './classes.ts'
import { count, printable } from './render.ts'

/** note: nothing is wrong, but somebody will want to know. */
export const LEVELS = ['lost', 'endangered', 'degraded', 'note'] as const
export type Level = (typeof LEVELS)[number]

export interface Sentence {
  readonly level: Level
  readonly what: string
  /** What is being done about it; '' where nothing is, or need be. */
  readonly doing: string
  /** By the rate seen of late, or by a set time; null where nobody can tell. */
  readonly secondsLeft: number | null
  /** What a person should do, with the command as it is typed; '' where nothing has to be done. */
  readonly todo: string
}

export interface Health {
  readonly verdict: 'healthy' | 'degraded' | 'endangered' | 'lost'
  readonly exit: 0 | 1 | 2
  readonly sentences: readonly Sentence[]
}

export function healthOf(status: StatusReport, classes: ClassesReport): Health {
  const places = placesFrom(status.disks, status.nodes)
  const found = [
    ...lost(status),
    ...endangered(status),
    ...refusing(status),
    ...nobody(status),
    ...under(status),
    ...status.nodes.flatMap((node) => away(node, status.disks)),
    ...status.disks.flatMap((disk) => broken(disk, status)),
    ...full(status),
    ...classes.classes.flatMap((one) => unsatisfied(one, classes, places)),
    ...status.disks.flatMap(draining),
    ...status.nodes.flatMap(maintenance),
    ...status.disks.flatMap(scrub),
    ...failing(status),
    ...tidying(status),
    ...quotas(status),
    ...single(status),
  ]
  // Sorting keeps the order within a level.
  const sentences = found.toSorted((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level))
  const worst = sentences[0]?.level ?? 'note'
  const verdict = worst === 'note' ? 'healthy' : worst
  return {
    verdict,
    exit: verdict === 'healthy' ? 0 : verdict === 'degraded' ? 1 : 2,
    sentences: verdict === 'healthy' ? [well(status), ...sentences] : sentences,
  }
}

export function renderHealth({ sentences }: Health): string {
  return sentences.map(renderSentence).join('\n\n')
}

function renderSentence({ level, what, doing, secondsLeft, todo }: Sentence): string {
  const lines = [`${level === 'note' ? '' : `${level.toUpperCase()}: `}${what}`]
  const time = secondsLeft === null || secondsLeft === 0 ? '' : `${lasting(secondsLeft)} left.`
  const now = [doing, time].filter((text) => text !== '').join(' ')
  if (now !== '') lines.push(`  ${now}`)
  if (todo !== '') lines.push(`  To do: ${todo}`)
  return lines.map(printable).join('\n')
}

const sentence = (level: Level, what: string, rest: Partial<Omit<Sentence, 'level' | 'what'>> = {}): Sentence => ({
  level,
  what,
  doing: '',
  secondsLeft: null,
  todo: '',
  ...rest,
})

const lasting = (seconds: number): string => formatDuration(Math.max(1, seconds) * 1000)
const are = (n: number, noun: string): string => `${count(n, noun)} ${n === 1 ? 'is' : 'are'}`
const have = (n: number, noun: string): string => `${count(n, noun)} ${n === 1 ? 'has' : 'have'}`
const named = (disk: DiskReport): string => `disk ${disk.disk} (${disk.nodeName}:${disk.path})`
const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`

// ---- chunks

function lost({ chunks, nodes, disks }: StatusReport): Sentence[] {
  if (chunks.lost === 0 && chunks.lostBytes === 0) return []
  const bytes = chunks.lostBytes > 0 ? `, ${formatBytes(chunks.lostBytes)} of files with them` : ''
  const missing = [
    ...nodes.filter((node) => !node.connected).map(({ name }) => name),
    ...disks.filter(isOut).map(named),
  ]
  const back =
    missing.length === 0
      ? ''
      : ` They may come back with ${listed(missing)}: bring that back first, and remove nothing.`
  return [
    sentence(
      'lost',
      chunks.lost > 0
        ? `${are(chunks.lost, 'chunk')} lost${bytes}: on no disk that can be read now.`
        : `${formatBytes(chunks.lostBytes)} at the end of files are lost: no disk has them.`,
      { todo: `\`holdfast check\` names the files.${back}` },
    ),
  ]
}

function endangered({ chunks, repair }: StatusReport): Sentence[] {
  if (chunks.endangered === 0) return []
  const coded = Math.min(repair.endangeredCoded, chunks.endangered)
  const copies = chunks.endangered - coded
  const parts = [
    copies > 0 ? `${have(copies, 'chunk')} one copy left` : '',
    coded > 0 ? `${are(coded, 'erasure-coded chunk')} down to as few parts as are enough` : '',
  ].filter((text) => text !== '')
  return [
    sentence(
      'endangered',
      `${parts.join(' and ')}: with one more disk data would be lost.`,
      mended(
        repair,
        ' before all else',
        'What is away is waited for as long as a restart takes; then they are mended before all else.',
      ),
    ),
  ]
}

function under({ chunks, repair }: StatusReport): Sentence[] {
  if (chunks.under === 0) {
    if (repair.nowhere === 0 || chunks.endangered > 0) return []
    return [
      sentence(
        'degraded',
        `${have(repair.nowhere, 'chunk')} copies where their class does not want them, for want of a disk.`,
        {
          todo: 'add disks or labels; `holdfast class list` and `holdfast class explain NAME` say what is wanted.',
        },
      ),
    ]
  }
  const what = `${have(chunks.under, 'chunk')} fewer copies or parts than wanted, but more than the last.`
  return [sentence('degraded', what, mended(repair, '', 'What is away is still waited for.'))]
}

/** What is done about missing copies. */
function mended(repair: StatusReport['repair'], when: string, idle: string): Partial<Sentence> {
  const { nowhere, running, secondsLeft } = repair
  const waiting = repair.waiting
    .filter(({ urgency }) => urgency === 'endangered' || urgency === 'under')
    .reduce((sum, { chunks }) => sum + chunks, 0)
  const doing =
    running > 0 || waiting > nowhere
      ? `They are being mended${when}: ${running} now, ${Math.max(0, waiting - running)} waiting.`
      : nowhere > 0
        ? `For ${nowhere} of them no disk may take a copy now.`
        : idle
  const todo =
    nowhere > 0
      ? 'add a disk (`holdfast disk add`) or free room; `holdfast class explain NAME` says what a class allows.'
      : ''
  return { doing, secondsLeft: running > 0 || waiting > nowhere ? secondsLeft : null, todo }
}

/** What is safe already and only not as it should be. */
function tidying({ repair }: StatusReport): Sentence[] {
  const words: Readonly<Record<string, string>> = {
    misplaced: 'with copies that belong on other disks',
    over: 'with more copies than wanted',
    converting: 'to be cut into parts or put together again',
  }
  const some = repair.waiting.filter(({ urgency, chunks }) => words[urgency] !== undefined && chunks > 0)
  if (some.length === 0) return []
  const list = some.map(({ urgency, chunks }) => `${chunks} ${words[urgency]}`)
  return [
    sentence('note', `Chunks that are safe and still on their way: ${list.join(', ')}.`, {
      doing: 'Nobody has to wait for it.',
    }),
  ]
}

// ---- the master, chunkservers, disks

function refusing({ work }: StatusReport): Sentence[] {
  const changes = work.find(({ name, state }) => name === 'changes' && state === 'failed')
  if (changes === undefined) return []
  return [
    sentence('degraded', `The master takes no changes: ${changes.lastError}.`, {
      doing: 'Files can be read; writers wait.',
      todo: "give the disk with the master's directory (`dataDir`) room, or replace it; it goes on by itself.",
    }),
  ]
}

function nobody({ nodes, disks }: StatusReport): Sentence[] {
  if (nodes.some(({ connected }) => connected))
    return disks.some(({ state }) => state !== 'away')
      ? []
      : [sentence('degraded', 'No disk is in use: nothing can be written.', { todo: 'holdfast disk add PATH' })]
  const what = nodes.length === 0 ? 'There is no chunkserver yet' : 'No chunkserver is connected'
  const todo = nodes.length === 0 ? 'start one: `holdfast run chunkserver --config FILE`.' : 'start them.'
  return [sentence('degraded', `${what}: nothing can be read or written.`, { todo })]
}

function away(node: NodeReport, disks: readonly DiskReport[]): Sentence[] {
  const { name, connected, awaySeconds, graceLeftSeconds, maintenanceLeftSeconds } = node
  if (connected) return []
  const held = disks.reduce((sum, disk) => sum + (disk.node === node.node ? disk.chunks : 0), 0)
  const since = `${name} has been away for ${lasting(awaySeconds)}`
  if (maintenanceLeftSeconds > 0)
    return [
      sentence('degraded', `${since}, in maintenance.`, {
        doing: 'What it holds is not copied elsewhere until that is over, except what is endangered.',
        secondsLeft: maintenanceLeftSeconds,
        todo: `start it, and then \`holdfast node maintenance ${name} off\`.`,
      }),
    ]
  if (graceLeftSeconds > 0)
    return [
      sentence('degraded', `${since}.`, {
        doing: 'It is waited for; then what it holds is copied elsewhere, what is endangered at once.',
        secondsLeft: graceLeftSeconds,
        todo: `start it, or give it more time: \`holdfast node maintenance ${name} on --for 2h\`.`,
      }),
    ]
  return [
    sentence('degraded', `${since}, longer than it is waited for.`, {
      doing:
        held > 0
          ? `What it holds (${count(held, 'chunk')}) is being copied elsewhere.`
          : 'All that it held is elsewhere by now.',
      todo: `start it: what it holds counts again at once. When it is gone for good: \`holdfast node remove ${name}\`.`,
    }),
  ]
}

function maintenance({ name, connected, maintenanceLeftSeconds }: NodeReport): Sentence[] {
  if (!connected || maintenanceLeftSeconds === 0) return []
  return [
    sentence('note', `${name} is in maintenance and connected.`, {
      doing: 'It may be away without being copied.',
      secondsLeft: maintenanceLeftSeconds,
      todo: `when you are done: \`holdfast node maintenance ${name} off\`.`,
    }),
  ]
}

const isOut = ({ state }: DiskReport): boolean => state === 'failed' || state === 'gone'

function broken(disk: DiskReport, { nodes }: StatusReport): Sentence[] {
  const why = disk.error === '' ? '' : `: ${disk.error}`
  const remove = `\`holdfast disk remove ${disk.disk}\``
  const connected = nodes.some(({ node, connected }) => node === disk.node && connected)
  if (disk.state === 'failed' || disk.state === 'gone') {
    const what = disk.state === 'gone' ? 'has vanished' : 'has failed'
    const held =
      disk.chunks > 0
        ? `What it held (${count(disk.chunks, 'chunk')}) is copied elsewhere.`
        : 'Nothing counts on it any more.'
    return [
      sentence('degraded', `${sentenceCase(named(disk))} ${what}${why}.`, {
        doing: held,
        todo: disk.chunks > 0 ? `replace it; when it holds nothing any more: ${remove}.` : `${remove}, and replace it.`,
      }),
    ]
  }
  if (disk.state === 'readonly')
    return [
      sentence('degraded', `${sentenceCase(named(disk))} can only be read${why}.`, {
        todo: `\`holdfast disk drain ${disk.disk}\` empties it; then replace it.`,
      }),
    ]
  if (disk.state === 'away' && connected)
    return [
      sentence('degraded', `${sentenceCase(named(disk))} is not reported by its chunkserver.`, {
        todo: `look at that chunkserver's configuration and log; if the disk is gone for good: ${remove}.`,
      }),
    ]
  return []
}

function full({ disks }: StatusReport): Sentence[] {
  const there = disks.filter(({ state, draining }) => (state === 'ok' || state === 'full') && !draining)
  const some = there.filter(({ state }) => state === 'full')
  if (some.length === 0) return []
  const which = `${some.length === 1 ? sentenceCase(named(some[0]!)) : `${some.length} disks (${some.map(({ disk }) => disk).join(', ')})`}`
  const todo = 'delete files (and `holdfast trash purge`), or `holdfast disk add`.'
  return some.length === there.length
    ? [sentence('degraded', 'Every disk is full: nothing new can be written.', { todo })]
    : [
        sentence('note', `${which} ${some.length === 1 ? 'is' : 'are'} full.`, {
          doing: 'New data goes to the others.',
        }),
      ]
}

function draining(disk: DiskReport): Sentence[] {
  if (!disk.draining) return []
  const { toMove, toMoveAtStart, drainSecondsLeft, drainedForErrors } = disk
  const level = drainedForErrors ? 'degraded' : 'note'
  const why = drainedForErrors ? ' because of its errors' : ''
  const stop = `\`holdfast disk drain ${disk.disk} --stop\``
  if (toMove === 0)
    return [
      sentence(level, `${sentenceCase(named(disk))} was emptied${why}.`, {
        todo: `\`holdfast disk remove ${disk.disk}\`; to use it again: ${stop}.`,
      }),
    ]
  return [
    sentence(
      level,
      `${sentenceCase(named(disk))} is being emptied${why}: ${toMove} of ${count(toMoveAtStart, 'chunk')} left.`,
      {
        doing: 'Its chunks are copied to other disks first.',
        secondsLeft: drainSecondsLeft,
        todo: drainedForErrors ? `replace it. If it is sound: ${stop}.` : '',
      },
    ),
  ]
}

function scrub(disk: DiskReport): Sentence[] {
  const round = disk.scrub
  if (round === null || round.lateSeconds === 0 || isOut(disk) || disk.state === 'away') return []
  return [
    sentence(
      'degraded',
      `${sentenceCase(named(disk))} has not been read through in its ${count(round.days, 'day')}: the round is ${lasting(round.lateSeconds)} late.`,
      {
        doing: `${round.chunks} of ${count(Math.max(disk.chunks, round.chunks), 'chunk')} are checked.`,
        secondsLeft: round.secondsLeft,
        todo: 'leave the chunkserver running, or raise `scrubDays` in its configuration; `holdfast check --deep` reads everything now.',
      },
    ),
  ]
}

function failing({ work }: StatusReport): Sentence[] {
  return work.flatMap(({ name, state, lastError }) =>
    state === 'failed' && name !== 'changes'
      ? [
          sentence('degraded', `Work in the background fails (${name}): ${lastError}.`, {
            doing: 'It is tried again.',
            todo: "look at the master's log.",
          }),
        ]
      : [],
  )
}

// ---- classes

function unsatisfied(one: ClassReport, classes: ClassesReport, places: Places): Sentence[] {
  const used = one.inodes === null || one.inodes > 0
  const failed = explained(placingsOf(meaningOf(one, classes)), places).filter(
    ({ report }) => report?.possible === false,
  )
  if (failed.length === 0 || places.disks.length === 0) return []
  // What any disk would do for only wants a larger cluster: nothing to do until somebody wants the class.
  if (!used && failed.every(({ report }) => report?.missing.every((labels) => labels === '*'))) return []
  const whose = used ? '' : ' (nothing has it now)'
  const why = failed.map((placing) => `${placing.for.join(', ')} ${placing.placing}: ${whyNot(placing)}`)
  return [
    sentence(used ? 'degraded' : 'note', `Class ${one.name}${whose} cannot be satisfied now: ${why.join('; ')}.`, {
      doing: used ? 'Its files have what copies can be had, as their mode says.' : '',
      todo: `add disks, or labels (\`holdfast node label\`), or change the class; \`holdfast class explain ${one.name}\` shows which disks it allows.`,
    }),
  ]
}

/** Which clause finds too few disks; where each alone finds enough, it is that they must differ. */
function whyNot({ report }: Explained): string {
  if (report === undefined) return ''
  const short = report.clauses.filter(({ wanted, ready }) => ready < wanted)
  const reasons = short.map(({ labels, wanted, disks, ready }) => {
    const away = disks.length > ready ? ` of ${disks.length}` : ''
    return `${labels} wants ${count(wanted, 'disk')}, and ${ready === 0 ? 'none' : ready}${away} can take data`
  })
  if (reasons.length > 0) return reasons.join(', ')
  const wants = listed(report.missing.map((labels) => (labels === '*' ? 'one copy' : `one on ${labels}`)))
  return `there are disks enough, but not on enough chunkservers (or racks, sites, as it asks) for ${wants}`
}

function single({ settings, nodes }: StatusReport): Sentence[] {
  if (settings.copies > 1 || nodes.length === 0) return []
  return [
    sentence('note', 'Files of the default class have one copy: what a disk holds is lost with it.', {
      todo:
        nodes.length > 1
          ? '`holdfast settings set --copies 2`.'
          : 'add a chunkserver, then `holdfast settings set --copies 2`.',
    }),
  ]
}

function quotas({ quotas: { exceeded } }: StatusReport): Sentence[] {
  if (exceeded === 0) return []
  return [sentence('note', `${are(exceeded, 'quota')} exceeded.`, { todo: '`holdfast quota list` shows which.' })]
}

function well({ chunks, nodes, disks }: StatusReport): Sentence {
  const connected = nodes.filter((node) => node.connected).length
  const writing = chunks.open > 0 ? `, ${chunks.open} being written` : ''
  return sentence(
    'note',
    `All is well: ${are(chunks.safe + chunks.over, 'chunk')} safe${writing}; ${count(connected, 'chunkserver')} and ${count(disks.length, 'disk')} are there.`,
  )
}

const sentenceCase = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)
