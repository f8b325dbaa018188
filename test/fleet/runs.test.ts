import { beforeAll, describe, expect, test } from 'vitest'
import type { TenancyEvent } from '../../src/events.ts'
import { createTenancy, type Tenancy } from '../../src/tenancy/tenancy.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const slugs = ['alfa', 'bravo', 'charlie', 'delta']
const first = {
  '001_notes.sql': 'CREATE TABLE notes (id int PRIMARY KEY, body text);\n-- migrate:down\nDROP TABLE notes;\n',
}
const second = {
  ...first,
  '002_tags.sql': 'ALTER TABLE notes ADD COLUMN tag text;\n-- migrate:down\nALTER TABLE notes DROP COLUMN tag;\n',
}
const third = { ...second, '003_more.sql': 'CREATE TABLE more ();\n-- migrate:down\nDROP TABLE more;\n' }

/** Files are read once by a tenancy. */
function open(files: Record<string, string>, overrides = {}): Tenancy {
  namespace.writeMigrations(files)
  return namespace.track(createTenancy(namespace.config(overrides)))
}

const inTenant = (slug: string, text: string) => namespace.superSql(text, [], `${namespace.tenantPrefix}${slug}`)
const registry = (text: string, values: unknown[] = []) =>
  namespace.sql(text, values, new URL(namespace.registryUrl).pathname.slice(1))
const tables = async (slug: string) =>
  (await inTenant(slug, `SELECT relname FROM pg_class WHERE relname IN ('notes', 'more') ORDER BY 1`)).map(
    row => row.relname,
  )

beforeAll(async () => {
  const tenancy = open(first)
  const result = await tenancy.tenants.createMany(slugs.map(name => ({ name })))
  expect(result).toMatchObject({ total: 4, succeeded: 4, run: expect.stringMatching(/^r_[0-9a-z]{11}$/) })
}, 120_000)

test('a fleet command is a run with a row for each tenant it came to', async () => {
  const tenancy = open(second)
  await namespace.superSql(`ALTER TABLE notes ADD COLUMN tag text`, [], `${namespace.tenantPrefix}bravo`)
  const result = await tenancy.migrations.run({ all: true }, { maxFailures: 2 })
  expect(result).toMatchObject({ succeeded: 3, failed: 1, failures: [{ count: 1, sqlstate: '42701', line: 1 }] })
  const run = await tenancy.runs.get(result.run as string)
  expect(run).toMatchObject({
    ...{ command: 'migrate', status: 'failed', total: 4, succeeded: 3, failed: 1, upToDate: 0, skipped: 0 },
    parameters: { selection: { all: true } },
  })
  expect(
    run.tenants.map(each => [each.tenant, each.status, each.from, each.to, each.applied, each.errorClass]),
  ).toEqual([
    ['alfa', 'migrated', '001_notes', '002_tags', ['002_tags'], null],
    ['bravo', 'failed', '001_notes', null, [], 'deterministic'],
    ['charlie', 'migrated', '001_notes', '002_tags', ['002_tags'], null],
    ['delta', 'migrated', '001_notes', '002_tags', ['002_tags'], null],
  ])
  expect((await tenancy.operations.list({ tenant: 'alfa', limit: 1 }))[0]).toMatchObject({ kind: 'migrate' })
  const [operation] = await registry('SELECT count(*)::int FROM tenantctl.operations WHERE run_id = $1', [run.id])
  expect(operation).toEqual({ count: 4 })
  expect((await tenancy.runs.list({ command: 'migrate' })).map(each => each.id)).toEqual([run.id])
  expect((await tenancy.runs.get('last')).id).toBe(run.id)
  await expect(tenancy.runs.get('r_nothing00')).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' })
})

