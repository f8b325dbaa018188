import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

/** What a tenant can do to its own database must reach neither the others nor the admin. */
const namespace = useNamespace()
let tenancy: Tenancy

beforeAll(async () => {
  namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int);' })
  tenancy = namespace.track(createTenancy(namespace.config()))
})

/** Makes the tenant, lets it do something, and migrates it together with an honest one. */
async function beside(slug: string, harm: string) {
  await tenancy.tenants.create({ name: slug })
  await sql((await tenancy.tenants.url(slug)).reveal(), harm)
  return migrateBesideHonest(slug)
}

async function migrateBesideHonest(slug: string) {
  await tenancy.tenants.create({ name: 'honest', ifNotExists: true })
  const number = slug.slice(1)
  namespace.writeFile(`migrations/${number}_next.sql`, `CREATE TABLE next_${number} ();`)
  // One that reads the folder anew.
  const fresh = createTenancy(namespace.config())
  const result = await fresh.migrations.run({ tenants: ['honest', slug] }, { retries: 0, lockTimeout: 300 })
  await fresh.close()
  expect(result.tenants[0]).toMatchObject({ tenant: 'honest', status: 'migrated' })
  return { outcome: result.tenants[1], drop: () => tenancy.tenants.drop({ tenants: [slug] }, { force: true }) }
}

describe('knex_migrations', () => {
  test('as a view that fails', async () => {
    const { outcome, drop } = await beside(
      't100',
      `DROP TABLE knex_migrations; CREATE VIEW knex_migrations AS SELECT 1 AS id, (1 / 0)::text AS name, 1 AS batch;`,
    )
    expect(outcome).toMatchObject({ status: 'failed', error: { sqlstate: '22012' } })
    expect(await drop()).toMatchObject({ succeeded: 1 })
  })

  test('with a trigger that tries to become the admin', async () => {
    const admin = `${namespace.prefix}_admin`
    const { outcome, drop } = await beside(
      't101',
      `CREATE TABLE seen (who text);
       CREATE FUNCTION grab() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO seen VALUES (session_user || '/' || current_user);
         BEGIN RESET ROLE; RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
         INSERT INTO seen VALUES (session_user || '/' || current_user);
         BEGIN EXECUTE 'SET ROLE ${admin}'; INSERT INTO seen VALUES ('admin'); EXCEPTION WHEN OTHERS THEN NULL; END;
         RETURN NEW;
       END $$;
       CREATE TRIGGER grab BEFORE INSERT ON knex_migrations FOR EACH ROW EXECUTE FUNCTION grab();`,
    )
    expect(outcome).toMatchObject({ status: 'migrated' })
    const { username } = await tenancy.tenants.get('t101')
    const rows = await sql((await tenancy.tenants.url('t101')).reveal(), 'SELECT DISTINCT who FROM seen')
    expect(rows).toEqual([{ who: `${username}/${username}` }])
    expect(await drop()).toMatchObject({ succeeded: 1 })
  })

  test('with a hundred thousand rows', async () => {
    const { outcome, drop } = await beside(
      't102',
      `INSERT INTO knex_migrations (name, batch) SELECT i || repeat('x', 200), i FROM generate_series(1, 100000) i;`,
    )
    expect(outcome).toMatchObject({ status: 'failed', error: { code: 'MIGRATION_MISSING' } })
    expect(outcome?.error?.message.length).toBeLessThan(2_000)
    expect(await drop()).toMatchObject({ succeeded: 1 })
  })

  test('with a lock table that never answers', async () => {
    const { outcome, drop } = await beside(
      't103',
      `ALTER TABLE knex_migrations_lock RENAME TO hidden;
       CREATE FUNCTION slow() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
         IF current_setting('statement_timeout') = '0' THEN PERFORM pg_sleep(3600); END IF; RETURN 0; END $$;
       CREATE VIEW knex_migrations_lock AS SELECT index, slow() AS is_locked FROM hidden WHERE slow() = 0;`,
    )
    expect(outcome?.status).toMatch(/migrated|failed/)
    expect(await drop()).toMatchObject({ succeeded: 1 })
  })

  test('locked by a session that stays', async () => {
    await tenancy.tenants.create({ name: 't104' })
    const holder = new pg.Client({ connectionString: (await tenancy.tenants.url('t104')).reveal() })
    holder.on('error', () => undefined)
    await holder.connect()
    await holder.query('BEGIN; LOCK TABLE knex_migrations')
    const { outcome, drop } = await migrateBesideHonest('t104')
    expect(outcome).toMatchObject({ status: 'failed', error: { code: 'LOCK_TIMEOUT' } })
    expect(await drop()).toMatchObject({ succeeded: 1 })
    await holder.end().catch(() => undefined)
  })
})

test('a search_path and functions that shadow the system’s change nothing for the admin', async () => {
  await tenancy.tenants.create({ name: 't105' })
  const url = (await tenancy.tenants.url('t105')).reveal()
  const { username } = await tenancy.tenants.get('t105')
  await sql(
    url,
    `CREATE TABLE canary (who text);
     CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.canary VALUES (current_user); RETURN pg_catalog.now(); END $$;
     CREATE FUNCTION public.count(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.canary VALUES (current_user); RETURN 0; END $$;
     ALTER ROLE "${username}" SET search_path = public, pg_catalog;`,
  )
  await tenancy.tenants.describe('t105')
  await tenancy.tenants.list({ size: true })
  await tenancy.migrations.status({ tenants: ['t105'] })
  expect(await sql(url, 'SELECT DISTINCT who FROM canary WHERE who <> $1', [username])).toEqual([])
  expect(await tenancy.tenants.drop({ tenants: ['t105'] })).toMatchObject({ succeeded: 1 })
})
