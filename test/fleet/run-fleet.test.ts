import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type ErrorCode, TenancyError } from '../../src/errors.ts'
import type { TenancyEvent } from '../../src/events.ts'
import type { TenantOutcome } from '../../src/fleet/result.ts'
import { type FleetRun, runFleet } from '../../src/fleet/run-fleet.ts'
import type { ErrorClass } from '../../src/postgres/sqlstate.ts'

type Work = (slug: string, attempt: number) => Promise<Omit<TenantOutcome, 'tenant' | 'durationMs'>>

const classes: Partial<Record<ErrorCode, ErrorClass>> = {
  LOCK_TIMEOUT: 'transient',
  CONNECTION_FAILED: 'transient',
  MIGRATIONS_INVALID: 'deterministic',
}
const migrated = async () => ({ status: 'migrated' }) as const
const failing = async (code: ErrorCode = 'MIGRATION_FAILED'): Promise<never> => {
  throw new TenancyError(code, 'no')
}

type Options = FleetRun<string>['options'] & Pick<FleetRun<string>, 'untried' | 'serverOf' | 'onOutcome'>

async function run(count: number, work: Work, given: Options = {}) {
  const { untried, serverOf, onOutcome, ...options } = given
  const items = Array.from({ length: count }, (_, index) => `t${String(index + 1).padStart(3, '0')}`)
  const events: TenancyEvent[] = []
  const attempts = new Map<string, number>()
  const started: string[] = []
  let busy = 0
  let busiest = 0
  const result = await runFleet({
    ...{ command: 'migrate', items, untried, serverOf, onOutcome },
    slugOf: slug => slug,
    classify: error => classes[(error as TenancyError).code] ?? 'other',
    options: { onEvent: event => void events.push(event), ...options },
    async work(slug) {
      started.push(slug)
      const attempt = (attempts.get(slug) ?? 0) + 1
      attempts.set(slug, attempt)
      busy += 1
      busiest = Math.max(busiest, busy)
      try {
        await sleep(2)
        return await work(slug, attempt)
      } finally {
        busy -= 1
      }
    },
  })
  const { total, succeeded, upToDate, failed, skipped } = result
  expect(succeeded + upToDate + failed + skipped).toBe(total)
  expect(result.tenants.map(each => each.tenant)).toEqual(items)
  return { result, counts: { succeeded, upToDate, failed, skipped }, events, started, busiest }
}

describe('concurrency', () => {
  test.each([
    [1, 20],
    [3, 20],
    [50, 20],
  ])('never more than %i of %i at once', async (concurrency, count) => {
    const { busiest, counts } = await run(count, migrated, { concurrency })
    expect(busiest).toBe(Math.min(concurrency, count))
    expect(counts).toEqual({ succeeded: count, upToDate: 0, failed: 0, skipped: 0 })
  })

  test('no tenants are no work', async () => {
    expect((await run(0, migrated)).counts).toEqual({ succeeded: 0, upToDate: 0, failed: 0, skipped: 0 })
  })
})

describe('the canary group', () => {
  test('comes first, and the others only when it has passed', async () => {
    let done = 0
    const { counts } = await run(
      10,
      async slug => {
        if (slug <= 't003') {
          await sleep(10)
          done += 1
        } else expect(done).toBe(3)
        return { status: 'migrated' }
      },
      { canary: 3 },
    )
    expect(counts.succeeded).toBe(10)
  })

  test('stops everything when one of it fails, whatever the budget', async () => {
    const { result, counts, started } = await run(100, slug => (slug === 't002' ? failing() : migrated()), {
      canary: '2%',
      maxFailures: 50,
    })
    expect(counts).toEqual({ succeeded: 1, upToDate: 0, failed: 1, skipped: 98 })
    expect(started).toEqual(['t001', 't002'])
    expect(result.tenants[99]).toMatchObject({ status: 'skipped', reason: expect.stringContaining('canary') })
  })
})

