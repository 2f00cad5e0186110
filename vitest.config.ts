import { defineConfig } from 'vitest/config'

/*
 * Projects by what they need. `unit` and `tidy` need nothing but Node; `cluster` starts real processes from dist/;
 * `mount` needs /dev/fuse, `wan` network namespaces and wireguard-go. Real processes mostly wait for each other: two files of those run at
 * a time, after all that only computes. What measures the network itself (`timed`) runs by itself, last.
 */
const shared = { globals: false, disableConsoleIntercept: true } as const
const real = { ...shared, maxWorkers: 2, testTimeout: 180_000, hookTimeout: 120_000 } as const
const TIMED = ['bed', 'links', 'mesh-throttle', 'throttle', 'topology'].map((name) => `test/wan/${name}.test.ts`)
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
          testTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'tidy',
          sequence: { groupOrder: 0 },
          include: ['test/tidy.test.ts'],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          ...real,
          name: 'cluster',
          sequence: { groupOrder: 1 },
          include: ['test/cluster/**/*.test.ts'],
        },
      },
      {
        test: {
          ...real,
          name: 'mount',
          sequence: { groupOrder: 1 },
          include: ['test/mount/**/*.test.ts'],
        },
      },
      {
        test: {
          ...real,
          name: 'wan',
          sequence: { groupOrder: 1 },
          include: ['test/wan/**/*.test.ts'],
          exclude: TIMED,
        },
      },
      {
        test: {
          ...real,
          name: 'timed',
          sequence: { groupOrder: 2 },
          include: TIMED,
          fileParallelism: false,
        },
      },
    ],
  },
})
