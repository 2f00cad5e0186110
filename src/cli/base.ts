/*
 * What every command has: --json (the value that run() returns), --dir, errors through failure.ts. A command is parse →
 * one call → render; rendering is skipped by log() when --json is given.
 */

import { Command, Flags } from '@oclif/core'
import type { Admin } from './admin.ts'
import { reportFailure } from './failure.ts'

/** The flag that names a cluster. */
export const dirFlag = Flags.string({
  summary:
    "Directory of a local cluster (default: HOLDFAST_DIR, then the path's mount, then /etc/holdfast/holdfast.toml).",
  helpValue: 'DIR',
  helpGroup: 'GLOBAL',
})

export abstract class BaseCommand extends Command {
  static override enableJsonFlag = true

  override async catch(error: Error): Promise<void> {
    process.exitCode = reportFailure(error, this.jsonEnabled())
  }

  /** Plain JSON: colours are for people, and --json is for programs. */
  override logJson(json: unknown): void {
    process.stdout.write(`${JSON.stringify(json, undefined, 2)}\n`)
  }
}

/** A command that talks to the master of a cluster. */
export abstract class ClusterCommand extends BaseCommand {
  static override baseFlags = { dir: dirFlag }

  /** Finds the cluster, connects, does `work`, disconnects. `path`: the argument that may lie in a mount. */
  protected async withMaster<T>(
    found: { dir: string | undefined; path?: string | undefined },
    work: (admin: Admin) => Promise<T>,
  ): Promise<T> {
    const { Admin } = await import('./admin.ts')
    const admin = await Admin.find(found)
    try {
      return await work(admin)
    } finally {
      admin.close()
    }
  }
}
