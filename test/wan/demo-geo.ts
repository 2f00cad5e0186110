/*
 * `npm run demo:geo`: what a geo-distributed cluster feels like, on a test bed of network namespaces with real WireGuard between
 * them. Prints what a person would type and see; ends with 1 at the first step that does not come out. Four machines in two
 * sites, a link of 20 ms each way between them; later it loses packets and is narrow.
 *
 *   1  a machine is part of the pool within seconds of one line
 *   2  documents are complete at both sites, and each reads its own copy
 *   3  many small files over a link that loses packets, and somebody who types over the same link meanwhile
 */

import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatBytes } from '../../src/base/units.ts'
import type { FileReport, StatusReport } from '../../src/wire/reports.ts'
import { Bed, whyNoBed } from './bed.ts'
import { eventually, Machines } from './mesh-machines.ts'
import { ask, serve } from './traffic.ts'

const WITHIN_MS = 30_000
const DOCUMENT_BYTES = 24 * 1024 * 1024
const SMALL_FILES = 2_000
const SEED = 2026

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const title = (line: string): void => say(`\n== ${line}\n`)
const typed = (node: string, line: string): void => say(`${node}$ ${line}`)
function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`it did not come out: ${what}`)
  say(`   ok: ${what}`)
}
const seconds = (sinceMs: number): number => (performance.now() - sinceMs) / 1000

const why = whyNoBed()
if (why !== undefined) {
  say(`this machine cannot play it: ${why}`)
  process.exit(1)
}

const bed = await Bed.start({
  ...{ seed: SEED, wireguard: false, sites: { home: { nodes: 2 }, fra: { nodes: 2 } } },
  links: { 'home-fra': { delayMs: 20 } },
})
const machines = await Machines.on(bed)
const end = async (code: number): Promise<never> => {
  for (const node of ['home1', 'fra1']) await machines.holdfast(node, ['umount', mountOf(node)]).catch(() => undefined)
  await machines.close()
  await bed.stop()
  process.exit(code)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void end(130))
const mountOf = (node: string): string => join(machines.dir(node), 'mnt')

/** The one line of a token for this site, typed on the machine, and its roles begun. */
async function joinAs(node: string, site: string): Promise<void> {
  typed('home1', `holdfast mesh token create --role chunkserver --role client --site ${site}`)
  const words = ['mesh', 'token', 'create', '--role', 'chunkserver', '--role', 'client', '--site', site]
  const { token } = await machines.json<{ token: string }>('home1', words)
  typed(node, `HOLDFAST_TOKEN='${token.slice(0, 24)}…' holdfast mesh join --disk '/srv/disk =-64MiB'`)
  say(indented(await machines.joinWith(node, token, ['--disk', `${machines.dir(node)}/disk =-64MiB`])))
  machines.start(node, 'mesh')
  machines.start(node, 'chunkserver')
}
const indented = (text: string): string => text.trimEnd().replace(/^/gm, '   ')
const nodesThere = async (): Promise<string[]> =>
  (await machines.json<StatusReport>('home1', ['status'])).nodes.filter((n) => n.connected).map((n) => n.name)

async function mount(node: string): Promise<string> {
  mkdirSync(mountOf(node), { recursive: true })
  typed(node, 'holdfast mount /mnt')
  await machines.holdfast(node, ['mount', mountOf(node)])
  return mountOf(node)
}
/** In the namespace of the machine, as anybody there. */
const run = async (node: string, script: string): Promise<string> =>
  (await bed.run(node, 'sh', ['-ec', script], { timeoutMs: 180_000 })).stdout

