import pg from 'pg'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { TenancyEvent } from '../../src/events.ts'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { databaseLockKey } from '../../src/migrations/database-lock.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const slugs = ['t1', 't2', 't3']
let tenancy: Tenancy

/** The folder is read once per tenancy: this is the next run of the command. */
const next = () => namespace.track(createTenancy(namespace.config()))
const write = (name: string, content: string) => namespace.writeFile(`migrations/${name}`, content)

beforeAll(async () => {
  namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;' })
  tenancy = next()
  await tenancy.tenants.createMany(slugs.map(name => ({ name })))
})

beforeEach(async () => {
  namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;' })
})

describe('a fleet', () => {
  test('goes on past a tenant that fails, which stays at its last good migration', async () => {
    write('002_b.sql', 'CREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;')
    write(
      '003_c.sql',
      "DO $$ BEGIN IF current_database() LIKE '%t2' THEN RAISE 'not here'; END IF; END $$;\n-- migrate:down\nSELECT 1;",
    )
    const result = await next().migrations.run({ all: true }, { retries: 0 })
    expect(result).toMatchObject({ command: 'migrate', total: 3, succeeded: 2, failed: 1, skipped: 0 })
    expect(result.tenants.map(each => [each.tenant, each.status, each.to])).toEqual([
      ['t1', 'migrated', '003_c'],
      ['t2', 'failed', '002_b'],
      ['t3', 'migrated', '003_c'],
    ])
    expect(result.tenants[1]?.error).toMatchObject({
      code: 'MIGRATION_FAILED',
      migration: '003_c.sql',
      line: 1,
      tenant: 't2',
    })
    expect(await tenancy.tenants.get('t2')).toMatchObject({ schemaVersion: '002_b', status: 'active' })
    const [operation] = await tenancy.operations.list({ tenant: 't2' })
    expect(operation).toMatchObject({ kind: 'migrate', status: 'failed', error: { code: 'MIGRATION_FAILED' } })

    const status = await next().migrations.status({ all: true })
    expect(status.tenants.map(each => each.pending)).toEqual([[], ['003_c'], []])
    expect(await next().migrations.rollback({ all: true }, { to: '001_a' })).toMatchObject({ succeeded: 3 })
    expect((await tenancy.tenants.list()).map(each => each.schemaVersion)).toEqual(['001_a', '001_a', '001_a'])
  })

  test('of a new file that is wrong, meets it with its first tenant alone', async () => {
    write('002_b.sql', 'CREATE TABLE b (a no_such_type);')
    const result = await next().migrations.run({ all: true }, { concurrency: 3 })
    expect(result.tenants.map(each => [each.tenant, each.status])).toEqual([
      ['t1', 'failed'],
      ['t2', 'skipped'],
      ['t3', 'skipped'],
    ])
  })

  test('leaves out who is not active, and says why', async () => {
    await namespace.superSql(
      "UPDATE tenantctl.tenants SET status = 'failed' WHERE slug = 't1'",
      [],
      `${namespace.prefix}_registry`,
    )
    const result = await next().migrations.run({ all: true })
    expect(result).toMatchObject({ total: 3, upToDate: 2, skipped: 1 })
    expect(result.tenants[0]).toMatchObject({ tenant: 't1', status: 'skipped', reason: expect.any(String) })
    await namespace.superSql(
      "UPDATE tenantctl.tenants SET status = 'active' WHERE slug = 't1'",
      [],
      `${namespace.prefix}_registry`,
    )
  })

  test('of two runs at once, each tenant is migrated by one', async () => {
    write('002_twice.sql', 'CREATE TABLE twice ();\n-- migrate:down\nDROP TABLE twice;')
    const results = await Promise.all([next().migrations.run({ all: true }), next().migrations.run({ all: true })])
    expect(results.map(each => each.failed)).toEqual([0, 0])
    expect(results.reduce((sum, each) => sum + each.succeeded, 0)).toBe(3)
    expect(await next().migrations.rollback({ all: true }, { steps: 1 })).toMatchObject({ succeeded: 3 })
  })

  test('up to date by the registry, nothing is connected to', async () => {
    const events: TenancyEvent[] = []
    const result = await next().migrations.run({ all: true }, { onEvent: event => void events.push(event) })
    expect(result).toMatchObject({ upToDate: 3, succeeded: 0 })
  })

  test('a lock that is not granted is tried again', async () => {
    write('002_lock.sql', 'ALTER TABLE a ADD b int;\n-- migrate:down\nALTER TABLE a DROP b;')
    const holder = new pg.Client({ connectionString: (await tenancy.tenants.url('t1')).reveal() })
    await holder.connect()
    await holder.query('BEGIN; SELECT * FROM a')
    const retried: TenancyEvent[] = []
    const result = await next().migrations.run(
      { tenants: ['t1'] },
      {
        lockTimeout: '100ms',
        onEvent: event => {
          if (event.event !== 'retrying') return
          retried.push(event)
          void holder.query('COMMIT')
        },
      },
    )
    await holder.end()
    expect(retried[0]).toMatchObject({
      tenant: 't1',
      error: { code: 'LOCK_TIMEOUT', migration: '002_lock.sql', hint: expect.stringMatching(/held by pid \d+/) },
    })
    expect(result).toMatchObject({ succeeded: 1 })
    await next().migrations.rollback({ tenants: ['t1'] }, { steps: 1 })
  })
})

