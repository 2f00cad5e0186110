/*
 * The master put together: state and store, the loop, what it remembers of sessions and chunkservers, its background
 * work, and one handler for every call that it answers. It opens no socket and no file; the daemon does.
 *
 * After each commit, in this order: mounts are told what changed (before any reply of the batch goes out), directories are
 * called in whose quota is nearly used up, lock requests that wait are tried again, repair looks at the chunks that were touched, files that nobody counts any more are deleted.
 */

import { setMaxListeners } from 'node:events'
import type { Ino } from '../base/ids.ts'
import { Worker } from '../base/worker.ts'
import type { Clock, Log, Random } from '../base/world.ts'
import type { Handlers } from '../wire/peer.ts'
import { Bounds } from './bounds.ts'
import { EmbeddedChangelog } from './changelog.ts'
import { ChunkJobs } from './chunk-jobs.ts'
import { ChunkWatch } from './chunk-watch.ts'
import { Coding } from './coding.ts'
import { Deletions, Garbage } from './collect.ts'
import { Compaction } from './compact.ts'
import type { StateStore } from './core/kv.ts'
import type { RepairRules } from './core/repair.ts'
import type { State } from './core/state.ts'
import { Damage } from './damage.ts'
import { type DiskErrorRules, DiskErrors } from './disk-errors.ts'
import { DiskRemoval } from './disk-removal.ts'
import { DrainWatch } from './drain-watch.ts'
import { Expiry } from './expiry.ts'
import { Holdings } from './holdings.ts'
import { Jobs } from './jobs.ts'
import { Lives } from './life.ts'
import { Links, type MinuteOfDay, minuteOfUtc } from './links.ts'
import { cutInSteps } from './long-files.ts'
import { type Change, Loop, type Soon } from './loop.ts'
import { MeasuredPlaces } from './measured-places.ts'
import { MeshWatch } from './mesh-watch.ts'
import { Nodes } from './nodes.ts'
import { ORDERS_MAX, Orders, URGENT_ORDERS_MAX } from './orders.ts'
import type { Parts, WorkParts } from './parts.ts'
import { QuotaRoom } from './quota-room.ts'
import { Rebalance } from './rebalance.ts'
import { Repair } from './repair.ts'
import { RepairRate } from './repair-rate.ts'
import type { ReportParts } from './reports.ts'
import { Sealing } from './sealing.ts'
import { adminHandlers } from './service-admin.ts'
import { classHandlers } from './service-classes.ts'
import { dataHandlers } from './service-data.ts'
import { deletedHandlers } from './service-deleted.ts'
import { jobHandlers } from './service-jobs.ts'
import { linkHandlers } from './service-links.ts'
import { lockHandlers } from './service-locks.ts'
import { meshHandlers } from './service-mesh.ts'
import { namespaceHandlers } from './service-namespace.ts'
import { nodeHandlers } from './service-nodes.ts'
import { loadTopology, placeHandlers, type ReadTopology } from './service-places.ts'
import { quotaHandlers } from './service-quotas.ts'
import { restoreSessions, sessionHandlers } from './service-sessions.ts'
import { topologyHandlers } from './service-topology.ts'
import { trialHandlers } from './service-trials.ts'
import { Sessions } from './sessions.ts'
import { Spare } from './spare.ts'
import { WaitingLocks } from './waiting-locks.ts'

export interface MasterOptions {
  readonly cluster: string
  readonly version: string
  /** How often chunkservers report. */
  readonly heartbeatMs: number
  /** A restarting chunkserver takes this long; where one copy of several is left, repair waits for it and no longer. */
  readonly settleMs: number
  readonly deadGraceMs: number
  /** Orders at once that write to one disk; twice as many may read from it. */
  readonly repairParallel: number
  /** Per copy; 0 = as fast as it goes. */
  readonly repairBytesPerSecond: number
  readonly compactBelowPercent: number
  /** When a disk has made too many errors to be trusted. */
  readonly diskErrors?: DiskErrorRules
  /** How often it is found out where nodes of the mesh stand. */
  readonly topologyEveryMs?: number
  /** The text of the topology file; without one, addresses say nothing. */
  readonly topologyFile?: ReadTopology
  /** By which people mean hours of the day; without it, UTC. */
  readonly minuteOfDay?: MinuteOfDay
  readonly zone?: string
}

