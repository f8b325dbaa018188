/** Code that a tenant plants in its database runs as the tenant, whatever tenantctl does there, or not at all. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, sqlError, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting, sharedCatalogs } from './support.ts'

const files = {
  '001.sql': 'CREATE TABLE notes (id serial PRIMARY KEY, body text)\n-- migrate:down\nDROP TABLE notes',
}
const next = {
  '002.sql': "INSERT INTO notes (body) VALUES ('from a file')\n-- migrate:down\nDELETE FROM notes",
  '003.mjs':
    "export const up = knex => knex('notes').insert({ body: 'from a module' })\nexport const down = knex => knex('notes').del()\n",
  '004.sql':
    "-- migrate:no-transaction\nINSERT INTO notes (body) VALUES ('alone');\n-- migrate:down\nDELETE FROM notes",
}

describe.each(everySetting())('what a tenant of a $admin admin plants, roles $roles', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  const schema = roles === 'single' ? 'public' : 'tenantctl_migrations'
  const proof = join(namespace.directory, 'program-ran')
  let logins: string[]
  let planter: string

  const fresh = () => namespace.track(createTenancy(namespace.config({ roles })))

  beforeAll(async () => {
    namespace.writeMigrations(files)
    namespace.writeSeeds({ '01.sql': "INSERT INTO notes (body) VALUES ('seed')" })
    const tenancy = fresh()
    const { username } = await tenancy.tenants.create({ name: 'Mallory' })
    const victim = await tenancy.tenants.create({ name: 'Victim' })
    planter = (await tenancy.tenants.url('mallory', { role: 'migrator' })).reveal()
    const app = (await tenancy.tenants.url('mallory')).reveal()
    logins = [username, `${username}_migrator`]
    await sql(planter, payload({ victim: victim.username, admin: `${namespace.prefix}_admin`, proof }))
    for (const statement of plants(schema)) await sql(planter, statement)
    for (const url of new Set([planter, app])) {
      // Read at every login as that role: the tenant's own names come before those of the system.
      await sql(url, 'SET ROLE NONE; ALTER ROLE SESSION_USER SET search_path = public, pg_catalog')
    }
    // A tenant may not; somebody may have done it for it, and then it is read at the admin's login as well.
    const { database } = await tenancy.tenants.get('mallory')
    await namespace.sql(`ALTER DATABASE "${database}" SET search_path = public, pg_catalog`)
  })

  /** Sequences are not rolled back: they tell how often, and as whom, planted code ran. */
  async function ran(): Promise<{ asTenant: number; asOther: number; gained: number }> {
    const [row] = await sql<{ asTenant: number; asOther: number; gained: number }>(
      namespace.superUrl.replace(/\/postgres$/, `/${namespace.tenantPrefix}mallory`),
      `SELECT (SELECT last_value::int - (NOT is_called)::int FROM public.ran_as_tenant) AS "asTenant",
              (SELECT last_value::int - (NOT is_called)::int FROM public.ran_as_other) AS "asOther",
              (SELECT last_value::int - (NOT is_called)::int FROM public.gained) AS gained`,
    )
    return row as { asTenant: number; asOther: number; gained: number }
  }

  const commands: [string, (tenancy: Tenancy) => Promise<unknown>][] = [
    ['status', tenancy => tenancy.migrations.status({ all: true })],
    ['show', tenancy => tenancy.tenants.describe('mallory')],
    ['list with sizes', tenancy => tenancy.tenants.list({ size: true })],
    ['a plan', tenancy => tenancy.migrations.plan({ all: true })],
    ['migrate', tenancy => tenancy.migrations.run({ all: true }, { retries: 0 })],
    ['migrate --verify', tenancy => tenancy.migrations.run({ all: true }, { verify: true, retries: 0 })],
    ['seed', tenancy => tenancy.seeds.run({ all: true })],
    ['rollback', tenancy => tenancy.migrations.rollback({ all: true }, { steps: 1, retries: 0 })],
    ['baseline', tenancy => tenancy.migrations.baseline({ all: true }, { to: '004' })],
    ['drift', tenancy => tenancy.drift.check({ all: true })],
    ['doctor', tenancy => tenancy.doctor()],
    ['doctor --isolation', tenancy => tenancy.doctor({ isolation: true })],
    [
      'a drop that keeps the data, and the way back',
      async tenancy => {
        await tenancy.tenants.drop({ tenants: ['mallory'] }, { force: true, retain: '1d' })
        await tenancy.tenants.undrop('mallory')
      },
    ],
    ['a connection', async tenancy => (await tenancy.connections.get('mallory')).raw('SELECT 1')],
    ['rotate-password', tenancy => tenancy.tenants.rotatePassword({ tenants: ['mallory'] })],
    [
      'suspend and resume',
      async tenancy => {
        await tenancy.tenants.suspend({ all: true })
        await tenancy.tenants.resume({ all: true })
      },
    ],
    ['repair', tenancy => tenancy.repair({ all: true })],
  ]

  test('cannot be an event trigger', async () => {
    const text = 'CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION public.on_event()'
    expect((await sqlError(planter, text)).code).toBe('42501')
  })

  test('gains nothing from any command', async () => {
    namespace.writeMigrations({ ...files, ...next })
    // A password that is set by its owner reaches the server as it is; ours must stay the only change.
    const watched = async () => (await sharedCatalogs(namespace)).filter(row => row.kind !== 'password')
    const before = await watched()
    for (const [name, command] of commands) {
      const tenancy = fresh()
      await command(tenancy).catch((error: { code?: string }) =>
        expect([name, error.code]).not.toEqual([name, 'INTERNAL']),
      )
      await tenancy.close()
      expect([name, await ran()]).toEqual([name, { asTenant: expect.any(Number), asOther: 0, gained: 0 }])
    }
    expect(await watched()).toEqual(before)
    expect((await ran()).asTenant).toBeGreaterThan(10)
    expect(existsSync(proof)).toBe(false)
    expect(await tryLogin(urlWith(namespace.adminUrl, { user: 'evil', password: 'x' }))).toMatchObject({ ok: false })
  })

  test('does not keep the tenant from being dropped', async () => {
    const tenancy = fresh()
    expect((await tenancy.tenants.drop({ tenants: ['mallory'] }, { force: true })).tenants).toMatchObject([
      { status: 'dropped' },
    ])
    await tenancy.close()
    expect(existsSync(proof)).toBe(false)
    const roleNames = await namespace.superSql('SELECT rolname FROM pg_roles WHERE rolname = ANY($1)', [
      [...logins, 'evil'],
    ])
    expect(roleNames).toEqual([])
  })
})

