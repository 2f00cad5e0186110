/*
 * What the rank of a place says: the order in which a mount reads from places, smaller first. Backup disks come after every
 * combination of preferences, preferences after each other whatever the distance. Places that are equally far by racks and
 * sites, and clearly not by what was measured, differ by steps. Whoever reads an erasure-coded chunk has to know
 * which differences are worth decoding for: those of preference and those of sites are, a rack or a step further is not.
 */

/** Steps of cost within a distance: of more than four places that are ever slower the last ones are alike. */
export const STEPS = 4
/** Distances are 0 … 3, preferences at most 64. */
const PER_PREFERENCE = 4 * STEPS
const BACKUP = 2048
export const OTHER_SITE = 3
/** `preference`: the place in the list of what the mount prefers, its length for what is not in it. */
export const readRank = (backup: boolean, preference: number, distance: number, step = 0): number =>
  (backup ? BACKUP : 0) + preference * PER_PREFERENCE + distance * STEPS + step

/** Read from only when all else has failed. */
export const isBackup = (rank: number = 0): boolean => rank >= BACKUP

/** Of places in one tier none is avoided for another. */
export const readTier = (rank: number = 0): number =>
  2 * Math.floor(rank / PER_PREFERENCE) + (Math.floor((rank % PER_PREFERENCE) / STEPS) === OTHER_SITE ? 1 : 0)