/** Orders of what is endangered, per disk, beside all that the configuration allows: two streams fill a disk. */
const URGENT_PER_DISK = 2
/** Five of these in a row move somebody. */
const TOPOLOGY_EVERY_MS = 60_000
/** As chunkservers do, who take a disk out of use then: one error alone may be a single bad sector. */
const DISK_ERRORS: DiskErrorRules = { errors: 2, periodMs: 600_000 }

export type MasterCalls = keyof ReturnType<typeof handlersOf>

function handlersOf(parts: ReportParts, rest: HandlerParts) {
  const files = { ...namespaceHandlers(parts), ...dataHandlers(parts) }
  return {
    ...sessionHandlers(parts),
    ...files,
    ...cutInSteps(parts, files),
    ...lockHandlers(parts, rest.locks),
    ...adminHandlers(parts, rest.removal),
    ...placeHandlers(parts, rest.removal, rest.options.topologyFile),
    ...classHandlers(parts),
    ...trialHandlers(parts),
    ...deletedHandlers(parts),
    ...jobHandlers(parts, rest.onJob),
    ...quotaHandlers(parts),
    ...linkHandlers(parts, rest.links, rest.options.zone ?? 'UTC'),
    ...meshHandlers(parts, rest.mesh),
    ...topologyHandlers(parts),
    ...nodeHandlers(parts, rest.deletions, rest.damage, rest.spare, rest.errors, rest.options),
  }
}

interface HandlerParts {
  readonly locks: WaitingLocks
  readonly removal: DiskRemoval
  readonly onJob: () => void
  readonly deletions: Deletions
  readonly damage: Damage
  readonly spare: Spare
  readonly errors: DiskErrors
  readonly mesh: MeshWatch
  readonly links: Links
  readonly options: MasterOptions
}

export class Master {
  readonly handlers: Handlers<MasterCalls>
  readonly loop: Loop
  readonly sessions: Sessions
  readonly holdings: Holdings
  readonly nodes: Nodes
  readonly workers: readonly Worker[]
  readonly #topologyFile: ReadTopology | undefined

