/** A registry that somebody has edited: what a row names is the tenant's own, or is left alone. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting } from './support.ts'

// Each admin and each role model once: what is tried here depends on neither of the two together.
const settings = everySetting().filter(({ admin, roles }) => (admin === 'plain') === (roles === 'single'))

describe.each(settings)('with a $admin admin, roles $roles, a row that names', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy

  const changing: [string, (tenancy: Tenancy) => Promise<{ tenants: unknown[] }>][] = [
    ['drop', tenancy => tenancy.tenants.drop({ tenants: ['a'] }, { force: true })],
    ['drop --retain', tenancy => tenancy.tenants.drop({ tenants: ['a'] }, { force: true, retain: '1d' })],
    ['suspend', tenancy => tenancy.tenants.suspend({ tenants: ['a'] })],
    ['resume', tenancy => tenancy.tenants.resume({ tenants: ['a'] })],
    ['rotate-password', tenancy => tenancy.tenants.rotatePassword({ tenants: ['a'] })],
  ]
  const registry = (text: string, values: unknown[] = []) => sql(namespace.registryUrl, text, values)
  const serverState = () =>
    namespace.superSql(
      `SELECT datname::text AS name, datallowconn, datacl::text, datconnlimit FROM pg_database WHERE datname ~ $1 OR datname IN ('postgres', 'template1')
       UNION ALL SELECT rolname::text, rolcanlogin, rolpassword, rolconnlimit FROM pg_authid WHERE rolname ~ $1 OR rolname = 'postgres'
       ORDER BY 1, 2, 3, 4`,
      [`^${namespace.prefix}`],
    )

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
    await tenancy.tenants.create({ name: 'a' })
    await tenancy.tenants.create({ name: 'b' })
    // That two tenants never share one is a constraint, too.
    await registry(
      `ALTER TABLE tenantctl.tenants DROP CONSTRAINT tenants_server_id_db_name_key,
         DROP CONSTRAINT tenants_server_id_db_username_key`,
    )
  })

  test.each([
    ['the maintenance database', 'postgres', null],
    ['template1', 'template1', null],
    ['the registry', 'registry', null],
    ['the superuser', null, 'postgres'],
    ["another tenant's database", 'b', null],
    ["another tenant's role", null, 'b'],
    ["another tenant's database and role", 'b', 'b'],
    ['a database that is not there', 'nowhere', null],
    ['a role that is not there', null, 'nobody'],
    ['a database and role that are not there', 'nowhere', 'nobody'],
  ])('%s', async (_what, database, username) => {
    const own = await tenancy.tenants.get('a')
    const other = await tenancy.tenants.get('b')
    const named = (name: string | null, own: string) =>
      name === null ? own : name === 'b' ? other.database : name === 'registry' ? `${namespace.prefix}_registry` : name
    const before = await serverState()
    for (const status of ['active', 'failed']) {
      for (const [command, run] of changing) {
        if (!command.startsWith('drop') && status !== 'active') continue
        await registry('UPDATE tenantctl.tenants SET db_name = $1, db_username = $2, status = $3 WHERE uuid = $4', [
          named(database, own.database),
          named(username, own.username),
          status,
          own.id,
        ])
        const { tenants } = await run(tenancy)
        expect([command, status, await serverState()]).toEqual([command, status, before])
        expect([command, status, tenants]).toMatchObject([command, status, [{ tenant: 'a', status: 'failed' }]])
        const row = await registry('SELECT 1 AS there FROM tenantctl.tenants WHERE uuid = $1', [own.id])
        expect(row).toEqual([{ there: 1 }])
      }
    }
    await registry('UPDATE tenantctl.tenants SET db_name = $1, db_username = $2, status = $3 WHERE uuid = $4', [
      own.database,
      own.username,
      'active',
      own.id,
    ])
  })

  test('the password of another tenant does not let a tenant into what is not its own', async () => {
    const [a, b] = [await tenancy.tenants.get('a'), await tenancy.tenants.get('b')]
    await registry(
      `UPDATE tenantctl.tenants SET (db_password, migrator_password) =
         (SELECT db_password, migrator_password FROM tenantctl.tenants WHERE uuid = $2) WHERE uuid = $1`,
      [a.id, b.id],
    )
    await expect(tenancy.tenants.url('a')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
    await expect(tenancy.connections.get('a').then(knex => knex.raw('SELECT 1'))).rejects.toMatchObject({
      code: 'DECRYPTION_FAILED',
    })
    expect((await tenancy.migrations.run({ all: true }, { verify: true, retries: 0 })).tenants).toMatchObject([
      { tenant: 'a', status: 'failed', error: { code: 'DECRYPTION_FAILED' } },
      { tenant: 'b', status: 'up_to_date' },
    ])
  })

  test.runIf(roles === 'separate')("the migrator's password is not taken for the application's", async () => {
    const { id } = await tenancy.tenants.get('b')
    const swap = 'UPDATE tenantctl.tenants SET (db_password, migrator_password) = (migrator_password, db_password)'
    await registry(`${swap} WHERE uuid = $1`, [id])
    for (const role of ['app', 'migrator'] as const) {
      await expect(tenancy.tenants.url('b', { role })).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
    }
    await registry(`${swap} WHERE uuid = $1`, [id])
    expect((await tenancy.tenants.url('b', { role: 'migrator' })).reveal()).toContain('_migrator')
  })

  afterAll(() => tenancy.close())
})