try {
  title('1. "I ran one line on a new VPS, and its spare disk was part of the pool"')
  typed('home1', 'holdfast mesh init --endpoint 198.18.… --site home')
  await machines.init('home1', '--site', 'home')
  machines.start('home1', 'mesh')
  machines.start('home1', 'master')
  await eventually('the mesh is founded', WITHIN_MS, async () =>
    (await machines.meshStatus('home1')).mapVersion > 0 ? true : undefined,
  )
  for (const [node, site] of [
    ['home2', 'home'],
    ['fra1', 'fra'],
    ['fra2', 'fra'],
  ] as const) {
    const sinceMs = performance.now()
    await joinAs(node, site)
    await eventually(`${node} stores chunks`, WITHIN_MS, async () =>
      (await nodesThere()).includes(node) ? true : undefined,
    )
    must(seconds(sinceMs) < 30, `${node} stores chunks ${seconds(sinceMs).toFixed(1)} s after the line was asked for`)
  }
  typed('home1', 'holdfast mesh status')
  say(indented(await machines.holdfast('home1', ['mesh', 'status', '--mesh-dir', `${machines.dir('home1')}/mesh`])))
  typed('home1', 'holdfast node list')
  say(indented(await machines.holdfast('home1', ['node', 'list'])))

  title('2. "Documents live in two data centres, complete in both, and each office reads its own copy"')
  typed('home1', "holdfast class create -C 1 -K '2/[SITE]' documents")
  await machines.holdfast('home1', ['class', 'create', '-C', '1', '-K', '2/[SITE]', 'documents'])
  const home = await mount('home1')
  const fra = await mount('fra1')
  await run('home1', `mkdir '${home}/documents'`)
  typed('home1', 'holdfast class set documents /mnt/documents')
  await machines.holdfast('home1', ['class', 'set', 'documents', `${home}/documents`])
  const file = `${home}/documents/report`
  const sinceMs = performance.now()
  await run('home1', `head -c ${DOCUMENT_BYTES} /dev/urandom > '${file}'; sync '${file}'`)
  must(true, `${formatBytes(DOCUMENT_BYTES)} written and safe at home in ${seconds(sinceMs).toFixed(1)} s`)
  const copies = async (): Promise<Set<string>> => {
    const [report] = await machines.json<FileReport[]>('home1', ['file', 'info', file])
    const sites = report!.chunks.map((chunk) => new Set(chunk.copies.map((copy) => copy.site ?? '')))
    const [first, ...others] = sites
    return new Set([...(first ?? [])].filter((site) => others.every((some) => some.has(site))))
  }
  await eventually('complete at both sites', 90_000, async () => ((await copies()).size >= 2 ? true : undefined))
  must(true, `complete at both sites after ${seconds(sinceMs).toFixed(1)} s`)
  const sum = createHash('sha256')
    .update(await run('home1', `sha256sum < '${file}'`))
    .digest('hex')
  const before = await bed.count('home', 'fra')
  const readMs = performance.now()
  const there = createHash('sha256')
    .update(await run('fra1', `sha256sum < '${fra}/documents/report'`))
    .digest('hex')
  const crossed = (await bed.count('home', 'fra')).bytes - before.bytes
  must(sum === there, `fra reads the same bytes, in ${seconds(readMs).toFixed(1)} s`)
  must(
    crossed < DOCUMENT_BYTES / 8,
    `of ${formatBytes(DOCUMENT_BYTES)}, ${formatBytes(crossed)} came over the link meanwhile`,
  )

  title('3. "My links lose packets. Copying thousands of small files does not bring it to its knees"')
  await bed.link('home', 'fra', { delayMs: 20, lossRate: 0.005, mbit: 100 })
  say('   the link now carries 100 Mbit/s and loses one packet in a hundred, there and back')
  const echo = await serve(bed, 'home1', 'echo')
  const at = (await machines.meshStatus('home1')).ip
  const idle = await ask(bed, 'fra1', at, echo.port, { count: 200, everyMs: 10 })
  const filesMs = performance.now()
  typed('fra1', `mkdir /mnt/source && for i in $(seq ${SMALL_FILES}); do head -c 3000 /dev/zero > /mnt/source/$i; done`)
  const [took, busy] = await Promise.all([
    run(
      'fra1',
      `mkdir '${fra}/source'; i=0; while [ $i -lt ${SMALL_FILES} ]; do i=$((i+1)); printf '%03000d' $i > "${fra}/source/$i"; done`,
    ).then(() => seconds(filesMs)),
    sleep(500).then(() => ask(bed, 'fra1', at, echo.port, { count: 300, everyMs: 10 })),
  ])
  await echo.stop()
  must(
    took < SMALL_FILES * 0.04,
    `${SMALL_FILES} files made at fra, whose master is 40 ms away, in ${took.toFixed(1)} s: ${Math.round(SMALL_FILES / took)} a second (one round trip each would take ${SMALL_FILES * 0.04} s)`,
  )
  must(
    busy.medianMs < idle.medianMs + 25,
    `an echo between the sites takes ${busy.medianMs.toFixed(0)} ms meanwhile, ${idle.medianMs.toFixed(0)} ms when nothing is copied`,
  )
  const seen = Number((await run('home1', `ls '${home}/source' | wc -l`)).trim())
  must(seen === SMALL_FILES, `home sees all ${seen} of them`)
  typed('home1', 'holdfast health')
  say(indented(await machines.holdfast('home1', ['health']).catch((error: unknown) => String(error))))
  say('\nIt all came out.')
  await end(0)
} catch (error) {
  say(
    `\n${error instanceof Error ? `${error.message}${error.cause === undefined ? '' : `\n${String(error.cause)}`}` : String(error)}`,
  )
  for (const node of ['home1', 'fra1'])
    for (const role of ['mesh', 'master', 'chunkserver']) say(indented(machines.said(node, role)))
  await end(1)
}