describe('a file that changed after it was applied', () => {
  test('is refused, before any tenant is touched; allowed once, it is known as it is now', async () => {
    write('001_a.sql', 'CREATE TABLE a (id int, more int);\n-- migrate:down\nDROP TABLE a;')
    write('002_new.sql', 'CREATE TABLE b ();')
    await expect(next().migrations.run({ all: true })).rejects.toMatchObject({
      ...{ code: 'MIGRATION_CHANGED', migration: '001_a.sql', hint: expect.stringContaining('--allow-changed') },
    })
    expect((await tenancy.tenants.list()).map(each => each.schemaVersion)).toEqual(['001_a', '001_a', '001_a'])
    namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int, more int);\n-- migrate:down\nDROP TABLE a;' })
    expect(await next().migrations.run({ all: true }, { allowChanged: true })).toMatchObject({ upToDate: 3 })
    expect(await next().migrations.run({ all: true })).toMatchObject({ upToDate: 3 })
    namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;' })
    expect(await next().migrations.run({ all: true }, { allowChanged: true })).toMatchObject({ upToDate: 3 })
  })

  test('is as good as new when nobody has it any more', async () => {
    const file = (text: string) => write('002_b.sql', `${text};\n-- migrate:down\nDROP TABLE b;`)
    file('CREATE TABLE b ()')
    await next().migrations.run({ all: true })
    await next().migrations.rollback({ tenants: ['t1', 't2'] }, { to: '001_a' })
    file('CREATE TABLE b (id int)')
    const refused = { code: 'MIGRATION_CHANGED', migration: '002_b.sql' }
    await expect(next().migrations.run({ all: true })).rejects.toMatchObject(refused)
    await expect(next().migrations.plan({ all: true })).rejects.toMatchObject(refused)
    // Going back neither needs the file as it was nor accepts what it is.
    await next().migrations.rollback({ tenants: ['t3'] }, { to: '001_a' })
    expect(await next().migrations.lint()).toEqual([])
    expect(await next().migrations.plan({ tenants: ['t1'] })).toMatchObject([{ pending: [{ name: '002_b' }] }])
    expect(await next().migrations.run({ tenants: ['t1'] })).toMatchObject({ succeeded: 1 })
    file('CREATE TABLE b (id bigint)')
    await expect(next().migrations.run({ all: true })).rejects.toMatchObject(refused)
    await next().migrations.rollback({ tenants: ['t1'] }, { to: '001_a' })
  })

  test('is not accepted by going back', async () => {
    write('002_b.sql', 'CREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;')
    await next().migrations.run({ tenants: ['t1'] })
    write('001_a.sql', 'CREATE TABLE a (id bigint);\n-- migrate:down\nDROP TABLE a;')
    await next().migrations.rollback({ tenants: ['t1'] }, { steps: 1 })
    await expect(next().migrations.run({ all: true })).rejects.toMatchObject({ code: 'MIGRATION_CHANGED' })
  })
})

test('a fleet that goes back leaves out those that have not come so far', async () => {
  write('002_b.sql', 'CREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;')
  write('003_c.sql', 'CREATE TABLE c ();\n-- migrate:down\nDROP TABLE c;')
  await next().migrations.run({ tenants: ['t1'] })
  const back = await next().migrations.rollback({ all: true }, { to: '002_b' })
  expect(back).toMatchObject({ succeeded: 1, failed: 0, skipped: 2 })
  expect(back.tenants[1]).toMatchObject({ status: 'skipped', reason: expect.stringContaining('002_b is not applied') })
  const named = await next().migrations.rollback({ tenants: ['t2'] }, { to: '002_b' })
  expect(named.tenants[0]).toMatchObject({ error: { code: 'MIGRATION_OUT_OF_ORDER' } })
  await next().migrations.rollback({ tenants: ['t1'] }, { to: '001_a' })
})

test('what a killed run has committed ends its operation when it is found', async () => {
  write('002_b.sql', 'CREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;')
  const { id } = await tenancy.tenants.get('t1')
  const registry = (text: string) => namespace.sql(text, [], `${namespace.prefix}_registry`)
  await next().migrations.run({ tenants: ['t1'] })
  // As if it had been killed between COMMIT and its word to the registry.
  await registry(`UPDATE tenantctl.tenants SET schema_version = '001_a', migrations_hash = 'old' WHERE slug = 't1'`)
  await registry(`UPDATE tenantctl.operations SET status = 'running', finished_at = NULL
    WHERE id = (SELECT id FROM tenantctl.operations WHERE tenant_uuid = '${id}' ORDER BY started_at DESC LIMIT 1)`)
  const run = await next().migrations.run({ all: true })
  expect(run.tenants[0]).toMatchObject({ tenant: 't1', status: 'up_to_date', to: '002_b' })
  const operations = await tenancy.operations.list({ tenant: 't1', limit: 2 })
  expect(operations.map(each => each.status)).toEqual(['succeeded', 'interrupted'])
  expect((await tenancy.runs.get(run.run as string)).tenants.map(each => each.tenant)).toEqual(['t2', 't3'])
  await next().migrations.rollback({ all: true }, { to: '001_a' })
})

