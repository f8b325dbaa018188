import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyConfig, type TenancyEvent } from '../../src/index.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { binariesOf, startServer, type TestServer } from '../support/servers.ts'
import { dump, snapshot } from './snapshot.ts'

/** One of everything that a plain role can make. */
const migrations = {
  '001_schema.sql': `
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
    CREATE TYPE pair AS (a int, b text);
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := now(); RETURN NEW; END $$;
    CREATE FUNCTION low(text) RETURNS text LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = public AS 'SELECT lower($1)';
    CREATE TABLE people (id serial PRIMARY KEY, name text NOT NULL DEFAULT low('X'), mail email, mood mood, pair pair,
      lowered text GENERATED ALWAYS AS (lower(name)) STORED, touched timestamptz DEFAULT now());
    CREATE INDEX people_low ON people (low(name)) WHERE mood = 'ok';
    CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION stamp();
    ALTER TABLE people ENABLE ROW LEVEL SECURITY;
    CREATE POLICY everybody ON people USING (true);
    COMMENT ON TABLE people IS 'Those we know';
    CREATE VIEW names AS SELECT name FROM people;
    CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM people;
    CREATE TABLE log (at date, line text) PARTITION BY RANGE (at);
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE SEQUENCE numbers START 100 INCREMENT 5;
    SELECT nextval('numbers'), nextval('numbers');`,
  '002_extra.sql': `
    CREATE SCHEMA extra;
    CREATE TABLE extra.wide (id int GENERATED ALWAYS AS IDENTITY, secret text, open text);
    CREATE FUNCTION extra.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE extra.p() LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int);
    CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
    CREATE COLLATION plain (provider = libc, locale = 'C');
    CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
    CREATE STATISTICS related ON name, mood FROM people;
    CREATE PUBLICATION everything FOR TABLE people;
    CREATE EXTENSION pgcrypto SCHEMA extra;
    GRANT SELECT (open) ON extra.wide TO PUBLIC;
    GRANT USAGE ON SCHEMA extra TO PUBLIC;
    REVOKE ALL ON FUNCTION extra.f() FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA extra GRANT SELECT ON TABLES TO PUBLIC;
    SELECT lo_from_bytea(4711, 'large');`,
  '003_after.mjs':
    'export const up = async knex => { await knex.schema.createTable("later", t => { t.increments(); t.text("x") }); await knex("later").insert({ x: "js" }) }\n',
  '004_online.sql': '-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY later_x ON later (x)',
}
const seeds = {
  '01_people.sql':
    "INSERT INTO people (name, mail, mood) VALUES ('Ann', 'ann@example', 'ok'), ('Bob', 'bob@example', 'sad')",
  '02_log.mjs': 'export const seed = knex => knex("log").insert({ at: "2026-02-03", line: "begun" })\n',
}

const servers = [18, 15, ...(process.env.TENANTCTL_TEST_ALL ? [14, 16, 17] : [14])].filter(binariesOf)

describe.each(servers)('a copy and a tenant made from nothing, on PostgreSQL %i', major => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ major })
  })
  afterAll(() => server.remove())

  describe.each([
    ['plain', 'single'],
    ['superuser', 'single'],
    ['plain', 'separate'],
    ['superuser', 'separate'],
  ] as const)('%s admin, roles: %s', (admin, roles) => {
    const namespace = useNamespace({ admin, server: () => server })
    // Without schema public of his own he cannot keep the application's role out of it.
    const possible = !(major === 14 && admin === 'plain' && roles === 'separate')

    test.runIf(possible)('are the same', async () => {
      namespace.writeMigrations(migrations)
      namespace.writeSeeds(seeds)
      const notices: string[] = []
      const onEvent = (event: TenancyEvent) => void (event.event === 'notice' && notices.push(event.message))
      const made: Record<string, unknown>[] = []
      const dumps: (string | undefined)[] = []
      for (const [slug, template] of [
        ['plain', false],
        ['copied', true],
      ] as const) {
        const tenancy = namespace.track(
          createTenancy(namespace.config({ roles, template, database: { extensions: ['hstore'] }, onEvent })),
        )
        const tenant = await tenancy.tenants.create({ name: slug })
        const url = (await tenancy.tenants.url(slug, { role: 'migrator' })).reveal()
        made.push({ ...(await snapshot(url, tenant.database)), version: tenant.schemaVersion })
        dumps.push(major === 15 ? dump(url, tenant.database) : undefined)
        await tenancy.close()
      }
      expect(notices.filter(each => /without a template/.test(each))).toEqual([])
      expect(notices.some(each => /^building the template/.test(each))).toBe(true)
      expect(made[1]).toEqual(made[0])
      expect(dumps[1]).toBe(dumps[0])
      if (major === 15) expect(dumps[0]).toContain('CREATE TABLE public.people')
    })
  })
})