describe('the budget of failures', () => {
  test('lets so many fail and begins no tenant after one more', async () => {
    const { counts, started } = await run(100, () => failing(), { concurrency: 1, maxFailures: 3 })
    expect(counts).toEqual({ succeeded: 0, upToDate: 0, failed: 4, skipped: 96 })
    expect(started).toHaveLength(4)
  })

  test('lets those finish that are at work', async () => {
    const { counts } = await run(
      20,
      async slug => {
        if (slug === 't001') return failing()
        await sleep(20)
        return { status: 'migrated' }
      },
      { concurrency: 4, maxFailures: 0 },
    )
    expect(counts).toEqual({ succeeded: 3, upToDate: 0, failed: 1, skipped: 16 })
  })

  test('does not count what another attempt mended', async () => {
    const { counts } = await run(5, (_, attempt) => (attempt === 1 ? failing('LOCK_TIMEOUT') : migrated()), {
      maxFailures: 0,
    })
    expect(counts).toEqual({ succeeded: 5, upToDate: 0, failed: 0, skipped: 0 })
  })
})

describe('work that was not done to anybody yet', () => {
  test('is tried on the first tenant alone, and on nobody else when everybody would fail', async () => {
    const { started, counts } = await run(20, () => failing('MIGRATIONS_INVALID'), { untried: true, concurrency: 8 })
    expect(started).toEqual(['t001'])
    expect(counts).toEqual({ succeeded: 0, upToDate: 0, failed: 1, skipped: 19 })
  })

  test('goes on with all of them after that, or when it takes long', async () => {
    let others = 0
    const work: Work = async slug => {
      if (slug === 't001') while (others < 7) await sleep(20)
      else others += 1
      return { status: 'migrated' }
    }
    const { counts, busiest } = await run(20, work, { untried: true, concurrency: 8 })
    expect(counts.succeeded).toBe(20)
    expect(busiest).toBe(8)
  })

  test('is tried on so many as may fail by the budget that was given', async () => {
    const { counts } = await run(20, () => failing('MIGRATIONS_INVALID'), {
      ...{ untried: true, concurrency: 1, maxFailures: 3 },
    })
    expect(counts.failed).toBe(4)
  })
})

describe('retries', () => {
  test('put a transient failure at the end of the queue', async () => {
    const { started, counts, events } = await run(
      4,
      (slug, attempt) => (slug === 't001' && attempt === 1 ? failing('LOCK_TIMEOUT') : migrated()),
      { concurrency: 1 },
    )
    expect(started).toEqual(['t001', 't002', 't003', 't004', 't001'])
    expect(counts.succeeded).toBe(4)
    expect(events.filter(each => each.event === 'retrying')).toEqual([
      expect.objectContaining({ tenant: 't001', attempt: 2, error: expect.objectContaining({ code: 'LOCK_TIMEOUT' }) }),
    ])
  })

  test('end after so many attempts, with the last error', async () => {
    const { started, result } = await run(1, () => failing('LOCK_TIMEOUT'), { retries: 1 })
    expect(started).toHaveLength(2)
    expect(result.tenants[0]).toMatchObject({ status: 'failed', error: { code: 'LOCK_TIMEOUT', tenant: 't001' } })
  })

  test('are not for lasting errors', async () => {
    expect((await run(1, () => failing())).started).toHaveLength(1)
  })

  test('a tenant whose further attempt never came is failed, not skipped', async () => {
    const { result, counts } = await run(
      3,
      slug => (slug === 't001' ? failing('LOCK_TIMEOUT') : slug === 't002' ? failing() : migrated()),
      { concurrency: 1, maxFailures: 0 },
    )
    expect(result.tenants[0]).toMatchObject({ status: 'failed', error: { code: 'LOCK_TIMEOUT' } })
    expect(counts).toEqual({ succeeded: 0, upToDate: 0, failed: 2, skipped: 1 })
  })

  test('come in time also while another tenant takes long', async () => {
    const startedAt = Date.now()
    let mendedAfter = 0
    await run(2, async (slug, attempt) => {
      if (slug === 't002') await sleep(1_500)
      else if (attempt === 1) return failing('LOCK_TIMEOUT')
      else mendedAfter = Date.now() - startedAt
      return { status: 'migrated' }
    })
    expect(mendedAfter).toBeLessThan(1_400)
  })

  test('that never came are told all the same', async () => {
    const told: string[] = []
    await run(3, slug => (slug === 't001' ? failing('LOCK_TIMEOUT') : failing()), {
      ...{ concurrency: 1, maxFailures: 0 },
      onOutcome: (slug, { status }) => void told.push(`${slug} ${status}`),
    })
    expect(told).toEqual(['t002 failed', 't001 failed'])
  })
})