describe('a plan', () => {
  test('tells what would run and runs nothing', async () => {
    write('002_b.sql', 'CREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;')
    write('003_c.mjs', 'export const up = () => undefined')
    const plans = await next().migrations.plan({ tenants: ['t2'] })
    expect(plans).toEqual([
      {
        ...{ tenant: 't2', from: '001_a' },
        pending: [
          { name: '002_b', sql: 'CREATE TABLE b ();' },
          { name: '003_c', sql: null },
        ],
      },
    ])
    expect(await tenancy.tenants.get('t2')).toMatchObject({ schemaVersion: '001_a' })
  })
})

test.each([
  [{ to: '009_x' }, 'MIGRATION_NOT_FOUND'],
  [{ lockTimeout: 'soon' }, 'USAGE'],
  [{ concurrency: 0 }, 'USAGE'],
  [{ canary: '200%' }, 'USAGE'],
])('%j is %s', async (options, code) => {
  await expect(next().migrations.run({ all: true }, options)).rejects.toMatchObject({ code })
})

test('seeds run each in its own transaction, all or one, and are found by name', async () => {
  namespace.writeSeeds({
    '01_a.sql': 'INSERT INTO a VALUES (1);',
    '02_b.sql': 'INSERT INTO a VALUES (2);\nINSERT INTO nowhere VALUES (1);',
  })
  const result = await next().seeds.run({ tenants: ['t3'] })
  expect(result.tenants[0]).toMatchObject({
    status: 'failed',
    error: { code: 'SEED_FAILED', migration: '02_b.sql', line: 2 },
  })
  expect(await next().seeds.run({ tenants: ['t3'] }, { only: '01_a' })).toMatchObject({ succeeded: 1 })
  await expect(next().seeds.run({ all: true }, { only: '03' })).rejects.toMatchObject({ code: 'SEED_NOT_FOUND' })
  const client = new pg.Client({ connectionString: (await tenancy.tenants.url('t3')).reveal() })
  await client.connect()
  expect((await client.query('SELECT id FROM a')).rows).toEqual([{ id: 1 }, { id: 1 }])
  await client.end()
})

describe('with verify', () => {
  const inTenant = (slug: string, text: string) => namespace.superSql(text, [], `${namespace.tenantPrefix}${slug}`)

  test('a tenant that has what the registry says is not locked', async () => {
    const run = () => next().migrations.run({ tenants: ['t1'] }, { verify: true, timeout: 5_000, retries: 0 })
    expect(await run()).toMatchObject({ upToDate: 1 })
    const held = inTenant('t1', `SELECT pg_advisory_lock(${databaseLockKey}), pg_sleep(3)`)
    const sleeping = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`
    await expect.poll(() => inTenant('t1', sleeping)).toHaveLength(1)
    const startedAt = Date.now()
    expect((await run()).tenants).toMatchObject([{ status: 'up_to_date', to: '001_a', applied: [] }])
    expect(Date.now() - startedAt).toBeLessThan(2_500)
    await held
  })

  test('one that has less gets the rest, and one that has more is recorded as it is', async () => {
    write('002_b.sql', 'CREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;')
    expect(await next().migrations.run({ tenants: ['t1', 't2'] })).toMatchObject({ succeeded: 2 })
    // As a restore of an older backup would do, and the knex CLI.
    await inTenant('t1', `DROP TABLE b; DELETE FROM knex_migrations WHERE name LIKE '002%'`)
    await inTenant('t3', `INSERT INTO knex_migrations (name, batch) VALUES ('002_b.sql', 2)`)
    const result = await next().migrations.run({ all: true }, { verify: true })
    expect(result.tenants).toMatchObject([
      { tenant: 't1', status: 'migrated', from: '001_a', to: '002_b', applied: ['002_b'] },
      { tenant: 't2', status: 'up_to_date', to: '002_b' },
      { tenant: 't3', status: 'up_to_date', to: '002_b' },
    ])
    expect((await tenancy.tenants.list()).map(each => each.schemaVersion)).toEqual(['002_b', '002_b', '002_b'])
    await inTenant('t3', `CREATE TABLE b (); ALTER TABLE b OWNER TO "${namespace.tenantPrefix}t3"`)
    expect(await next().migrations.rollback({ all: true }, { to: '001_a' })).toMatchObject({ succeeded: 3 })
  })
})
