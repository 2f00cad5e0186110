/*
 * What stands as "source" of a Holdfast mount in /proc/self/mountinfo (and in `mount`, `df`): the master's address, as an
 * NFS mount shows its server. Tools that are given a path find the cluster by it.
 */

/** The filesystem type in mountinfo. */
export const MOUNT_TYPE = 'fuse.holdfast'

/** A meta mount is another tree: a path in it is none of the filesystem, so its source is not parsed as one. */
export const mountSource = (masterHost: string, masterPort: number, meta: boolean): string =>
  `holdfast${meta ? '-meta' : ''}://${masterHost.includes(':') ? `[${masterHost}]` : masterHost}:${masterPort}`

export function parseMountSource(source: string): { host: string; port: number } | undefined {
  const match = /^(?:holdfast:\/\/)?(?:\[([^\]]+)\]|([^:/[\]]+)):(\d{1,5})$/.exec(source)
  const host = match?.[1] ?? match?.[2]
  return host === undefined ? undefined : { host, port: Number(match![3]) }
}