describe('a server that does not answer', () => {
  const serverOf = (slug: string) => (Number(slug.slice(1)) % 2 === 0 ? 'even' : 'odd')

  test('is given up after some tries, and the others go on', async () => {
    const { result, counts, started } = await run(
      60,
      slug => (serverOf(slug) === 'even' ? failing('CONNECTION_FAILED') : migrated()),
      { serverOf, retries: 0, concurrencyPerServer: 2 },
    )
    // Two were at work when it fell silent, one has tried it once more.
    expect(started.filter(slug => serverOf(slug) === 'even')).toEqual(['t002', 't004', 't006'])
    expect(counts).toEqual({ succeeded: 30, upToDate: 0, failed: 3, skipped: 27 })
    expect(result.stopped).toBe('server "even" could not be reached')
    expect(result.tenants[59]).toEqual({
      ...{ tenant: 't060', status: 'skipped', reason: 'server "even" could not be reached' },
    })
  })

  test('is waited for while it restarts', async () => {
    let back = false
    setTimeout(() => {
      back = true
    }, 300)
    const { counts } = await run(40, () => (back ? migrated() : failing('CONNECTION_FAILED')), { concurrency: 4 })
    expect(counts).toEqual({ succeeded: 40, upToDate: 0, failed: 0, skipped: 0 })
  })

  test('is another thing than a tenant whose connection is lost each time', async () => {
    const { counts } = await run(20, slug => (slug === 't003' ? failing('CONNECTION_FAILED') : migrated()), {
      ...{ retries: 1, concurrency: 1 },
    })
    expect(counts).toEqual({ succeeded: 19, upToDate: 0, failed: 1, skipped: 0 })
  })
})

test('a tenant that the work leaves out is skipped, with its reason and its error', async () => {
  const error = new TenancyError('TENANT_SUSPENDED', 'tenant "t002" is suspended').toJSON()
  const { result, counts, events } = await run(3, async slug =>
    slug === 't002' ? { status: 'skipped', error, reason: error.message } : { status: 'up_to_date' },
  )
  expect(counts).toEqual({ succeeded: 0, upToDate: 2, failed: 0, skipped: 1 })
  expect(result.tenants[1]).toMatchObject({ status: 'skipped', error: { code: 'TENANT_SUSPENDED' } })
  expect(events.filter(each => each.event === 'tenant_finished')).toHaveLength(3)
})

test('an abort begins no further tenant; those at work end as they end', async () => {
  const controller = new AbortController()
  const { result, counts } = await run(
    10,
    async slug => {
      if (slug === 't001') controller.abort()
      return { status: 'migrated' }
    },
    { concurrency: 2, signal: controller.signal },
  )
  expect(counts).toEqual({ succeeded: 2, upToDate: 0, failed: 0, skipped: 8 })
  expect(result.tenants[9]).toEqual({ tenant: 't010', status: 'skipped', reason: 'interrupted' })
})

test('an abort ends the wait before a further attempt', async () => {
  const controller = new AbortController()
  const startedAt = Date.now()
  await run(1, () => failing('LOCK_TIMEOUT'), {
    retries: 9,
    signal: controller.signal,
    onEvent: event => {
      if (event.event === 'retrying' && event.attempt === 2) setTimeout(() => controller.abort(), 5)
    },
  })
  expect(Date.now() - startedAt).toBeLessThan(2_000)
})

test('something unknown that is thrown is a bug, of that tenant alone', async () => {
  const { result } = await run(2, async slug => {
    if (slug === 't001') throw new TypeError('x is not a function')
    return { status: 'migrated' }
  })
  expect(result.tenants[0]).toMatchObject({
    status: 'failed',
    error: { code: 'INTERNAL', message: 'x is not a function' },
  })
  expect(result.succeeded).toBe(1)
})

test('a listener that throws changes nothing', async () => {
  const onEvent = () => {
    throw new Error('listener')
  }
  expect((await run(3, migrated, { onEvent })).counts.succeeded).toBe(3)
})
