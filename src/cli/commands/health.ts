/* `holdfast health`: what is wrong, what is done about it, how long that takes and what to do, in sentences. */

import { ClusterCommand } from '../base.ts'
import { type Health, healthOf, renderHealth } from '../health.ts'

export class HealthCommand extends ClusterCommand {
  static override summary = 'What is wrong, what is being done, how long it will take, what to do.'
  static override description =
    'In sentences, the most urgent first. The exit code is for scripts: 0 healthy, 1 degraded but safe, 2 endangered ' +
    '(one more lost disk would lose data) or lost. That no master answers has a code of the table of errors, from 64 on.'
  static override examples = ['<%= config.bin %> health', '<%= config.bin %> health --json']

  async run(): Promise<Health> {
    const { flags } = await this.parse(HealthCommand)
    return this.withMaster(flags, async (admin) => {
      const [status, classes] = await Promise.all([admin.call('status', {}), admin.call('classList', {})])
      const health = healthOf(status, classes)
      this.log(renderHealth(health))
      process.exitCode = health.exit
      return health
    })
  }
}
