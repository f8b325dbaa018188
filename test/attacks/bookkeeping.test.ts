/**
 * A tenant that lays hands on knex's tables, or on locks, while the fleet is migrated: bounded time and memory, an
 * error of its own that names it, and the others proceed.
 */
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Listener, type Tenancy, type TenancyEvent } from '../../src/index.ts'
import { databaseLockKey, withDatabaseLock } from '../../src/migrations/database-lock.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { withClient } from '../../src/postgres/connect.ts'
import { sql, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting } from './support.ts'

describe.each(everySetting())('a hostile tenant of a $admin admin, roles $roles', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  const schema = roles === 'single' ? 'public' : 'tenantctl_migrations'
  const files: Record<string, string> = { '001.sql': 'CREATE TABLE notes (id int)' }
  let hostile: string
  let first: Tenancy

  beforeAll(async () => {
    namespace.writeMigrations(files)
    first = namespace.track(createTenancy(namespace.config({ roles })))
    for (const name of ['Alice', 'Mallory', 'Zoe']) await first.tenants.create({ name })
    hostile = (await first.tenants.url('mallory', { role: 'migrator' })).reveal()
  })

  afterAll(() => first.close())

  /** Adds a migration and runs it over the fleet, once for each way of attack. */
  async function migrateAll(options: { onEvent?: Listener } = {}) {
    const number = Object.keys(files).length + 1
    files[`${String(number).padStart(3, '0')}.sql`] = `CREATE TABLE t${number} (id int)`
    namespace.writeMigrations(files)
    const tenancy = createTenancy(namespace.config({ roles }))
    const events: TenancyEvent[] = []
    const startedAt = performance.now()
    try {
      const result = await tenancy.migrations.run(
        { all: true },
        {
          verify: true,
          lockTimeout: 300,
          retries: 0,
          maxFailures: 2,
          onEvent: event => {
            events.push(event)
            options.onEvent?.(event)
          },
        },
      )
      const outcome = (slug: string) => result.tenants.find(each => each.tenant === slug)
      expect([outcome('alice')?.status, outcome('zoe')?.status]).toEqual(['migrated', 'migrated'])
      expect(performance.now() - startedAt).toBeLessThan(10_000)
      return { mallory: outcome('mallory'), events, run: result.run ?? '' }
    } finally {
      await tenancy.close()
    }
  }

  async function replaced(table: string, replacement: string, work: () => Promise<void>) {
    const quoted = `${schema}.${table}`
    await sql(hostile, `ALTER TABLE ${quoted} RENAME TO ${table}_real; ${replacement}`)
    try {
      await work()
    } finally {
      await sql(hostile, `DROP VIEW ${quoted}; ALTER TABLE ${schema}.${table}_real RENAME TO ${table}`)
    }
  }

  test('that locks a table is named with its session', async () => {
    for (const lock of [
      `LOCK TABLE ${schema}.knex_migrations IN ACCESS EXCLUSIVE MODE`,
      `UPDATE ${schema}.knex_migrations_lock SET is_locked = 0`,
    ]) {
      const holder = await hold(hostile, `BEGIN; ${lock}`)
      try {
        const { mallory } = await migrateAll()
        expect(mallory).toMatchObject({ status: 'failed', error: { code: 'LOCK_TIMEOUT' } })
        expect(mallory?.error?.hint).toContain(`pid ${holder.pid} (`)
      } finally {
        await holder.end()
      }
    }
  })

  test('that holds our advisory lock is named, and keeps nobody but itself waiting', async () => {
    const holder = await hold(hostile, `SELECT pg_advisory_lock(${databaseLockKey})`)
    const needed = new Set(['alice finished', 'zoe finished', 'mallory waits'])
    const { mallory, events } = await migrateAll({
      onEvent: event => {
        if (event.event === 'tenant_finished') needed.delete(`${event.tenant} finished`)
        if (event.event === 'waiting') needed.delete(`${event.tenant} waits`)
        if (needed.size === 0) holder.end()
      },
    })
    expect(mallory?.status).toBe('migrated')
    const waiting = events.find(event => event.event === 'waiting')
    expect(waiting).toMatchObject({ tenant: 'mallory', reason: expect.stringContaining(`pid ${holder.pid} (`) })
    await using again = await hold(hostile, `SELECT pg_advisory_lock(${databaseLockKey})`)
    const options = { tenant: 'mallory', waitMs: 100 }
    const url = await first.tenants.url('mallory', { role: 'migrator' })
    await expect(
      withClient(parseAddress(url), {}, client => withDatabaseLock(client, options, async () => undefined)),
    ).rejects.toMatchObject({ code: 'TENANT_LOCKED', message: expect.stringContaining(`pid ${again.pid} (`) })
  })

  test.runIf(roles === 'single')('that shows millions of rows costs no memory', async () => {
    const view = (columns: string, rows: number) => `SELECT ${columns} FROM generate_series(1, ${rows}) i`
    for (const [table, columns, rows] of [
      ['knex_migrations', `i AS id, repeat('x', 5000) AS name, 1 AS batch, now() AS migration_time`, 110_000],
      ['knex_migrations_lock', '1 AS index, 0 AS is_locked', 2_000_000],
    ] as const) {
      await replaced(table, `CREATE VIEW ${schema}.${table} AS ${view(columns, rows)}`, async () => {
        const before = process.memoryUsage().rss
        let peak = before
        const watch = setInterval(() => {
          peak = Math.max(peak, process.memoryUsage().rss)
        }, 20)
        const { mallory } = await migrateAll()
        clearInterval(watch)
        expect(peak - before).toBeLessThan(200e6)
        if (table === 'knex_migrations') {
          expect(mallory).toMatchObject({ status: 'failed', error: { code: 'MIGRATION_MISSING' } })
          expect(mallory?.error?.message.length).toBeLessThan(2_000)
        }
      })
    }
  })

  test('that shows nonsense gets an error that is about it', async () => {
    for (const columns of [
      'NULL::text AS name, 1 AS batch',
      '17 AS name, 1 AS batch',
      `ARRAY['a'] AS name, 'NaN'::float AS batch`,
      `now() AS name, NULL::text AS batch`,
    ]) {
      await replaced(
        'knex_migrations',
        `CREATE VIEW ${schema}.knex_migrations AS SELECT 1 AS id, ${columns}`,
        async () => {
          const { mallory } = await migrateAll()
          expect(mallory).toMatchObject({ status: 'failed', error: { code: 'MIGRATION_MISSING' } })
        },
      )
    }
  })

  test('that makes us read something slow meets a limit', async () => {
    // The view notes the limit under which it is read; waiting for a minute would prove the same.
    await sql(
      hostile,
      `CREATE SEQUENCE ${schema}.seen;
       CREATE FUNCTION ${schema}.limits() RETURNS int LANGUAGE sql VOLATILE AS $$
         SELECT setval('${schema}.seen', (SELECT setting::int + 1 FROM pg_settings WHERE name = 'statement_timeout'))::int * 0 $$`,
    )
    for (const [table, columns] of [
      ['knex_migrations', `1 + ${schema}.limits() AS id, 'x' AS name, 1 AS batch, now() AS migration_time`],
      ['knex_migrations_lock', `1 AS index, ${schema}.limits() AS is_locked`],
    ] as const) {
      await sql(hostile, `SELECT setval('${schema}.seen', 1)`)
      await replaced(table, `CREATE VIEW ${schema}.${table} AS SELECT ${columns}`, async () => {
        await migrateAll()
        const [seen] = await sql<{ limit: number }>(hostile, `SELECT last_value::int - 1 AS limit FROM ${schema}.seen`)
        expect(seen?.limit).toBeGreaterThan(0)
        expect(seen?.limit).toBeLessThanOrEqual(60_000)
      })
    }
  })

  test.runIf(roles === 'single')('that puts a foreign table there, where it is let, is told about that', async () => {
    // By itself it cannot (see isolation.test.ts): a superuser has installed the wrapper for it.
    await namespace.superSql(
      `CREATE EXTENSION postgres_fdw SCHEMA pg_catalog; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO PUBLIC`,
      [],
      `${namespace.tenantPrefix}mallory`,
    )
    await sql(
      hostile,
      `CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
       CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (password 'x');
       ALTER TABLE knex_migrations_lock RENAME TO kept;
       CREATE FOREIGN TABLE knex_migrations_lock (index int, is_locked int) SERVER nowhere`,
    )
    const { mallory } = await migrateAll()
    expect(mallory).toMatchObject({ status: 'failed', error: { message: expect.stringMatching(/foreign|nowhere/) } })
    await sql(hostile, 'DROP SERVER nowhere CASCADE; ALTER TABLE kept RENAME TO knex_migrations_lock')
  })

  test('that raises errors of its own is not believed for more than itself', async () => {
    const raise = (state: string, message: string) =>
      `CREATE OR REPLACE FUNCTION ${schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION USING ERRCODE = '${state}', MESSAGE = ${message}; END $$`
    await sql(
      hostile,
      `${raise('P0001', "'x'")};
       CREATE TRIGGER refuse BEFORE INSERT ON ${schema}.knex_migrations FOR EACH ROW EXECUTE FUNCTION ${schema}.refuse()`,
    )
    for (const [state, message] of [
      ['28P01', "'password authentication failed'"],
      ['57P01', "'terminating connection'"],
      ['53300', "'too many connections'"],
      ['42P01', "'relation does not exist'"],
      ['XX000', "repeat('a very long story ', 1000000)"],
      // Wherever it is cut, one of the two cuts a pair in two.
      ['P0001', "repeat('\u{1f600}', 5000)"],
      ['P0001', "'x' || repeat('\u{1f600}', 5000)"],
    ] as const) {
      await sql(hostile, raise(state, message))
      const { mallory, run } = await migrateAll()
      expect((await first.runs.get(run)).tenants.map(each => each.tenant)).toContain('mallory')
      expect(mallory).toMatchObject({ status: 'failed', error: { sqlstate: state } })
      expect(JSON.stringify(mallory).length).toBeLessThan(20_000)
    }
    const [journal] = await first.operations.list({ tenant: 'mallory', limit: 1 })
    expect(journal?.error?.message.length).toBeLessThan(10_000)
  })
})

async function hold(url: string, statement: string) {
  const client = new pg.Client({ connectionString: urlWith(url, {}) })
  await client.connect()
  await client.query(statement)
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  return {
    pid: rows[0]?.pid as number,
    end: () => client.end(),
    [Symbol.asyncDispose]: () => client.end(),
  }
}