  constructor(
    store: StateStore,
    state: State,
    clock: Clock,
    random: Random,
    log: Log,
    soon: Soon,
    options: MasterOptions,
  ) {
    const sessions = new Sessions(clock)
    const quotaRoom = new QuotaRoom(state, sessions)
    const holdings = new Holdings(
      sessions,
      (ino) => state.inode(ino) !== undefined,
      (directory) => !quotaRoom.isNear(directory),
      clock,
    )
    const locks = new WaitingLocks()
    const rules = (): RepairRules => ({
      graceMs: state.settings().graceMs,
      settleMs: Math.min(options.settleMs, state.settings().graceMs),
      readsPerDisk: options.repairParallel * 2,
      writesPerDisk: options.repairParallel,
      urgentPerDisk: URGENT_PER_DISK,
    })
    const nodes: Nodes = new Nodes(state, clock, random, () => {
      watch.livenessChanged()
      damage.livenessChanged()
      wakeAll()
    })
    const watch = new ChunkWatch(state, nodes, clock, rules)
    const loop: Loop = new Loop(store, state, new EmbeddedChangelog(state), clock, log, soon, (changes) =>
      committed(changes),
    )
    const everyMs = options.topologyEveryMs ?? TOPOLOGY_EVERY_MS
    const measured = new MeasuredPlaces({ state, loop, nodes, sessions, clock, log }, { everyMs })
    const parts: Parts = { state, loop, sessions, holdings, quotaRoom, nodes, measured, clock, log }
    const orders = new Orders(state, nodes)
    const spare = new Spare(
      state,
      nodes,
      (chunk, disk) => damage.knows(disk, chunk) || watch.isBeyondRepair(chunk, disk),
    )
    const behind: WorkParts = { state, loop, nodes, orders, clock, log }
    const deletions = new Deletions(behind, spare)
    const links = new Links(state, clock, options.minuteOfDay ?? minuteOfUtc, (a, b) => measured.isMeasured(a, b))
    const bounds = new Bounds(state, clock, links)
    const pace = { bytesPerSecond: options.repairBytesPerSecond }
    const damage: Damage = new Damage(behind, watch, bounds, pace)
    const compaction = new Compaction(behind, bounds, { belowPercent: options.compactBelowPercent, ...pace })
    const repairs = new ChunkJobs(watch, clock, log)
    const seals = new ChunkJobs(watch, clock, log)
    const coding = new Coding(behind, deletions, pace)
    const repair = new Repair(behind, watch, repairs, deletions, coding, spare, random, rules, bounds, pace)
    const rate = new RepairRate(watch, clock)
    const rebalance = new Rebalance(behind, watch, repairs, repair, rules, bounds)
    const sealing = new Sealing(behind, watch, seals, spare)
    const removal = new DiskRemoval(behind, spare)
    const lives = new Lives(behind, watch)
    const drains = new DrainWatch(state, clock, log)
    const mesh = new MeshWatch(state, clock)
    const errors = new DiskErrors({ state, loop, nodes, clock, log }, options.diskErrors ?? DISK_ERRORS)
    const worker = (name: string, work: ConstructorParameters<typeof Worker>[1]): Worker =>
      new Worker(name, work, clock, log)
    const watching = worker('chunk watch', watch)
    const repairing = worker('repair', repair)
    const sealer = worker('seal', sealing)
    const deleting = worker('delete', deletions)
    const mending = worker('mend damaged copies', damage)
    const removing = worker('forget disks', removal)
    const draining = worker('drain', drains)
    const working = worker('snapshots', new Jobs(parts))
    const living = worker('storage classes', lives)
    const measuring = worker('topology', measured)
    const workers = [
      watching,
      repairing,
      sealer,
      deleting,
      mending,
      removing,
      draining,
      working,
      living,
      worker('repair rate', rate),
      worker('collect', new Garbage(state, loop, clock, options)),
      worker('compact', compaction),
      worker('rebalance', rebalance),
      worker('session expiry', new Expiry(parts)),
      measuring,
    ]
    const wakeAll = (): void => {
      watching.poke()
      deleting.poke()
      mending.poke()
    }
    watch.onFound = () => watching.poke()
    watch.onWork = () => {
      repairing.poke()
      sealer.poke()
    }
    repairs.onDone = () => {
      watching.poke()
      repairing.poke()
    }
    seals.onDone = () => {
      watching.poke()
      sealer.poke()
    }
    deletions.onWork = () => deleting.poke()
    damage.onWork = () => mending.poke()
    removal.onWork = () => removing.poke()
    measured.onSaid = () => measuring.poke()
    links.onRate = () => repairs.pace(bounds, log)

    const committed = (changes: readonly Change[]): void => {
      sessions.push(changes)
      let look = false
      const near = new Set<Ino>()
      for (const { touched } of changes) {
        for (const ino of touched.unlocked) locks.unlocked(ino)
        if (touched.chunks.length > 0) {
          watch.touched(touched.chunks)
          lives.touched(touched.chunks)
          look = true
        }
        if (touched.unwanted.length > 0) deletions.add(touched.unwanted)
        for (const quota of quotaRoom.takeNear(touched.quotas)) near.add(quota)
        if (touched.inodes.length > 0) {
          compaction.touched(touched.inodes)
          lives.touchedFiles(touched.inodes)
        }
      }
      mesh.committed()
      measured.committed()
      if (look) watching.poke()
      if (lives.waits) living.poke()
      // Before the answers: whoever made names there hears of it before it makes more.
      if (near.size > 0) holdings.callIn((directory) => quotaRoom.countsIn(directory, near))
    }

    restoreSessions(parts)
    const reports: ReportParts = {
      ...parts,
      watch,
      workers,
      drains,
      repair: {
        secondsLeft: () => rate.secondsLeft(),
        running: () => repairs.running,
        nowhere: () => repair.nowhere,
      },
      onDrain: () => {
        draining.poke()
        nodes.changed()
      },
      cluster: options.cluster,
      version: options.version,
      startedMs: clock.monotonicMs(),
    }
    this.handlers = handlersOf(reports, {
      locks,
      removal,
      onJob: () => working.poke(),
      deletions,
      damage,
      spare,
      errors,
      mesh,
      links,
      options,
    })
    this.loop = loop
    this.sessions = sessions
    this.holdings = holdings
    this.nodes = nodes
    this.workers = workers
    this.#topologyFile = options.topologyFile
  }

  /** Where addresses are said to stand. Before anybody is answered: what is placed by no map is not placed well. */
  async loadTopology(): Promise<void> {
    await loadTopology(this.nodes, this.#topologyFile)
  }

  /** Background work until the signal; returns when all of it has stopped. */
  async work(signal: AbortSignal): Promise<void> {
    // A resting worker listens, and so does each order under way, for its place, its job and its answer; Node's own limit
    // of ten is a guess at a leak.
    setMaxListeners(this.workers.length + 3 * (ORDERS_MAX + URGENT_ORDERS_MAX), signal)
    await Promise.all(this.workers.map((worker) => worker.run(signal)))
  }
}
