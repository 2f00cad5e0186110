import { defineConfig } from 'vitest/config'

/*
 * Projects by what they need. `unit` and `tidy` need nothing but Node; `cluster` starts real processes from dist/;
 * `mount` needs /dev/fuse, `wan` network namespaces and wireguard-go. Where real processes and mounts are involved files run one at a time, and the groups one after the
 * other: what is measured in seconds must not compete with property tests for the processors.
 */
const shared = { globals: false, disableConsoleIntercept: true } as const
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          sequence: { groupOrder: 0 },
          include: ['test/**/*.test.ts'],
          exclude: ['test/cluster/**', 'test/mount/**', 'test/wan/**', 'test/tidy.test.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'tidy',
          sequence: { groupOrder: 0 },
          include: ['test/tidy.test.ts'],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'cluster',
          sequence: { groupOrder: 1 },
          include: ['test/cluster/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'mount',
          sequence: { groupOrder: 2 },
          include: ['test/mount/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'wan',
          sequence: { groupOrder: 3 },
          include: ['test/wan/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
})
