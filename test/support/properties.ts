/* fast-check, with the dice of the other random tests. */

import fc from 'fast-check'
import { seedOf } from './seed.ts'

fc.configureGlobal({ seed: seedOf() })

export default fc