/** A function that tries everything, and two counters. Each attempt is on its own: a failure hides none of the others. */
function payload(names: { victim: string; admin: string; proof: string }): string {
  const attempts = [
    'RESET ROLE',
    'RESET SESSION AUTHORIZATION',
    `SET ROLE "${names.admin}"`,
    'SET ROLE postgres',
    'SET SESSION AUTHORIZATION postgres',
    `SET SESSION AUTHORIZATION "${names.admin}"`,
    `CREATE ROLE evil SUPERUSER LOGIN PASSWORD ''x''`,
    'ALTER ROLE CURRENT_USER SUPERUSER',
    `ALTER ROLE "${names.victim}" PASSWORD ''x''`,
    `GRANT "${names.victim}" TO CURRENT_USER`,
    `COPY (SELECT 1) TO PROGRAM ''touch ${names.proof}''`,
    `COPY (SELECT 1) TO ''${names.proof}''`,
    `SELECT pg_read_file(''PG_VERSION'')`,
    'SELECT db_password FROM tenantctl.tenants',
    'SELECT rolpassword FROM pg_authid',
  ]
  // RESET succeeds and changes nothing, as long as the login is the tenant's own.
  const tries = attempts
    .map(
      text =>
        `BEGIN EXECUTE '${text}'; ${text.startsWith('RESET') ? '' : "PERFORM nextval('public.gained');"} EXCEPTION WHEN OTHERS THEN NULL; END;`,
    )
    .join('\n')
  return `
    CREATE SEQUENCE public.ran_as_tenant; CREATE SEQUENCE public.ran_as_other; CREATE SEQUENCE public.gained;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
    CREATE FUNCTION public.payload() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      IF pg_catalog.starts_with(session_user::text, '${names.victim.replace(/victim$/, 'mallory')}') THEN
        PERFORM pg_catalog.nextval('public.ran_as_tenant');
      ELSE
        PERFORM pg_catalog.nextval('public.ran_as_other');
      END IF;
      ${tries}
    END $$;
    CREATE FUNCTION public.on_row() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM public.payload(); RETURN COALESCE(NEW, OLD); END $$;
    CREATE FUNCTION public.on_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.payload(); END $$;
    CREATE FUNCTION public.yes(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
      BEGIN PERFORM public.payload(); RETURN true; END $$;
    CREATE FUNCTION public.one(anyelement) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
      BEGIN PERFORM public.payload(); RETURN 1; END $$;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC;`
}

