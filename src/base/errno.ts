/*
 * THE table of failures. Number (Linux, as the kernel wants it), the sentence a person reads, whether repeating the same
 * request may help, the HTTP status for gateways, the exit code of the command line (sysexits where one fits).
 * Errors cross the wire as the row's `number`; formats only grow, so a row's number never changes.
 */

export interface ErrnoRow {
  readonly number: number
  readonly text: string
  readonly retry: boolean
  readonly http: number
  readonly exit: number
}

export const errno = {
  EPERM: { number: 1, text: 'operation not permitted', retry: false, http: 403, exit: 77 },
  ENOENT: { number: 2, text: 'no such file or directory', retry: false, http: 404, exit: 66 },
  EINTR: { number: 4, text: 'interrupted', retry: false, http: 499, exit: 130 },
  EIO: { number: 5, text: 'input/output error', retry: false, http: 500, exit: 74 },
  ENXIO: { number: 6, text: 'no data or hole beyond this offset', retry: false, http: 416, exit: 66 },
  EBADF: { number: 9, text: 'bad file descriptor', retry: false, http: 400, exit: 70 },
  EAGAIN: { number: 11, text: 'temporarily unavailable, try again', retry: true, http: 503, exit: 75 },
  ENOMEM: { number: 12, text: 'out of memory', retry: true, http: 503, exit: 71 },
  EACCES: { number: 13, text: 'permission denied', retry: false, http: 403, exit: 77 },
  EBUSY: { number: 16, text: 'device or resource busy', retry: true, http: 409, exit: 75 },
  EEXIST: { number: 17, text: 'file exists', retry: false, http: 409, exit: 73 },
  EXDEV: { number: 18, text: 'not within one filesystem', retry: false, http: 400, exit: 64 },
  ENODEV: { number: 19, text: 'no such device', retry: false, http: 404, exit: 69 },
  ENOTDIR: { number: 20, text: 'not a directory', retry: false, http: 409, exit: 66 },
  EISDIR: { number: 21, text: 'is a directory', retry: false, http: 409, exit: 66 },
  EINVAL: { number: 22, text: 'invalid argument', retry: false, http: 400, exit: 64 },
  ENFILE: { number: 23, text: 'too many open files in the system', retry: true, http: 503, exit: 71 },
  ENOTTY: { number: 25, text: 'not supported by this kind of file', retry: false, http: 400, exit: 64 },
  EFBIG: { number: 27, text: 'file too large', retry: false, http: 413, exit: 73 },
  ENOSPC: { number: 28, text: 'no space left', retry: false, http: 507, exit: 73 },
  EROFS: { number: 30, text: 'read-only filesystem', retry: false, http: 403, exit: 73 },
  EMLINK: { number: 31, text: 'too many links', retry: false, http: 409, exit: 73 },
  ERANGE: { number: 34, text: 'result does not fit', retry: false, http: 400, exit: 64 },
  EDEADLK: { number: 35, text: 'resource deadlock would occur', retry: false, http: 409, exit: 75 },
  ENAMETOOLONG: { number: 36, text: 'file name too long', retry: false, http: 414, exit: 64 },
  ENOSYS: { number: 38, text: 'function not implemented', retry: false, http: 501, exit: 69 },
  ENOTEMPTY: { number: 39, text: 'directory not empty', retry: false, http: 409, exit: 73 },
  ELOOP: { number: 40, text: 'too many levels of symbolic links', retry: false, http: 409, exit: 66 },
  ENODATA: { number: 61, text: 'no such attribute', retry: false, http: 404, exit: 66 },
  EPROTO: { number: 71, text: 'protocol error', retry: false, http: 502, exit: 76 },
  EBADMSG: { number: 74, text: 'data is damaged (checksum mismatch)', retry: false, http: 500, exit: 74 },
  EOVERFLOW: { number: 75, text: 'value too large', retry: false, http: 400, exit: 64 },
  EUSERS: { number: 87, text: 'too many sessions', retry: true, http: 503, exit: 71 },
  EMSGSIZE: { number: 90, text: 'message too long', retry: false, http: 413, exit: 76 },
  EOPNOTSUPP: { number: 95, text: 'operation not supported', retry: false, http: 501, exit: 69 },
  ECONNREFUSED: { number: 111, text: 'connection refused', retry: true, http: 502, exit: 69 },
  ECONNRESET: { number: 104, text: 'connection lost', retry: true, http: 502, exit: 69 },
  ENOTCONN: { number: 107, text: 'not connected', retry: true, http: 502, exit: 69 },
  ETIMEDOUT: { number: 110, text: 'timed out', retry: true, http: 504, exit: 75 },
  EHOSTUNREACH: { number: 113, text: 'host unreachable', retry: true, http: 502, exit: 69 },
  ESTALE: { number: 116, text: 'stale file handle', retry: false, http: 410, exit: 66 },
  EDQUOT: { number: 122, text: 'quota exceeded', retry: false, http: 507, exit: 73 },
  ECANCELED: { number: 125, text: 'cancelled', retry: false, http: 499, exit: 130 },
} as const satisfies Record<string, ErrnoRow>

export type Errno = keyof typeof errno

const byNumber = new Map<number, Errno>(Object.entries(errno).map(([code, row]) => [row.number, code as Errno]))

/** A number from the wire as a code; an unknown one (a newer peer) is EIO, the only answer every caller handles. */
export const errnoFromNumber = (n: number): Errno => byNumber.get(n) ?? 'EIO'
