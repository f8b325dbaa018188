/** What is not provably a tenant's own is never touched: neither on a clash of names nor after a changed registry. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyEvent } from '../../src/index.ts'
import { sql, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting } from './support.ts'

describe.each(everySetting())('with a $admin admin, roles $roles', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
    await tenancy.registry.install()
  })

  afterAll(() => tenancy.close())

  /** OID, owner, rights, settings, and a row in it. */
  async function databaseState(name: string) {
    const [state] = await namespace.superSql(
      `SELECT d.oid, d.datdba, d.datacl::text, d.datallowconn, d.datconnlimit, shobj_description(d.oid, 'pg_database') AS comment
         FROM pg_database d WHERE datname = $1`,
      [name],
    )
    return { ...state, rows: await sql(urlWith(namespace.superUrl, { database: name }), 'SELECT * FROM kept') }
  }

  async function makeForeignDatabase(name: string, by: 'admin' | 'superuser' = 'superuser') {
    const url = by === 'admin' ? namespace.adminUrl : namespace.superUrl
    await sql(url, `CREATE DATABASE "${name}" TEMPLATE template0`)
    await sql(urlWith(namespace.superUrl, { database: name }), 'CREATE TABLE kept AS SELECT 42 AS answer')
  }

  const roleState = (name: string) =>
    namespace.superSql('SELECT a.*, shobj_description(oid, $2) AS comment FROM pg_authid a WHERE rolname = $1', [
      name,
      'pg_authid',
    ])

  test('a template that somebody else has planted, marker and all, is not copied', async () => {
    const planter = `${namespace.prefix}_planter`
    const marker = `tenantctl ${(await namespace.sql('SELECT id FROM tenantctl.registry', [], new URL(namespace.registryUrl).pathname.slice(1)))[0]?.id} template`
    const create = (name: string) =>
      namespace.track(createTenancy(namespace.config({ roles, template: true }))).tenants.create({ name })
    await create('Before')
    const [template] = await namespace.superSql<{ name: string }>(
      `SELECT datname AS name FROM pg_database WHERE shobj_description(oid, 'pg_database') = $1`,
      [marker],
    )
    const name = `"${template?.name}"`
    await namespace.superSql(`ALTER DATABASE ${name} IS_TEMPLATE false`)
    await namespace.superSql(`DROP DATABASE ${name}`)
    await namespace.superSql(`CREATE ROLE ${planter} CREATEDB`)
    await namespace.superSql(`CREATE DATABASE ${name} OWNER ${planter}`)
    await namespace.superSql('CREATE TABLE planted ()', [], template?.name)
    await namespace.superSql(`COMMENT ON DATABASE ${name} IS '${marker}'`)
    await namespace.superSql(`ALTER DATABASE ${name} IS_TEMPLATE true ALLOW_CONNECTIONS false`)
    try {
      const { database } = await create('After')
      const tables = `SELECT to_regclass('notes') IS NOT NULL AS notes, to_regclass('planted') IS NOT NULL AS planted`
      expect(await namespace.superSql(tables, [], database)).toEqual([{ notes: true, planted: false }])
    } finally {
      await namespace.superSql(`ALTER DATABASE ${name} IS_TEMPLATE false`).catch(() => undefined)
      await namespace.superSql(`DROP DATABASE IF EXISTS ${name}`)
      await namespace.superSql(`DROP ROLE ${planter}`)
      for (const slug of ['before', 'after']) await tenancy.tenants.drop({ tenants: [slug] }, { retain: false })
    }
  })

  describe('a database of the name that is wanted', () => {
    // Of the admin's own ones, too: only the marker proves that one belongs to a tenant.
    test.each(['admin', 'superuser'] as const)('made by the %s', async by => {
      const slug = `clash-${by}`
      const name = `${namespace.tenantPrefix}${slug.replace('-', '_')}`
      await makeForeignDatabase(name, by)
      const before = await databaseState(name)
      await expect(tenancy.tenants.create({ name: slug })).rejects.toMatchObject({ code: 'DATABASE_EXISTS' })
      expect(await tenancy.tenants.list()).toEqual([])
      expect(await databaseState(name)).toEqual(before)
      expect(await roleState(name)).toEqual([])
    })

    test('that comes in between', async () => {
      const name = `${namespace.tenantPrefix}between`
      let made: Promise<void> | undefined
      const failed = tenancy.tenants.create(
        { name: 'between' },
        {
          onEvent: event => {
            if (event.event === 'step_started' && event.step === 'createRole') {
              made = makeForeignDatabase(name)
              // Told below, perhaps before anybody waits for it.
              made.catch(() => undefined)
            }
          },
        },
      )
      // Whether it comes before or after the step looked, the rename fails, or the name is found taken.
      const outcome = await failed.then(
        () => 'created',
        (error: { code: string }) => error.code,
      )
      const other = await made?.then(
        () => 'made',
        () => 'refused',
      )
      if (other === 'made') {
        expect(['DATABASE_EXISTS', 'QUERY_FAILED']).toContain(outcome)
        const before = await databaseState(name)
        expect((await tenancy.tenants.drop({ tenants: ['between'] }, { force: true })).tenants).toMatchObject([
          { status: 'dropped' },
        ])
        expect(await databaseState(name)).toEqual(before)
        expect(await roleState(name)).toEqual([])
      } else await tenancy.tenants.drop({ tenants: ['between'] }, { retain: false })
      expect(`${outcome} ${other}`).not.toBe('created made')
    })
  })

  // Its id is in the comments on its roles, which everybody reads.
  describe('a database made in between by who read the id', () => {
    const rival = `${namespace.prefix}_rival`
    const asRival = (text: string) => sql(urlWith(namespace.superUrl, { user: rival, password: 'theirs' }), text)
    const state = (name: string) =>
      namespace.superSql('SELECT oid, datdba, datacl::text, datallowconn FROM pg_database WHERE datname = $1', [name])

    beforeAll(() => namespace.superSql(`CREATE ROLE ${rival} LOGIN CREATEDB PASSWORD 'theirs'`))

    async function stopBeforeDatabase(slug: string) {
      const stopped = new AbortController()
      const onEvent = (event: TenancyEvent) => {
        if (event.event === 'step_started' && event.step === 'createDatabase') stopped.abort()
      }
      const failed = tenancy.tenants.create({ name: slug }, { signal: stopped.signal, onEvent })
      await expect(failed).rejects.toMatchObject({ code: 'ABORTED' })
      return tenancy.tenants.get(slug)
    }

    async function refuse(slug: string, name: string) {
      const before = await state(name)
      await expect(tenancy.tenants.create({ name: slug })).rejects.toMatchObject({
        code: 'DATABASE_EXISTS',
        message: expect.stringContaining(rival),
      })
      expect(await state(name)).toEqual(before)
    }

    test.each(['true', 'false'])('under the passing name, ALLOW_CONNECTIONS %s', async open => {
      const slug = `overtaken-${open}`
      const { id } = await stopBeforeDatabase(slug)
      const name = `tenantctl_new_${id.replaceAll('-', '')}`
      await asRival(`CREATE DATABASE ${name} TEMPLATE template0 ALLOW_CONNECTIONS ${open}`)
      const before = await state(name)
      try {
        await refuse(slug, name)
        expect((await tenancy.tenants.drop({ tenants: [slug] })).tenants).toMatchObject([{ status: 'dropped' }])
        await tenancy.repair({ all: true })
        expect(await state(name)).toEqual(before)
      } finally {
        await asRival(`DROP DATABASE ${name}`)
      }
    })

    test("under the tenant's name, with its marker", async () => {
      const tenant = await stopBeforeDatabase('forged')
      const [role] = await roleState(tenant.username)
      await asRival(`CREATE DATABASE ${tenant.database} TEMPLATE template0`)
      await asRival(`COMMENT ON DATABASE ${tenant.database} IS '${role?.comment}'`)
      await refuse('forged', tenant.database)
      await asRival(`DROP DATABASE ${tenant.database}`)
      expect(await tenancy.tenants.create({ name: 'forged' })).toMatchObject({ status: 'active' })
      await tenancy.tenants.drop({ tenants: ['forged'] })
    })
  })

  test('a role of the name that is wanted', async () => {
    const name = `${namespace.tenantPrefix}taken`
    await namespace.superSql(`CREATE ROLE "${name}" LOGIN PASSWORD 'theirs'`)
    const before = await roleState(name)
    await expect(tenancy.tenants.create({ name: 'taken' })).rejects.toMatchObject({ code: 'ROLE_EXISTS' })
    expect(await tenancy.tenants.list()).toEqual([])
    expect(await roleState(name)).toEqual(before)
  })

  test('a tenant of another registry, which has the same admin and the same names', async () => {
    const url = namespace.registryUrl.replace('_registry', '_registry2')
    const other = namespace.track(createTenancy(namespace.config({ roles, registry: { url } })))
    await other.tenants.create({ name: 'shared' })
    await expect(tenancy.tenants.create({ name: 'shared' })).rejects.toMatchObject({ code: 'DATABASE_EXISTS' })
    const repaired = await tenancy.repair({ all: true })
    expect(JSON.stringify(repaired)).not.toContain('shared')
    expect(await sql((await other.tenants.url('shared')).reveal(), 'SELECT count(*)::int FROM notes')).toEqual([
      { count: 0 },
    ])
    await other.tenants.drop({ all: true })
    await other.close()
  })

  describe('a role that reached beyond its database', () => {
    const database = `${namespace.prefix}_reports`

    beforeAll(async () => {
      await namespace.sql(`CREATE DATABASE ${database} TEMPLATE template0`)
      await namespace.superSql('CREATE TABLE figures (a int); CREATE SCHEMA extra', [], database)
    })

    test('by rights alone is dropped with them', async () => {
      const tenant = await tenancy.tenants.create({ name: 'granted' })
      const role = `"${tenant.username}"`
      await namespace.sql(`GRANT CONNECT, CREATE ON DATABASE ${database} TO ${role}`)
      await namespace.superSql(
        `GRANT SELECT ON figures TO ${role}; GRANT USAGE ON SCHEMA extra TO ${role};
         ALTER TABLE figures ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON figures TO ${role} USING (true)`,
        [],
        database,
      )
      if (admin === 'plain') {
        // What a superuser has granted, a plain admin cannot revoke.
        const { tenants } = await tenancy.tenants.drop({ tenants: ['granted'] })
        expect(tenants).toMatchObject([
          { status: 'failed', error: { code: 'OBJECTS_ELSEWHERE', message: expect.stringMatching(/relation \d+/) } },
        ])
        expect(await sql((await tenancy.tenants.url('granted')).reveal(), 'SELECT FROM notes')).toEqual([])
        await namespace.superSql(
          `REVOKE ALL ON figures FROM ${role}; REVOKE ALL ON SCHEMA extra FROM ${role}; DROP POLICY p ON figures`,
          [],
          database,
        )
      }
      expect((await tenancy.tenants.drop({ tenants: ['granted'] })).tenants).toMatchObject([{ status: 'dropped' }])
      expect(await roleState(tenant.username)).toEqual([])
    })

    test('by the grants of another tenant is dropped, and the admin does not enter that one', async () => {
      const tenant = await tenancy.tenants.create({ name: 'favoured' })
      const generous = await tenancy.tenants.create({ name: 'generous' })
      const role = `"${tenant.username}"`
      const url = (await tenancy.tenants.url('generous', { role: 'migrator' })).reveal()
      await sql(
        url,
        `CREATE SCHEMA "odd ""schema"; CREATE TYPE mood AS ENUM ('well'); CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TABLE "odd ""schema".t (a int, b int); CREATE SEQUENCE s;
         GRANT USAGE ON SCHEMA "odd ""schema" TO ${role}; GRANT SELECT (a) ON "odd ""schema".t TO ${role} WITH GRANT OPTION;
         GRANT ALL ON SEQUENCE s TO ${role}; GRANT ALL ON FUNCTION f TO ${role}; GRANT USAGE ON TYPE mood TO ${role};
         DO $$ BEGIN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO ${role}', lo_create(0)); END $$;
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA "odd ""schema" GRANT USAGE ON SEQUENCES TO ${role}`,
      )
      // In there it is found out who comes in: all but a session of the admin can read its own rows.
      await namespace.superSql(
        `CREATE FUNCTION public.note_login() RETURNS event_trigger LANGUAGE plpgsql AS $$
         BEGIN IF session_user = '${namespace.prefix}_admin' THEN RAISE EXCEPTION 'the admin is in'; END IF; END $$;
         CREATE EVENT TRIGGER t${namespace.prefix} ON ddl_command_start EXECUTE FUNCTION public.note_login()`,
        [],
        generous.database,
      )
      expect((await tenancy.tenants.drop({ tenants: ['favoured'] })).tenants).toMatchObject([{ status: 'dropped' }])
      expect(await roleState(tenant.username)).toEqual([])
      await tenancy.tenants.drop({ tenants: ['generous'] })
    })

    test('by a policy of another tenant is told, and dropped when that is gone', async () => {
      const tenant = await tenancy.tenants.create({ name: 'named' })
      await tenancy.tenants.create({ name: 'namer' })
      const url = (await tenancy.tenants.url('namer', { role: 'migrator' })).reveal()
      await sql(url, `CREATE TABLE t (a int); CREATE POLICY p ON t TO "${tenant.username}" USING (true)`)
      expect((await tenancy.tenants.drop({ tenants: ['named'] })).tenants).toMatchObject([
        { status: 'failed', error: { code: 'OBJECTS_ELSEWHERE', message: expect.stringContaining('namer"') } },
      ])
      expect((await tenancy.tenants.get('named')).status).toBe('active')
      await sql(url, 'DROP POLICY p ON t')
      expect((await tenancy.tenants.drop({ tenants: ['named', 'namer'] })).succeeded).toBe(2)
    })

    test('with objects of its own is not dropped, and told exactly why', async () => {
      const tenant = await tenancy.tenants.create({ name: 'owner' })
      await namespace.sql(`GRANT CONNECT ON DATABASE ${database} TO "${tenant.username}"`)
      const url = urlWith((await tenancy.tenants.url('owner')).reveal(), { database })
      // Anybody who may connect may do that.
      const [large] = await sql<{ oid: string }>(url, 'SELECT lo_create(0)::text AS oid')
      for (const retain of [undefined, '1d']) {
        const { tenants } = await tenancy.tenants.drop(
          { tenants: ['owner'] },
          { force: true, ...(retain ? { retain } : {}) },
        )
        expect(tenants).toMatchObject([
          {
            status: 'failed',
            error: {
              code: 'OBJECTS_ELSEWHERE',
              message: expect.stringContaining(`large object ${large?.oid} in database "${database}"`),
              hint: expect.stringContaining(`DROP OWNED BY "${tenant.username}"`),
            },
          },
        ])
        expect((await tenancy.tenants.get('owner')).status).toBe('active')
        expect(await sql((await tenancy.tenants.url('owner')).reveal(), 'SELECT FROM notes')).toEqual([])
      }
      await namespace.superSql(`DROP OWNED BY "${tenant.username}"`, [], database)
      expect((await tenancy.tenants.drop({ tenants: ['owner'] })).tenants).toMatchObject([{ status: 'dropped' }])
      expect(await roleState(tenant.username)).toEqual([])
    })
  })
})
