import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyConfig } from '../../src/index.ts'
import { sql, sqlError } from '../support/client.ts'
import { canDump, startDumpServer, toolsDirectory } from '../support/dump-server.ts'
import { useNamespace } from '../support/namespace.ts'
import { runBin } from '../support/process.ts'
import type { TestServer } from '../support/servers.ts'

describe.skipIf(!canDump)('restore', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startDumpServer()
  })
  afterAll(async () => await server?.remove())
  const namespace = useNamespace({ server: () => server })

  let tenancy: Tenancy
  let dump: string
  beforeAll(async () => {
    namespace.writeMigrations({
      '001_notes.sql': 'CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL)',
      '002_more.sql': `CREATE VIEW shouted AS SELECT upper(body) FROM notes;
        CREATE SCHEMA extra; CREATE TABLE extra.things (id int); COMMENT ON SCHEMA public IS 'ours'`,
    })
    namespace.writeSeeds({ '001_notes.sql': `INSERT INTO notes (body) VALUES ('it''s\n\\."quoted"')` })
    tenancy = open()
    await tenancy.tenants.create({ name: 'Ácme Inc.', slug: 'acme', labels: { plan: 'pro' } })
    const url = (await tenancy.tenants.url('acme')).reveal()
    await sql(url, `SELECT lo_from_bytea(0, 'large'); CREATE EXTENSION pgcrypto; SELECT nextval('notes_id_seq')`)
    const { tenants } = await tenancy.tenants.drop({ tenants: ['acme'] }, { backup: namespace.directory })
    dump = tenants[0]?.backup ?? ''
  })
  function open(config: TenancyConfig = {}): Tenancy {
    return namespace.track(createTenancy(namespace.config(config)))
  }
  function copyOf(name: string): string {
    const file = join(namespace.directory, name)
    copyFileSync(dump, file)
    return file
  }
  async function query(slug: string, text: string): Promise<object[]> {
    return sql((await tenancy.tenants.url(slug)).reveal(), text)
  }

  test('brings a dropped tenant back, with everything that was in its database', async () => {
    const tenant = await tenancy.tenants.restore({ dump, slug: 'acme' })
    expect(tenant).toMatchObject({
      slug: 'acme',
      name: 'Ácme Inc.',
      labels: { plan: 'pro' },
      status: 'active',
      schemaVersion: '002_more',
    })
    expect(await query('acme', 'SELECT body FROM notes')).toEqual([{ body: 'it\'s\n\\."quoted"' }])
    expect(
      await query('acme', 'SELECT convert_from(lo_get(oid), $$UTF8$$) AS large FROM pg_largeobject_metadata'),
    ).toEqual([{ large: 'large' }])
    expect(
      await query('acme', `SELECT nextval('notes_id_seq') AS next, digest('x', 'md5') IS NOT NULL AS crypto`),
    ).toEqual([{ next: '3', crypto: true }])
    const owners = await query(
      'acme',
      `SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname IN ('public', 'extra')`,
    )
    expect(owners).toEqual([{ owner: tenant.username }])
    expect((await tenancy.migrations.run({ tenants: ['acme'] })).upToDate).toBe(1)
    const [operation] = await tenancy.operations.list({ tenant: 'acme' })
    expect(operation).toMatchObject({ kind: 'restore', status: 'succeeded' })
    expect(operation?.steps.map(step => step.name)).toContain('restore')
  })

  test('as another tenant beside it, shut against it as every other', async () => {
    const copy = await tenancy.tenants.restore({ dump, slug: 'copy', name: 'Copy', labels: {} })
    expect(copy).toMatchObject({ slug: 'copy', name: 'Copy', labels: {}, database: `${namespace.tenantPrefix}copy` })
    expect(copy.id).not.toBe((await tenancy.tenants.get('acme')).id)
    const intruder = new URL((await tenancy.tenants.url('acme')).reveal())
    intruder.pathname = `/${copy.database}`
    expect(await sqlError(intruder.href, 'SELECT 1')).toMatchObject({ code: '42501' })
    await tenancy.tenants.drop({ tenants: ['copy'] })
  })

  test('what pg_dump alone has made, which tells of no tenant', async () => {
    const file = join(namespace.directory, 'plain.dump')
    const url = (await tenancy.tenants.url('acme')).reveal()
    execFileSync(join(toolsDirectory, 'pg_dump'), ['--format=custom', `--file=${file}`, `--dbname=${url}`])
    expect(await tenancy.tenants.restore({ dump: file, slug: 'foreign' })).toMatchObject({
      name: 'foreign',
      labels: {},
      schemaVersion: '002_more',
    })
    await tenancy.tenants.drop({ tenants: ['foreign'] })
  })

  test('a slug that is taken', async () => {
    await expect(tenancy.tenants.restore({ dump, slug: 'acme' })).rejects.toMatchObject({ code: 'TENANT_EXISTS' })
  })

  test.each([
    ['is cut short', (file: string) => truncateSync(file, 4000), /end of file|could not read/],
    ['lacks its end', (file: string) => truncateSync(file, readFileSync(file).length - 3), /./],
    ['is SQL', (file: string) => writeFileSync(file, 'SELECT 1;'), /valid archive|too short/],
    ['is empty', (file: string) => writeFileSync(file, ''), /./],
    ['is not there', (file: string) => execFileSync('rm', [file]), /cannot read/],
  ])('a dump that %s is refused before a tenant is begun', async (_what, spoil, message) => {
    const file = copyOf('spoilt.dump')
    spoil(file)
    const error = await tenancy.tenants.restore({ dump: file, slug: 'spoilt' }).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'INPUT_INVALID', message: expect.stringMatching(message) })
    expect(await tenancy.tenants.list({ labels: {} })).not.toContainEqual(expect.objectContaining({ slug: 'spoilt' }))
  })

  test('a dump that is not the one that was described is refused', async () => {
    const file = copyOf('other.dump')
    copyFileSync(`${dump}.json`, `${file}.json`)
    const bytes = readFileSync(file)
    // The time that pg_dump wrote into its header: pg_restore does not mind.
    bytes[20] = (bytes[20] ?? 0) ^ 1
    writeFileSync(file, bytes)
    await expect(tenancy.tenants.restore({ dump: file, slug: 'other' })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringContaining('checksum'),
    })
  })

  describe('of what cannot be restored', () => {
    const file = () => join(namespace.directory, 'impossible.dump')
    beforeAll(async () => {
      const name = `${namespace.prefix}_source`
      await namespace.superSql(`CREATE DATABASE ${name}`)
      await namespace.superSql('CREATE TABLE first (id int)', [], name)
      // Only a superuser may create one.
      await namespace.superSql(
        `CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
         CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch()`,
        [],
        name,
      )
      const url = new URL(namespace.superUrl)
      url.pathname = `/${name}`
      execFileSync(join(toolsDirectory, 'pg_dump'), ['--format=custom', `--file=${file()}`, `--dbname=${url.href}`])
      await namespace.superSql(`DROP DATABASE ${name}`)
    })

    test('nothing is there, the tenant is failed, and says how to go on', async () => {
      const error = await tenancy.tenants.restore({ dump: file(), slug: 'stuck' }).catch((error: unknown) => error)
      expect(error).toMatchObject({ code: 'BACKUP_FAILED', step: 'restore', tenant: 'stuck' })
      expect((error as { hint: string }).hint).toContain('tenantctl restore')
      expect(error).toHaveProperty('message', expect.stringContaining('permission denied to create event trigger'))
      const tenant = await tenancy.tenants.get('stuck')
      expect(tenant.status).toBe('failed')
      const tables = await namespace.superSql("SELECT FROM pg_class WHERE relname = 'first'", [], tenant.database)
      expect(tables).toEqual([])
    })

    test('create does not take it for its own, restore of a better dump finishes it', async () => {
      await expect(tenancy.tenants.create({ name: 'stuck' })).rejects.toMatchObject({ code: 'TENANT_FAILED' })
      expect(await tenancy.tenants.restore({ dump, slug: 'stuck' })).toMatchObject({ status: 'active' })
      expect(await query('stuck', 'SELECT count(*)::int FROM notes')).toEqual([{ count: 1 }])
    })

    test('and drop removes what a restore left', async () => {
      await tenancy.tenants.drop({ tenants: ['stuck'] })
      await tenancy.tenants.restore({ dump: file(), slug: 'stuck' }).catch(() => undefined)
      expect((await tenancy.tenants.drop({ tenants: ['stuck'] })).succeeded).toBe(1)
      expect((await namespace.leftovers()).databases).toEqual([(await tenancy.tenants.get('acme')).database])
    })
  })

  test('code in a dump runs with the rights of the tenant, whatever the admin is', async () => {
    const name = `${namespace.prefix}_evil`
    await namespace.superSql(`CREATE DATABASE ${name}`)
    await namespace.superSql(
      `CREATE FUNCTION public.whoami() RETURNS text LANGUAGE sql AS 'SELECT current_user || $$/$$ || session_user';
       CREATE TABLE public.seen (who text, CHECK (who <> public.whoami()));
       INSERT INTO public.seen VALUES ('x');
       CREATE MATERIALIZED VIEW public.witness AS SELECT public.whoami() AS who`,
      [],
      name,
    )
    const url = new URL(namespace.superUrl)
    url.pathname = `/${name}`
    const file = join(namespace.directory, 'evil.dump')
    execFileSync(join(toolsDirectory, 'pg_dump'), ['--format=custom', `--file=${file}`, `--dbname=${url.href}`])
    const { username } = await tenancy.tenants.restore({ dump: file, slug: 'evil' })
    expect(await query('evil', 'SELECT who FROM witness')).toEqual([{ who: `${username}/${username}` }])
    await tenancy.tenants.drop({ tenants: ['evil'] })
  })

  test("with roles: 'separate', the application gets its rights and no more", async () => {
    const separate = open({ roles: 'separate' })
    await separate.tenants.create({ name: 'apart' })
    const { tenants } = await separate.tenants.drop({ tenants: ['apart'] }, { backup: namespace.directory })
    // The configuration has changed since; the tenant has the roles that its dump was made with.
    const tenant = await tenancy.tenants.restore({ dump: tenants[0]?.backup ?? '', slug: 'apart' })
    expect(tenant).toMatchObject({ roles: 'separate', schemaVersion: '002_more', status: 'active' })
    const app = (await tenancy.tenants.url('apart')).reveal()
    expect(await sql(app, "INSERT INTO notes (body) VALUES ('new') RETURNING body")).toEqual([{ body: 'new' }])
    expect(await sqlError(app, 'CREATE TABLE mine (id int)')).toMatchObject({ code: '42501' })
    expect(await sqlError(app, 'SELECT FROM tenantctl_migrations.knex_migrations')).toMatchObject({ code: '42501' })
    expect((await tenancy.migrations.run({ tenants: ['apart'] })).upToDate).toBe(1)
    await tenancy.tenants.drop({ tenants: ['apart'] })
  })

  test('on the command line, in text and JSON', async () => {
    namespace.writeConfig()
    const run = (...args: string[]) => runBin(args, { cwd: namespace.directory })
    const dropped = await run('drop', 'acme', '--yes', '--backup', 'here', '--json')
    expect(dropped).toMatchObject({ exitCode: 0 })
    const { backup } = JSON.parse(dropped.stdout).tenants[0]
    const text = await run('restore', backup, '--as', 'acme', '--label', 'plan=free')
    expect(text).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('Restored acme') })
    expect(text.stdout).toContain('plan=free')
    const again = await run('restore', backup, '--as', 'acme', '--json')
    expect(again.exitCode).toBe(4)
    expect(JSON.parse(again.stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({ error: { code: 'TENANT_EXISTS' } })
    expect((await run('restore', 'nowhere.dump', '--as', 'x')).exitCode).toBe(2)
    expect((await run('restore', backup)).exitCode).toBe(2)
    const json = await run('restore', backup, '--as', 'second', '--json')
    expect(JSON.parse(json.stdout)).toMatchObject({ slug: 'second', name: 'Ácme Inc.', status: 'active' })
  })
})