test('what failed in a run can be selected, and is mended in the summary then', async () => {
  const tenancy = open(second)
  const [run] = await tenancy.runs.list({ command: 'migrate' })
  const failedOf = run?.id as string
  expect((await tenancy.tenants.select({ failedOf })).map(tenant => tenant.slug)).toEqual(['bravo'])
  expect((await tenancy.tenants.select({ failedOf: 'last' })).map(tenant => tenant.slug)).toEqual(['bravo'])
  await expect(tenancy.drift.check({ failedOf: 'r_nothing00' })).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' })
  const before = await tenancy.migrations.summary({ all: true })
  expect(before).toMatchObject({
    ...{ total: 4, upToDate: 3, behind: 1, target: '002_tags', byStatus: { active: 4 } },
    versions: [
      { version: '001_notes', tenants: 1, pending: 1 },
      { version: '002_tags', tenants: 3, pending: 0 },
    ],
    failures: [{ count: 1, sqlstate: '42701', tenants: ['bravo'], run: failedOf }],
  })
  await inTenant('bravo', 'ALTER TABLE notes DROP COLUMN tag')
  const again = await tenancy.migrations.run({ failedOf: 'last' })
  expect(again).toMatchObject({ total: 1, succeeded: 1 })
  // "last" is another one by now.
  expect((await tenancy.runs.get('last')).parameters).toEqual({ selection: { failedOf } })
  expect(await tenancy.migrations.summary({ all: true })).toMatchObject({ upToDate: 4, behind: 0, failures: [] })
})

test('nothing to do is one query for the whole fleet, and a run all the same', async () => {
  const tenancy = open(second)
  const result = await tenancy.migrations.run({ all: true })
  expect(result).toMatchObject({ total: 4, upToDate: 4 })
  expect(result.tenants[0]).toEqual({
    ...{ tenant: 'alfa', status: 'up_to_date', from: '002_tags', to: '002_tags', applied: [] },
  })
  expect(await tenancy.runs.get(result.run as string)).toMatchObject({ status: 'succeeded', upToDate: 4, tenants: [] })
})

test('a run that was killed is counted by the tenants it came to', async () => {
  const tenancy = open(second)
  await registry(`INSERT INTO tenantctl.runs (id, command, parameters, actor, pid, total, up_to_date)
    VALUES ('r_00000000000', 'migrate', '{}', 'ada', 1, 4, 0)`)
  await registry(`INSERT INTO tenantctl.run_tenants (run_id, tenant_slug, status, duration_ms) VALUES
    ('r_00000000000', 'alfa', 'migrated', 1), ('r_00000000000', 'bravo', 'failed', 1)`)
  const counts = { status: 'interrupted', succeeded: 1, failed: 1, skipped: 0 }
  expect(await tenancy.runs.get('r_00000000000')).toMatchObject(counts)
  await registry(`DELETE FROM tenantctl.runs WHERE id = 'r_00000000000'`)
})

describe('rollback of a run', () => {
  test('undoes what that run changed, on the tenants it changed', async () => {
    const tenancy = open(third)
    const { run } = await tenancy.migrations.run({ tenants: ['alfa', 'charlie'] })
    await tenancy.migrations.run({ tenants: ['delta'] })
    const undone = await tenancy.migrations.rollback(null, { run: run as string })
    expect(undone.tenants).toMatchObject([
      { tenant: 'alfa', status: 'rolled_back', from: '003_more', to: '002_tags', applied: ['003_more'] },
      { tenant: 'charlie', status: 'rolled_back' },
    ])
    expect(await tables('alfa')).toEqual(['notes'])
    expect(await tables('delta')).toEqual(['more', 'notes'])
    // Once more there is nothing left of it, also when somebody else has applied the same file again.
    expect(await tenancy.migrations.rollback(null, { run: run as string })).toMatchObject({ total: 2, upToDate: 2 })
    await tenancy.migrations.run({ tenants: ['alfa'] })
    expect(await tenancy.migrations.rollback(null, { run: run as string })).toMatchObject({ total: 1, upToDate: 1 })
    expect(await tables('alfa')).toEqual(['more', 'notes'])
  })

  test('is refused when newer migrations came after, and nothing is undone', async () => {
    const tenancy = open(third)
    const runs = await tenancy.runs.list({ command: 'migrate', limit: 100 })
    const oldest = runs.at(-1)?.id as string
    await expect(tenancy.migrations.rollback(null, { run: oldest })).rejects.toMatchObject({
      code: 'MIGRATION_OUT_OF_ORDER',
      message: expect.stringMatching(/003_more/),
    })
    expect(await tables('alfa')).toEqual(['more', 'notes'])
    const one = await tenancy.migrations.rollback({ tenants: ['charlie'] }, { run: oldest })
    expect(one).toMatchObject({ total: 1, succeeded: 1 })
    await tenancy.migrations.run({ tenants: ['charlie'] })
  })

  test('is for migrations', async () => {
    const tenancy = open(third)
    const [create] = await tenancy.runs.list({ command: 'create' })
    await expect(tenancy.migrations.rollback(null, { run: create?.id as string })).rejects.toMatchObject({
      code: 'RUN_UNSUITABLE',
    })
  })
})

