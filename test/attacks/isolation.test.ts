/** What a tenant's login is refused: other databases, its own database's settings, roles, files, other sessions. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type Tenant } from '../../src/index.ts'
import { type Row, sql, sqlError, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting, sharedCatalogs } from './support.ts'

const refused = '42501'

describe.each(everySetting())('a tenant of a $admin admin, roles $roles', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy
  let victim: Tenant
  let own: Tenant
  /** The attacker's logins: the application's, and the migrator's where that is another one. */
  let logins: { app: string; migrator: string }

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (id serial PRIMARY KEY, body text)' })
    namespace.writeSeeds({ '01.sql': "INSERT INTO notes (body) VALUES ('private')" })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
    own = await tenancy.tenants.create({ name: 'Attacker' })
    victim = await tenancy.tenants.create({ name: 'Victim' })
    const url = async (role: 'app' | 'migrator') => (await tenancy.tenants.url('attacker', { role })).reveal()
    logins = { app: await url('app'), migrator: await url('migrator') }
  })

  afterAll(() => tenancy.close())

  const eachLogin = async (work: (url: string) => Promise<void>) => {
    for (const url of new Set([logins.app, logins.migrator])) await work(url)
  }

  test('is let into its own database alone', async () => {
    await eachLogin(async url => {
      expect((await tryLogin(url)).ok).toBe(true)
      for (const database of [victim.database, `${namespace.prefix}_registry`]) {
        expect(await tryLogin(urlWith(url, { database }))).toMatchObject({ ok: false, code: refused })
      }
    })
  })

  test('learns nothing of others where PUBLIC may connect', async () => {
    // postgres and template1 are not ours to close unasked; see test/doctor/isolation.test.ts.
    const url = urlWith(logins.app, { database: 'postgres' })
    await using other = await openSession((await tenancy.tenants.url('victim')).reveal())
    await other.query("SELECT 'a secret in a statement'")
    const seen = await sql<{ query: string }>(
      url,
      `SELECT query FROM pg_stat_activity WHERE datname = '${victim.database}' OR usename = '${namespace.prefix}_admin'`,
    )
    expect(seen.length).toBeGreaterThan(0)
    for (const { query } of seen) expect(query).toMatch(/^(<insufficient privilege>|)$/)
    expect((await sqlError(url, 'SELECT rolpassword FROM pg_authid')).code).toBe(refused)
    expect((await sqlError(url, 'SELECT passwd FROM pg_shadow')).code).toBe(refused)
  })

  test('cannot end or cancel the sessions of others', async () => {
    await using other = await openSession((await tenancy.tenants.url('victim')).reveal())
    await using admin = await openSession(namespace.adminUrl)
    for (const { pid } of [other, admin]) {
      for (const end of ['pg_terminate_backend', 'pg_cancel_backend']) {
        expect((await sqlError(logins.migrator, `SELECT ${end}(${pid})`)).code).toBe(refused)
      }
    }
  })

  test('gets at nothing that others keep where everybody may come in, nor at their prepared transactions', async () => {
    const theirs = (await tenancy.tenants.url('victim', { role: 'migrator' })).reveal()
    const gid = `${namespace.prefix} prepared`
    await sql(theirs, `BEGIN; SELECT 1; PREPARE TRANSACTION '${gid}'`)
    await using other = await openSession(urlWith(theirs, { database: 'postgres' }))
    await other.query("CREATE TEMPORARY TABLE private AS SELECT 'private' AS body")
    const { rows } = await other.query<{ large: string; schema: string }>(
      "SELECT lo_from_bytea(0, 'private')::text AS large, pg_my_temp_schema()::regnamespace::text AS schema",
    )
    const [{ large, schema } = { large: '', schema: '' }] = rows
    await eachLogin(async url => {
      const outside = urlWith(url, { database: 'postgres' })
      for (const [where, statement] of [
        [url, `COMMIT PREPARED '${gid}'`],
        [url, `ROLLBACK PREPARED '${gid}'`],
        [outside, `SELECT lo_get(${large})`],
        [outside, `SELECT lo_put(${large}, 0, 'x')`],
        [outside, `SELECT lo_unlink(${large})`],
        [outside, `GRANT ALL ON LARGE OBJECT ${large} TO PUBLIC`],
        [outside, `SELECT * FROM ${schema}.private`],
        [outside, `DROP TABLE ${schema}.private`],
      ] as const) {
        expect([statement, (await sqlError(where, statement)).code]).toEqual([statement, refused])
      }
    })
    await other.query(`SELECT lo_unlink(${large})`)
    await sql(theirs, `ROLLBACK PREPARED '${gid}'`)
  })

  test('changes nothing outside of its database', async () => {
    const before = await sharedCatalogs(namespace)
    const statements = forbidden({
      database: own.database,
      role: own.username,
      victim: victim.username,
      victimDatabase: victim.database,
      admin: `${namespace.prefix}_admin`,
      prefix: namespace.prefix,
    })
    const allowed: string[] = []
    await eachLogin(async url => {
      for (const statement of statements) {
        // One session each: what a SET ROLE gained must not help the next.
        const outcome = await sql(url, statement).then(
          () => 'allowed',
          (error: { code?: string }) => error.code,
        )
        if (outcome !== refused) allowed.push(`${outcome}: ${statement}`)
      }
    })
    expect(allowed).toEqual([])
    expect(await sharedCatalogs(namespace)).toEqual(before)
  })

  test('cannot pass its rights on: that is a mere warning, so the rights themselves are compared', async () => {
    const before = await sharedCatalogs(namespace)
    await eachLogin(async url => {
      for (const statement of [
        `GRANT CONNECT ON DATABASE "${own.database}" TO PUBLIC`,
        `GRANT ALL ON DATABASE "${own.database}" TO "${victim.username}" WITH GRANT OPTION`,
        `REVOKE ALL ON DATABASE "${own.database}" FROM "${namespace.prefix}_admin"`,
        `REVOKE CONNECT ON DATABASE "${victim.database}" FROM "${victim.username}"`,
      ]) {
        await sql(url, statement).catch(error => expect(error.code).toBe(refused))
      }
    })
    expect(await sharedCatalogs(namespace)).toEqual(before)
  })

  test.runIf(roles === 'separate')(
    "an application's login makes nothing, and cannot forge the migrations",
    async () => {
      for (const statement of [
        'CREATE TABLE t (a int)',
        'CREATE TEMPORARY TABLE t (a int)',
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        'CREATE SCHEMA s',
        'CREATE EXTENSION pgcrypto',
        'CREATE PUBLICATION p',
        'CREATE INDEX ON notes (body)',
        'CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
        'CREATE RULE r AS ON DELETE TO notes DO INSTEAD NOTHING',
        'ALTER TABLE notes OWNER TO CURRENT_USER',
        'ALTER TABLE notes ALTER body SET DEFAULT 1',
        `SET ROLE "${own.username}_owner"`,
        `SET ROLE "${own.username}_migrator"`,
        "INSERT INTO tenantctl_migrations.knex_migrations (name) VALUES ('forged')",
        "UPDATE tenantctl_migrations.knex_migrations SET name = 'forged'",
        'DELETE FROM tenantctl_migrations.knex_migrations',
        'TRUNCATE tenantctl_migrations.knex_migrations',
        'BEGIN; LOCK TABLE tenantctl_migrations.knex_migrations',
        'UPDATE tenantctl_migrations.knex_migrations_lock SET is_locked = 1',
        'DROP TABLE tenantctl_migrations.knex_migrations_lock',
      ]) {
        const outcome = await sql(logins.app, statement).catch((error: { code: string }) => error.code)
        expect([statement, outcome]).toEqual([statement, refused])
      }
      expect((await tenancy.migrations.status({ tenants: ['attacker'] })).upToDate).toBe(1)
    },
  )
})