function plants(schema: string): string[] {
  const table = `${schema}.knex_migrations`
  return [
    // Names of the system's, with the very types that a call of theirs has.
    "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN pg_catalog.now(); END'",
    "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN pg_catalog.clock_timestamp(); END'",
    "CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN pg_catalog.current_setting($1); END'",
    "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN pg_catalog.lower($1); END'",
    "CREATE FUNCTION public.left(text, int) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN $1; END'",
    "CREATE FUNCTION public.pg_backend_pid() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN 1; END'",
    "CREATE FUNCTION public.pg_database_size(oid) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN 1; END'",
    "CREATE FUNCTION public.text_eq(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN pg_catalog.texteq($1, $2); END'",
    'CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.text_eq)',
    "CREATE FUNCTION public.name_eq(name, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN true; END'",
    'CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.name_eq)',
    "CREATE FUNCTION public.text_cat(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN pg_catalog.textcat($1, $2); END'",
    'CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = public.text_cat)',
    // On the tables that are read and written on the tenant's behalf.
    `CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON ${table} FOR EACH ROW EXECUTE FUNCTION public.on_row()`,
    `CREATE CONSTRAINT TRIGGER later AFTER INSERT ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.on_row()`,
    `CREATE RULE r AS ON DELETE TO ${schema}.knex_migrations_lock DO ALSO SELECT public.payload()`,
    // A cast that is asked for whenever the column is read.
    'CREATE TYPE public.odd AS (n int)',
    "CREATE FUNCTION public.odd_text(public.odd) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM public.payload(); RETURN 0; END'",
    'CREATE CAST (public.odd AS text) WITH FUNCTION public.odd_text(public.odd) AS IMPLICIT',
    `ALTER TABLE ${schema}.knex_migrations_lock ALTER is_locked TYPE public.odd USING ROW(is_locked)::public.odd`,
    `ALTER TABLE ${schema}.knex_migrations_lock ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`,
    `CREATE POLICY p ON ${schema}.knex_migrations_lock USING (public.yes(is_locked))`,
    `ALTER TABLE ${table} ADD COLUMN d int DEFAULT public.one(1)`,
    `ALTER TABLE ${table} ADD COLUMN g int GENERATED ALWAYS AS (public.one(1)) STORED`,
    `ALTER TABLE ${table} ADD CONSTRAINT c CHECK (public.yes(name))`,
    `CREATE INDEX ON ${table} (public.one(name))`,
    'CREATE DOMAIN public.checked AS int CHECK (public.yes(VALUE))',
    `ALTER TABLE ${table} ALTER batch TYPE public.checked`,
    // On the tenant's own.
    'CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON public.notes FOR EACH ROW EXECUTE FUNCTION public.on_row()',
    'CREATE INDEX ON public.notes (public.one(body))',
    'CREATE VIEW public.pg_class AS SELECT public.one(1)',
    'CREATE VIEW public.pg_database AS SELECT public.one(1)',
    'CREATE TABLE public.tenantctl_unfinished_migrations (name text PRIMARY KEY CHECK (public.yes(name)), checksum text NOT NULL, statements_done int NOT NULL, started_at timestamptz NOT NULL DEFAULT public.now(), updated_at timestamptz NOT NULL DEFAULT public.now())',
  ]
}