describe('errors by class', () => {
  const broken = { ...third, '004_broken.sql': 'SELECT * FROM nowhere;\n' }

  test('one that would meet everybody stops the run at the first tenant', async () => {
    const tenancy = open(broken)
    const result = await tenancy.migrations.run({ all: true }, { concurrency: 1 })
    expect(result).toMatchObject({ failed: 1, skipped: 3, stopped: expect.stringContaining('42P01') })
    expect(result.tenants[3]).toMatchObject({ status: 'skipped', reason: result.stopped })
  })

  test('one in a file that has worked elsewhere is the tenant’s own', async () => {
    const tenancy = open({ ...third, '004_own.sql': 'CREATE TABLE own ();\n-- migrate:down\nDROP TABLE own;\n' })
    await inTenant('bravo', 'CREATE TABLE own ()')
    await tenancy.migrations.run({ tenants: ['delta'] })
    const result = await tenancy.migrations.run({ all: true }, { concurrency: 1 })
    expect(result).toMatchObject({ succeeded: 2, upToDate: 1, failed: 1, skipped: 0 })
    await inTenant('bravo', 'DROP TABLE own')
    await tenancy.migrations.rollback({ all: true }, { to: '003_more' })
  })

  test('a lock that is not granted is tried again at the end of the queue', async () => {
    const tenancy = open({
      ...third,
      '005_wait.sql': 'ALTER TABLE notes ADD COLUMN late text;\n-- migrate:down\nALTER TABLE notes DROP COLUMN late;\n',
    })
    const events: TenancyEvent[] = []
    const holder = inTenant('alfa', 'BEGIN; LOCK TABLE notes; SELECT pg_sleep(1); COMMIT')
    const result = await tenancy.migrations.run(
      { all: true },
      { concurrency: 2, lockTimeout: 200, retries: 8, onEvent: event => void events.push(event) },
    )
    await holder
    expect(result).toMatchObject({ succeeded: 4, failed: 0 })
    expect(result.tenants[0]?.attempts).toBeGreaterThan(1)
    expect(events).toContainEqual(expect.objectContaining({ event: 'retrying', tenant: 'alfa' }))
    await tenancy.migrations.rollback({ all: true }, { to: '003_more' })
  })
})

describe('time limits', () => {
  const slow = { ...third, '006_slow.sql': 'SELECT pg_sleep(30);\n' }

  test('of a tenant', async () => {
    const tenancy = open(slow)
    const result = await tenancy.migrations.run({ tenants: ['alfa'] }, { timeout: 200 })
    expect(result.tenants[0]).toMatchObject({ status: 'failed', error: { code: 'TENANT_TIMEOUT' } })
    expect(result.durationMs).toBeLessThan(5_000)
  })

  test('of the run', async () => {
    const tenancy = open(slow)
    const result = await tenancy.migrations.run({ all: true }, { runTimeout: '300ms', concurrency: 2, maxFailures: 4 })
    expect(result).toMatchObject({ failed: 2, skipped: 2, stopped: 'the run took longer than 0.3s' })
  })

  test('draining lets those at work finish', async () => {
    const tenancy = open({ ...third, '006_slow.sql': 'SELECT pg_sleep(0.5);\n-- migrate:down\nSELECT 1;\n' })
    const drain = new AbortController()
    const result = await tenancy.migrations.run(
      { all: true },
      { concurrency: 1, drain: drain.signal, onEvent: event => event.event === 'migration_started' && drain.abort() },
    )
    expect(result).toMatchObject({ succeeded: 1, skipped: 3, stopped: 'interrupted' })
    const run = result.run as string
    expect(await tenancy.runs.get(run)).toMatchObject({ status: 'interrupted', succeeded: 1 })
    const resumed = await tenancy.migrations.run(null, { resume: run })
    expect(resumed).toMatchObject({ total: 4, succeeded: 3, upToDate: 1 })
    await tenancy.migrations.rollback({ all: true }, { to: '003_more' })
  })
})

