import { defineConfig } from 'vitest/config'

/*
 * Projects by what they need. `unit` and `tidy` need nothing but Node; `cluster` starts real processes from dist/;
 * `mount` needs /dev/fuse. Each test process runs files one at a time where real mounts and ports are involved.
 */
const shared = { globals: false, disableConsoleIntercept: true } as const
export default defineConfig({
  test: {
    projects: [
      { test: { ...shared, name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/cluster/**', 'test/mount/**', 'test/tidy.test.ts'], testTimeout: 30_000 } },
      { test: { ...shared, name: 'tidy', include: ['test/tidy.test.ts'], testTimeout: 60_000 } },
      { test: { ...shared, name: 'cluster', include: ['test/cluster/**/*.test.ts'], fileParallelism: false, testTimeout: 180_000, hookTimeout: 120_000 } },
      { test: { ...shared, name: 'mount', include: ['test/mount/**/*.test.ts'], fileParallelism: false, testTimeout: 180_000, hookTimeout: 120_000 } },
    ],
  },
})
