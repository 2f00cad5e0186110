/*
 * The ways that somebody wants to be measured closely: a chunkserver of this node that copies over them asks for the echoes several
 * times a second, and as long as it does their peers are probed as often. Each asks from where it had come, so that several may ask,
 * and an answer that was lost is given again.
 *
 * What is known of peers otherwise (whether one is lost, how much a way loses) is reckoned in echoes a second apart, or more:
 * three lost in half a second are a full buffer and no peer that is gone. So of these rounds only some count there.
 */

import { ECHOES_MAX, WAYS_MAX, type WayEchoes } from '../wire/shapes.ts'
import { type ProbeRound, paces } from './core/probe-packet.ts'

/** Whoever copies asks four times a second. */
const ASKED_MS = 3_000
/** As often as one that is probed quickly has a round. */
const COUNTS_EVERY: number = paces.quick.everyMs / paces.busy.everyMs

interface Watched {
  askedMs: number
  epoch: number
  /** How many echoes there were, and one: 0 is what an asker knows who has just come. */
  at: number
  /** The last of them, in milliseconds; undefined: lost. */
  echoes: (number | undefined)[]
  rounds: number
}

export class CloseWatch {
  /** By peer; the one asked for last at the end. */
  readonly #watched = new Map<string, Watched>()

  /** Answers what came after `since`, in the words of the call. */
  ask(
    id: string,
    since: number,
    baseMs: number | undefined,
    nowMs: number,
  ): { readonly at: number; readonly echoes: WayEchoes } {
    const watched = this.#watched.get(id) ?? { askedMs: nowMs, epoch: 0, at: 1, echoes: [], rounds: 0 }
    watched.askedMs = nowMs
    this.#watched.delete(id)
    for (const [other, { askedMs }] of this.#watched)
      if (nowMs - askedMs > ASKED_MS || this.#watched.size >= WAYS_MAX) this.#watched.delete(other)
      else break
    this.#watched.set(id, watched)
    // Who knows of more than there was has asked the agent that was here before.
    const count = since === 0 || since > watched.at ? 0 : Math.min(watched.at - since, watched.echoes.length)
    const news = watched.echoes.slice(watched.echoes.length - count)
    const rttsMs = news.filter((ms) => ms !== undefined)
    return {
      at: watched.at,
      echoes: {
        epoch: watched.epoch,
        baseUs: baseMs === undefined ? undefined : Math.round(baseMs * 1000),
        rttsUs: rttsMs.map((ms) => Math.round(ms * 1000)),
        lost: news.length - rttsMs.length,
      },
    }
  }

  isWatched(id: string, nowMs: number): boolean {
    const watched = this.#watched.get(id)
    return watched !== undefined && nowMs - watched.askedMs <= ASKED_MS
  }

  /** Answers whether the round counts for what is known of the peer otherwise. */
  heard({ id, epoch, sent, rttsMs }: ProbeRound, nowMs: number): boolean {
    const watched = this.#watched.get(id)
    if (watched === undefined || !this.isWatched(id, nowMs)) return true
    if (watched.epoch !== epoch) {
      watched.epoch = epoch
      watched.echoes = []
    }
    const echoes = [...rttsMs, ...Array.from<undefined>({ length: sent - rttsMs.length })]
    watched.echoes = [...watched.echoes, ...echoes].slice(-ECHOES_MAX)
    watched.at += echoes.length
    return watched.rounds++ % COUNTS_EVERY === 0
  }
}
