import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, sqlError, tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const files = {
  '001_notes.sql':
    'CREATE TABLE notes (id serial PRIMARY KEY, body text); CREATE SCHEMA extra; CREATE TABLE extra.more (a int)',
  '002_js.mjs':
    'export const up = knex => knex.schema.createTable("tags", t => { t.increments(); t.text("name") })\nexport const down = knex => knex.schema.dropTable("tags")\n',
}

// With a plain admin they need PostgreSQL 15.
const admins = inject('server').major >= 15 ? (['plain', 'superuser'] as const) : (['superuser'] as const)

describe.each(admins)("roles: 'separate', with a %s admin", admin => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy
  let app: string
  let migrator: string

  beforeAll(async () => {
    await namespace.writeMigrations(files)
    await namespace.writeSeeds({ '01.sql': "INSERT INTO notes (body) VALUES ('first')" })
    tenancy = namespace.track(createTenancy(namespace.config({ roles: 'separate' })))
    await tenancy.tenants.create({ name: 'Acme' })
    app = (await tenancy.tenants.url('acme')).reveal()
    migrator = (await tenancy.tenants.url('acme', { role: 'migrator' })).reveal()
  })

  afterAll(() => tenancy.close())

  test('the application reads and writes rows in every schema', async () => {
    expect(await sql(app, 'SELECT body FROM notes')).toEqual([{ body: 'first' }])
    await sql(
      app,
      "INSERT INTO notes (body) VALUES ('second'); INSERT INTO tags (name) VALUES ('x'); INSERT INTO extra.more VALUES (1)",
    )
    await sql(app, "UPDATE notes SET body = 'changed' WHERE id = 2; DELETE FROM notes WHERE id = 2")
  })

  test.each([
    'CREATE TABLE t (a int)',
    'CREATE TEMPORARY TABLE t (a int)',
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    'CREATE SCHEMA s',
    'CREATE EXTENSION pgcrypto',
    'DROP TABLE notes',
    'ALTER TABLE notes ADD COLUMN x int',
    'SELECT * FROM tenantctl_migrations.knex_migrations',
    "INSERT INTO tenantctl_migrations.knex_migrations (name, batch) VALUES ('forged', 1)",
    'TRUNCATE notes',
  ])('the application may not: %s', async statement => {
    expect((await sqlError(app, statement)).code).toBe('42501')
  })

  test('the application may not become the owner or the migrator', async () => {
    const { username } = await tenancy.tenants.get('acme')
    for (const role of [`${username}_owner`, `${username}_migrator`]) {
      expect((await sqlError(app, `SET ROLE "${role}"`)).code).toBe('42501')
    }
  })

  test('the migrator acts as the owner, who cannot log in', async () => {
    const { username } = await tenancy.tenants.get('acme')
    expect(await sql(migrator, 'SELECT current_user AS role, session_user AS login')).toEqual([
      { role: `${username}_owner`, login: `${username}_migrator` },
    ])
    const owners = await sql(
      migrator,
      "SELECT DISTINCT tableowner AS owner FROM pg_tables WHERE schemaname IN ('public', 'extra')",
    )
    expect(owners).toEqual([{ owner: `${username}_owner` }])
    const url = new URL(app)
    url.username = `${username}_owner`
    expect((await tryLogin(url.href)).ok).toBe(false)
  })

  test('further migrations and rollbacks run as the owner too', async () => {
    await namespace.writeMigrations({
      ...files,
      '003_more.sql': 'CREATE TABLE later (a int)\n-- migrate:down\nDROP TABLE later',
    })
    const again = namespace.track(createTenancy(namespace.config({ roles: 'separate' })))
    expect((await again.migrations.run({ all: true })).tenants).toMatchObject([
      { status: 'migrated', applied: ['003_more'] },
    ])
    await sql(app, 'INSERT INTO later VALUES (1)')
    expect((await again.migrations.rollback({ all: true }, { steps: 1 })).tenants).toMatchObject([
      { status: 'rolled_back' },
    ])
    expect((await again.migrations.status({ all: true })).tenants[0]).toMatchObject({ pending: ['003_more'] })
    await again.close()
  })

  test('a drop removes all three roles', async () => {
    const { slug } = await tenancy.tenants.create({ name: 'x'.repeat(63) })
    expect((await tenancy.tenants.drop({ tenants: [slug] })).succeeded).toBe(1)
    const { username } = await tenancy.tenants.get('acme')
    expect((await tenancy.tenants.drop({ all: true }, { force: true })).failed).toBe(0)
    expect(await namespace.superSql('SELECT rolname FROM pg_roles WHERE rolname LIKE $1', [`${username}%`])).toEqual([])
  })
})

describe("naming: 'opaque'", () => {
  const namespace = useNamespace()

  test('gives away nothing of the customer', async () => {
    const config = { ...namespace.config(), naming: 'opaque' as const }
    await namespace.writeMigrations({})
    const tenancy = namespace.track(createTenancy(config))
    const tenant = await tenancy.tenants.create({ name: 'Famous Customer' })
    expect(tenant.database).toBe(`t_${tenant.id.replaceAll('-', '')}`)
    expect(tenant.username).toBe(tenant.database)
    await tenancy.tenants.drop({ tenants: [tenant.id] })
    await tenancy.close()
  })
})