describe('the canary group', () => {
  const next = { ...third, '007_next.sql': 'CREATE TABLE next ();\n-- migrate:down\nDROP TABLE next;\n' }

  test('has to pass the check of the configuration', async () => {
    const seen: string[] = []
    const verify = async (tenant: { slug: string }, knex: { raw(text: string): Promise<{ rows: unknown[] }> }) => {
      const { rows } = await knex.raw('SELECT current_user AS role, count(*)::int AS rows FROM next')
      seen.push(`${tenant.slug} ${JSON.stringify(rows)}`)
      throw new Error('orders are missing')
    }
    const tenancy = open(next, { fleet: { verify } })
    const result = await tenancy.migrations.run({ all: true }, { canary: 1 })
    expect(seen).toEqual([`alfa [{"role":"${namespace.tenantPrefix}alfa","rows":0}]`])
    expect(result).toMatchObject({ failed: 1, skipped: 3, stopped: 'a tenant of the canary group failed' })
    expect(result.tenants[0]).toMatchObject({ applied: ['007_next'], error: { code: 'VERIFY_FAILED' } })
    expect(await tenancy.migrations.summary({ all: true })).toMatchObject({ failures: [{ code: 'VERIFY_FAILED' }] })
    // Once more, although its migrations are applied by now.
    expect(await tenancy.migrations.run({ all: true }, { canary: 1 })).toMatchObject({ failed: 1, skipped: 3 })
    expect(seen).toHaveLength(2)
    const undone = await tenancy.migrations.rollback(null, { run: result.run as string })
    expect(undone).toMatchObject({ total: 1, succeeded: 1 })
  })

  test('is watched for a while before the others are begun', async () => {
    const tenancy = open(next)
    const events: TenancyEvent[] = []
    const result = await tenancy.migrations.run(
      { all: true },
      { canary: '25%', bake: '300ms', onEvent: event => void events.push(event) },
    )
    expect(result).toMatchObject({ succeeded: 4 })
    expect(result.durationMs).toBeGreaterThan(300)
    expect(events).toContainEqual(expect.objectContaining({ event: 'baking', tenants: 1, durationMs: 300 }))
    await tenancy.migrations.rollback({ all: true }, { to: '003_more' })
  })
})

describe('a plan', () => {
  const planned = { ...third, '008_plan.sql': 'CREATE TABLE planned ();\n-- migrate:down\nDROP TABLE planned;\n' }

  test('is what runs, and can be gone on with', async () => {
    const tenancy = open(planned)
    const plan = await tenancy.migrations.planFile({ tenants: ['alfa', 'bravo'] })
    expect(plan).toMatchObject({
      migrations: [{ name: '008_plan', sql: 'CREATE TABLE planned ();' }],
      tenants: [
        { tenant: 'alfa', from: '003_more', pending: ['008_plan'] },
        { tenant: 'bravo', pending: ['008_plan'] },
      ],
    })
    await tenancy.migrations.run({ tenants: ['alfa'] })
    const read = JSON.parse(JSON.stringify(plan))
    expect(await tenancy.migrations.run(null, { plan: read })).toMatchObject({ total: 2, succeeded: 1, upToDate: 1 })
  })

  test('is refused when files or tenants have changed since', async () => {
    const plan = await open(planned).migrations.planFile({ all: true })
    const changed = open({ ...planned, '008_plan.sql': 'CREATE TABLE other ();\n' })
    const refused = { code: 'PLAN_STALE', message: expect.stringContaining('008_plan.sql has changed') }
    await expect(changed.migrations.run(null, { plan, allowChanged: true })).rejects.toMatchObject(refused)
    const more = open({ ...planned, '009_new.sql': 'SELECT 1' })
    await expect(more.migrations.run(null, { plan })).rejects.toMatchObject({
      code: 'PLAN_STALE',
      message: expect.stringContaining('009_new is new'),
    })
    const same = open(planned)
    await same.migrations.rollback({ tenants: ['charlie'] }, { to: '002_tags' })
    await expect(same.migrations.run(null, { plan })).rejects.toMatchObject({
      message: expect.stringContaining('"charlie" is not any more at the version'),
    })
  })

  test('comes from the registry, but for what it cannot tell', async () => {
    const tenancy = open(planned)
    await registry(`UPDATE tenantctl.tenants SET migrations_hash = 'unknown' WHERE slug = 'charlie'`)
    const plans = await tenancy.migrations.plan({ all: true })
    expect(plans.map(({ tenant, from, pending }) => [tenant, from, pending.map(each => each.name)])).toEqual([
      ['alfa', '008_plan', []],
      ['bravo', '008_plan', []],
      ['charlie', '002_tags', ['003_more', '008_plan']],
      ['delta', '003_more', ['008_plan']],
    ])
  })
})
