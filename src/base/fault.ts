/*
 * The three kinds of bad news, and only these.
 *
 * Expected (a file is missing, a disk is full): an `Errno` code, as a value in pure cores and as `FsError` in shells; it
 * crosses the wire as its code. Impossible: `assert`, which throws `Impossible`; nobody may catch it except the process
 * boundary in host/, which logs and exits, because state that broke an assertion must not be served. Unwanted (the caller
 * went away): the AbortSignal's own reason.
 */

import { type Errno, errno } from './errno.ts'

/**
 * Answers rather than accidents: a build looks up thousands of names that do not exist, and collecting a stack for each
 * was 2 to 3 % of the mount's time when files are made. They are told without one.
 */
const EVERYDAY: ReadonlySet<Errno> = new Set<Errno>(['ENOENT', 'EEXIST', 'ENODATA', 'ENOTEMPTY', 'EAGAIN', 'ENXIO'])

export class FsError extends Error {
  readonly code: Errno
  constructor(code: Errno, detail?: string, options?: { cause?: unknown }) {
    const depth = Error.stackTraceLimit
    if (EVERYDAY.has(code)) Error.stackTraceLimit = 0
    super(detail === undefined ? errno[code].text : `${errno[code].text}: ${detail}`, options)
    Error.stackTraceLimit = depth
    this.name = 'FsError'
    this.code = code
  }
}

export class Impossible extends Error {
  override name = 'Impossible'
}

export function assert(condition: unknown, why: string): asserts condition {
  if (!condition) throw new Impossible(why)
}

/** The default branch of a switch over a union: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new Impossible(`unreachable case: ${JSON.stringify(value)}`)
}

/** What a pure core answers: a value or a refusal. Refusals are replies like others. */
export type Result<T> = { readonly ok: T } | { readonly errno: Errno; readonly detail?: string }

export const ok = <T>(value: T): Result<T> => ({ ok: value })
export const refuse = (code: Errno, detail?: string): { readonly errno: Errno; readonly detail?: string } =>
  detail === undefined ? { errno: code } : { errno: code, detail }

export function isRefusal<T>(result: Result<T>): result is { readonly errno: Errno; readonly detail?: string } {
  return 'errno' in result
}

/** A Result at the edge of a shell: the value, or the refusal thrown as FsError. */
export function unwrap<T>(result: Result<T>): T {
  if ('errno' in result) throw new FsError(result.errno, result.detail)
  return result.ok
}

/** The Errno of anything thrown that carries one (FsError, or a Node system error whose code is in the table). */
export function errnoOf(error: unknown): Errno | undefined {
  if (error instanceof FsError) return error.code
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && Object.hasOwn(errno, code) ? (code as Errno) : undefined
}
