/* Starts a thread from its TypeScript source: on Node 20 a thread does not inherit what makes the main one read it. */

import { Worker } from 'node:worker_threads'

export const startFromSource = (source: URL, workerData: unknown): Worker =>
  new Worker(`import('tsx/esm/api').then((tsx) => tsx.register()).then(() => import(${JSON.stringify(source.href)}))`, {
    eval: true,
    execArgv: [],
    workerData,
  })
