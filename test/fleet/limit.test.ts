import { expect, test } from 'vitest'
import { Limit } from '../../src/fleet/limit.ts'

/** A server whose throughput grows up to `knee` tenants at once and falls beyond it. */
function simulate(knee: number, bounds: { start: number; max: number }, seconds: number) {
  let now = 0
  const limit = new Limit(bounds, () => now)
  const reasons: string[] = []
  while (now < seconds * 1000) {
    const busy = limit.current
    const perSecond = 20 * Math.min(busy, knee) * (busy > knee ? 0.97 ** (busy - knee) : 1)
    now += 1000 / perSecond
    const reason = limit.finished(true)
    if (reason) reasons.push(reason)
  }
  return { limit, reasons }
}

test.each([4, 8, 16, 30])('settles near the best throughput, which is at %i', knee => {
  const { limit, reasons } = simulate(knee, { start: 4, max: 60 }, 10)
  expect(limit.current).toBeGreaterThanOrEqual(knee * 0.75)
  expect(limit.current).toBeLessThanOrEqual(knee * 1.5)
  expect(reasons.some(reason => reason.startsWith('settled'))).toBe(true)
})

test('never goes beyond what the server has connections for', () => {
  expect(simulate(100, { start: 4, max: 7 }, 10).limit.current).toBe(7)
  expect(simulate(100, { start: 4, max: 2 }, 1).limit.current).toBe(2)
})

test('halves when a connection is refused, once for a burst of refusals, and comes back later', () => {
  let now = 0
  const limit = new Limit({ start: 16, max: 16 }, () => now)
  expect(limit.refused()).toMatch(/53300/)
  expect(limit.refused()).toBeUndefined()
  expect(limit.current).toBe(8)
  now += 2_000
  limit.refused()
  expect(limit.current).toBe(4)
  for (let done = 0; done < 2_000; done += 1) {
    now += 80 / limit.current
    limit.finished(true)
  }
  expect(limit.current).toBeGreaterThan(4)
})

test('a queue that is about to run empty tells nothing about the server', () => {
  let now = 0
  const limit = new Limit({ start: 4, max: 64 }, () => now)
  for (let done = 0; done < 500; done += 1) {
    now += 10
    expect(limit.finished(false)).toBeUndefined()
  }
  expect(limit.current).toBe(4)
})
