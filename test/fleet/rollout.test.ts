import { describe, expect, test } from 'vitest'
import { planRollout, type RolloutOptions } from '../../src/fleet/rollout.ts'

describe('the canary group', () => {
  test.each<[total: number, canary: RolloutOptions['canary'], expected: number]>([
    [500, undefined, 0],
    [500, 0, 0],
    [500, 3, 3],
    [500, '3', 3],
    [500, '5%', 25],
    [500, ' 5% ', 25],
    [10, '1%', 1],
    [1, '0.1%', 1],
    [0, '5%', 0],
    [101, '50%', 51],
    [2, 5, 2],
    [7, '100%', 7],
    [7, '0%', 0],
  ])('of %i tenants with %j has %i', (total, canary, expected) => {
    expect(planRollout(total, { canary }).canary).toBe(expected)
  })
})

describe('the budget of failures', () => {
  test.each<[total: number, maxFailures: RolloutOptions['maxFailures'], expected: number]>([
    [1, undefined, 5],
    [50, undefined, 5],
    [59, undefined, 5],
    [60, undefined, 6],
    [5000, undefined, 500],
    [5000, 0, 0],
    [5000, '0', 0],
    [5000, 12, 12],
    [5000, '2%', 100],
    [3, '10%', 1],
  ])('of %i tenants with %j is %i', (total, maxFailures, expected) => {
    expect(planRollout(total, { maxFailures }).maxFailures).toBe(expected)
  })
})

describe('what makes no sense is a usage error', () => {
  test.each<RolloutOptions>([
    { canary: '5 %' },
    { canary: -1 },
    { canary: 1.5 },
    { canary: '101%' },
    { canary: '' },
    { canary: Number.NaN },
    { maxFailures: 'few' },
    { maxFailures: -3 },
    { maxFailures: Number.POSITIVE_INFINITY },
    { concurrency: 0 },
    { concurrency: -1 },
    { concurrency: 2.5 },
    { concurrency: Number.NaN },
    { retries: -1 },
    { retries: 0.5 },
    { retries: Number.NaN },
  ])('%j', options => {
    const [option] = Object.keys(options)
    expect(() => planRollout(10, options)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => planRollout(10, options)).toThrow(option)
  })
})

test('two further attempts unless told otherwise', () => {
  expect(planRollout(10, {}).retries).toBe(2)
  expect(planRollout(10, { retries: 0 }).retries).toBe(0)
})
