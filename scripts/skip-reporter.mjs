/*
 * A vitest reporter that names every skipped test, so that a green run cannot hide what was not run. It stands before the
 * default reporter, whose summary stays the last thing on the screen. Suites with many skips are counted, not listed.
 */

const LISTED_MAX = 5

export default class SkipReporter {
  onTestRunEnd(modules) {
    const lines = []
    for (const module of modules) {
      const skipped = [...module.children.allTests('skipped')]
      if (skipped.length === 0) continue
      lines.push(`  ${module.relativeModuleId ?? module.moduleId}: ${skipped.length}`)
      for (const test of skipped.slice(0, LISTED_MAX)) {
        const note = test.result()?.note
        lines.push(`    - ${test.fullName}${note ? ` (${note})` : ''}`)
      }
      if (skipped.length > LISTED_MAX) lines.push(`    - and ${skipped.length - LISTED_MAX} more`)
    }
    if (lines.length > 0) process.stdout.write(`\nSkipped tests:\n${lines.join('\n')}\n`)
  }
}