async function openSession(url: string) {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { pid } = (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0] as { pid: number }
  return {
    pid,
    query: <R extends Row>(text: string) => client.query<R>(text),
    [Symbol.asyncDispose]: () => client.end(),
  }
}

interface Names {
  database: string
  role: string
  victim: string
  victimDatabase: string
  admin: string
  prefix: string
}

function forbidden({ database, role, victim, victimDatabase, admin, prefix }: Names): string[] {
  return [
    // Its own database belongs to the admin.
    `ALTER DATABASE "${database}" CONNECTION LIMIT -1`,
    `ALTER DATABASE "${database}" SET search_path = evil`,
    `ALTER DATABASE "${database}" SET default_transaction_read_only = on`,
    `ALTER DATABASE "${database}" RENAME TO ${prefix}_mine`,
    `ALTER DATABASE "${database}" IS_TEMPLATE true`,
    `ALTER DATABASE "${database}" ALLOW_CONNECTIONS false`,
    `ALTER DATABASE "${database}" OWNER TO CURRENT_USER`,
    `COMMENT ON DATABASE "${database}" IS 'tenantctl forged marker'`,
    `DROP DATABASE "${victimDatabase}"`,
    `CREATE DATABASE ${prefix}_mine`,
    // Roles.
    `CREATE ROLE ${prefix}_mine SUPERUSER LOGIN`,
    `ALTER ROLE "${role}" SUPERUSER`,
    `ALTER ROLE "${role}" CREATEROLE CREATEDB`,
    `ALTER ROLE "${role}" BYPASSRLS`,
    `ALTER ROLE "${role}" CONNECTION LIMIT -1`,
    `ALTER ROLE "${role}" VALID UNTIL 'infinity'`,
    `ALTER ROLE "${victim}" RENAME TO ${prefix}_mine`,
    `COMMENT ON ROLE "${role}" IS 'tenantctl forged marker'`,
    `ALTER ROLE "${victim}" PASSWORD 'known'`,
    `ALTER ROLE "${victim}" SET search_path = evil`,
    `ALTER ROLE "${admin}" PASSWORD 'known'`,
    `ALTER ROLE ALL SET search_path = evil`,
    `DROP ROLE "${victim}"`,
    `GRANT "${victim}" TO CURRENT_USER`,
    `GRANT "${admin}" TO CURRENT_USER`,
    'GRANT pg_read_server_files TO CURRENT_USER',
    'GRANT pg_execute_server_program TO CURRENT_USER',
    `SET ROLE "${victim}"`,
    `SET ROLE "${admin}"`,
    'SET ROLE postgres',
    'SET ROLE pg_execute_server_program',
    `SET SESSION AUTHORIZATION "${victim}"`,
    'SET SESSION AUTHORIZATION postgres',
    'REASSIGN OWNED BY postgres TO CURRENT_USER',
    `DROP OWNED BY "${victim}"`,
    // Files and programs of the server.
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('global/pg_control')",
    "SELECT pg_ls_dir('base')",
    "SELECT pg_stat_file('base')",
    'SELECT pg_ls_logdir()',
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    'SELECT * FROM pg_hba_file_rules',
    'SELECT * FROM pg_file_settings',
    "COPY (SELECT 1) TO '/tmp/x'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "DO $$ BEGIN EXECUTE 'COPY pg_catalog.pg_class TO PROGRAM ''true'''; END $$",
    `CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'system'`,
    "CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'pg_backend_pid'",
    "LOAD 'auto_explain'",
    // Ways out of the database.
    'CREATE EXTENSION dblink',
    'CREATE EXTENSION postgres_fdw',
    'CREATE EXTENSION file_fdw',
    'CREATE FOREIGN DATA WRAPPER w',
    `CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)`,
    "SELECT pg_create_physical_replication_slot('s')",
    // The whole server.
    "ALTER SYSTEM SET log_statement = 'none'",
    'SELECT pg_reload_conf()',
    'SELECT pg_rotate_logfile()',
    'SELECT pg_switch_wal()',
    'SELECT pg_stat_reset()',
    'CHECKPOINT',
    `CREATE TABLESPACE t LOCATION '/tmp'`,
    "CREATE FUNCTION pg_temp.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION pg_temp.e()",
    'SET session_replication_role = replica',
    "SET log_statement = 'none'",
    "SET log_min_duration_statement = '-1'",
    'SET temp_file_limit = -1',
  ]
}
