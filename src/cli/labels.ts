/* Labels as people type and read them, for `node label` and `disk label`. */

import { Flags } from '@oclif/core'
import { FsError, unwrap } from '../base/fault.ts'
import { labelNames, labelText } from '../topology/label-names.ts'
import { dryRun, forced } from './trials.ts'

export const shownLabels = (labels: readonly string[]): string => labels.map(labelText).join(' ') || '-'

/** What `label` commands take beside what they are for. */
export const labelFlags = {
  add: Flags.string({ summary: 'A further label (may be given several times).', multiple: true, helpValue: 'LABEL' }),
  remove: Flags.string({ summary: 'A label less (likewise).', multiple: true, helpValue: 'LABEL' }),
  clear: Flags.boolean({ summary: 'The labels of the configuration hold again.', default: false }),
  'dry-run': dryRun,
  force: forced,
}

/** What `label` commands say beside what they are for. */
export const LABEL_DANGERS =
  'Refused without --force where data of a class would find no place any more; --dry-run says what would be copied.'

/** The list that shall hold from now on; undefined: that of the configuration. */
export function wantedLabels(
  now: readonly string[],
  typed: readonly string[],
  { add = [], remove = [], clear }: { add?: string[] | undefined; remove?: string[] | undefined; clear: boolean },
): string[] | undefined {
  const ways = [typed.length > 0, add.length + remove.length > 0, clear].filter(Boolean).length
  if (ways === 0)
    throw new FsError('EINVAL', 'no label given; LABELS set them, --add and --remove change them, --clear')
  if (ways > 1) throw new FsError('EINVAL', 'either LABELS, or --add and --remove, or --clear')
  if (clear) return undefined
  if (typed.length > 0)
    return unwrap(labelNames(typed.flatMap((word) => word.split(',')).filter((word) => word !== '')))
  const without = new Set(unwrap(labelNames(remove)))
  const absent = [...without].filter((label) => !now.includes(label))
  if (absent.length > 0) throw new FsError('EINVAL', `it has no label ${absent.map(labelText).join(', ')}`)
  return unwrap(labelNames([...now.filter((label) => !without.has(label)), ...add]))
}
