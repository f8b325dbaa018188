import { expect, test } from 'vitest'
import type { JobQueue } from '../../src/queue/job-queue.ts'
import { RemoteVisits } from '../../src/tenancy/remote-visits.ts'

test('a leader that goes ends its waiting, so that its timers and signals are let go', async () => {
  const jobs = { put: async () => undefined, results: async () => new Map() } as unknown as JobQueue
  const visits = new RemoteVisits(jobs, [], () => undefined)
  const { signal } = new AbortController()
  const visit = { signal, attempt: 1, canary: false, notes: {}, wanted: () => true }
  const asked = visits.ask('a', { options: {} }, visit)
  await new Promise(setImmediate)
  const justAsked = visits.ask('b', { options: {} }, visit)
  visits.close()
  expect(await Promise.all([asked, justAsked])).toEqual([undefined, undefined])
})