describe('a template', () => {
  const namespace = useNamespace()
  const small = { '001_a.sql': 'CREATE TABLE a (id serial PRIMARY KEY, x text, at timestamptz DEFAULT now())' }
  const notices: string[] = []

  function open(config: TenancyConfig = {}): Tenancy {
    notices.length = 0
    const onEvent = (event: TenancyEvent) => void (event.event === 'notice' && notices.push(event.message))
    return namespace.track(createTenancy(namespace.config({ template: true, onEvent, ...config })))
  }

  /** Of this namespace's registry. */
  async function templates(): Promise<{ name: string; open: boolean; acl: string | null; template: boolean }[]> {
    return namespace.superSql(
      `SELECT datname AS name, datallowconn AS open, datacl::text AS acl, datistemplate AS template
         FROM pg_database WHERE datdba = $1::regrole AND datname ~ '^tenantctl_' ORDER BY 1`,
      [`${namespace.prefix}_admin`],
    )
  }

  test('is built once, by whoever comes first, and used by all', async () => {
    namespace.writeMigrations(small)
    namespace.writeSeeds({ '01.sql': "INSERT INTO a (x) VALUES ('seed')" })
    const tenancy = open()
    const result = await tenancy.tenants.createMany(
      ['one', 'two', 'three', 'four'].map(name => ({ name })),
      { concurrency: 4 },
    )
    expect(result).toMatchObject({ succeeded: 4, failed: 0 })
    expect(notices.filter(each => each.startsWith('building'))).toHaveLength(1)
    expect(await templates()).toEqual([
      {
        name: expect.stringMatching(/^tenantctl_template_[0-9a-f]{24}$/),
        open: false,
        acl: expect.any(String),
        template: false,
      },
    ])
    for (const slug of ['one', 'two', 'three', 'four']) {
      const url = (await tenancy.tenants.url(slug)).reveal()
      expect(await sql(url, 'SELECT id, x FROM a')).toEqual([{ id: 1, x: 'seed' }])
      expect(await sql(url, "INSERT INTO a (x) VALUES ('mine') RETURNING id")).toEqual([{ id: 2 }])
    }
    expect(await tenancy.migrations.status({ all: true })).toMatchObject({ total: 4, failed: 0 })
    await tenancy.close()
  })

  test('can be entered by nobody', async () => {
    const { name, acl } = (await templates())[0] as { name: string; acl: string | null }
    expect(acl).toBe(`{${namespace.prefix}_admin=CTc/${namespace.prefix}_admin}`)
    for (const url of [namespace.adminUrl, namespace.superUrl]) {
      expect(await tryLogin(urlWith(url, { database: name }))).toMatchObject({ ok: false, code: '55000' })
    }
    const roles = await namespace.superSql(
      'SELECT rolcanlogin AS login, rolpassword AS password, rolsuper FROM pg_authid WHERE rolname = $1',
      [name],
    )
    expect(roles).toEqual([{ login: false, password: null, rolsuper: false }])
    const members = await namespace.superSql(
      'SELECT DISTINCT member::regrole::text AS name FROM pg_auth_members WHERE roleid = $1::regrole',
      [name],
    )
    expect(members).toEqual([{ name: `${namespace.prefix}_admin` }])
  })

  test('is another one for other files, and none for --no-seed', async () => {
    const before = (await templates()).length
    const tenancy = open()
    const { slug } = await tenancy.tenants.create({ name: 'unseeded', seed: false })
    expect(await sql((await tenancy.tenants.url(slug)).reveal(), 'SELECT * FROM a')).toEqual([])
    expect(await templates()).toHaveLength(before + 1)
    await tenancy.close()
    namespace.writeMigrations({ ...small, '002_b.sql': 'CREATE TABLE b (x int)' })
    const again = open()
    expect((await again.tenants.create({ name: 'newer' })).schemaVersion).toBe('002_b')
    expect(await templates()).toHaveLength(before + 2)
    await again.close()
  })

  test('leaves out seeds that differ per tenant, and what comes after them', async () => {
    namespace.writeMigrations(small)
    namespace.writeSeeds({
      '01.sql': "INSERT INTO a (x) VALUES ('same')",
      '02.sql': '-- seed:per-tenant\nINSERT INTO a (x) VALUES (current_user)',
      '03.mjs': 'export const seed = async knex => { await knex("a").insert({ x: String((await knex("a")).length) }) }',
    })
    const tenancy = open()
    for (const name of ['p1', 'p2']) {
      const { username } = await tenancy.tenants.create({ name })
      const rows = await sql((await tenancy.tenants.url(name)).reveal(), 'SELECT x FROM a ORDER BY id')
      expect(rows).toEqual([{ x: 'same' }, { x: username }, { x: '2' }])
    }
    expect(notices.filter(each => /without/.test(each))).toEqual([])
    await tenancy.close()
  })

  test.each([
    [
      'a row that names its maker',
      { '01.sql': 'INSERT INTO a (x) VALUES (current_user)' },
      /rows of public\.a would name/,
    ],
    [
      'a value that is another in each run',
      { '01.sql': 'INSERT INTO a (x) VALUES (gen_random_uuid()::text)' },
      /public\.a\.x would be the same/,
    ],
    [
      'a policy for its maker',
      { '01.sql': 'CREATE POLICY mine ON a TO CURRENT_USER USING (true)' },
      /a role of policy mine/,
    ],
    ['a setting of its maker', { '01.sql': "ALTER ROLE CURRENT_USER SET work_mem TO '8MB'" }, /a setting of role/],
  ])('is refused for %s', async (what, seeds, reason) => {
    namespace.writeMigrations(small)
    namespace.writeSeeds(seeds)
    const slug = what.replaceAll(' ', '-')
    const before = await templates()
    const tenancy = open()
    await tenancy.tenants.create({ name: slug })
    expect(notices.join('\n')).toMatch(reason)
    // Found out once, known to all.
    await tenancy.close()
    const again = open()
    await again.tenants.create({ name: `${slug}-2` })
    expect(notices).toEqual([expect.stringMatching(/^made without a template: /)])
    expect(await templates()).toEqual(before)
    await again.close()
  })

  test('that cannot be built does not keep a tenant from being made, or from failing by itself', async () => {
    namespace.writeMigrations({ '101_a.sql': 'CREATE TABLE a (x int)', '102_bad.sql': 'SELECT 1/0' })
    namespace.writeSeeds({})
    const before = await templates()
    const tenancy = open()
    const error = await tenancy.tenants.create({ name: 'bad' }).catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'MIGRATION_FAILED', migration: '102_bad.sql', step: 'migrate' })
    expect(await templates()).toEqual(before)
    namespace.writeMigrations({ '101_a.sql': 'CREATE TABLE a (x int)' })
    await tenancy.close()
    const mended = open()
    expect(await mended.tenants.create({ name: 'bad' })).toMatchObject({ status: 'active', schemaVersion: '101_a' })
    await mended.close()
  })
})
