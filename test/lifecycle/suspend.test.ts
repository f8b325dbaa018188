import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

describe.each(['single', 'separate'] as const)('suspend and resume, roles: %s', roles => {
  // Separate roles need PostgreSQL 15 or a superuser.
  const namespace = useNamespace({ admin: roles === 'separate' ? 'superuser' : 'plain' })
  const all = { all: true } as const
  let tenancy: Tenancy
  let url: string

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text); INSERT INTO notes VALUES (1)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
    await tenancy.tenants.create({ name: 'Acme' })
    await tenancy.tenants.create({ name: 'Globex' })
    url = (await tenancy.tenants.url('acme')).reveal()
  })

  test('no logins, sessions ended everywhere, data kept, and back', async () => {
    const inside = new pg.Client({ connectionString: url })
    const elsewhere = new pg.Client({ connectionString: urlWith(url, { database: 'postgres' }) })
    const ended = Promise.all([inside, elsewhere].map(client => new Promise(resolve => client.on('error', resolve))))
    await inside.connect()
    await elsewhere.connect()

    const result = await tenancy.tenants.suspend({ tenants: ['acme'] })
    expect(result).toMatchObject({
      command: 'suspend',
      succeeded: 1,
      tenants: [{ tenant: 'acme', status: 'suspended' }],
    })
    await ended
    expect((await tenancy.tenants.get('acme')).status).toBe('suspended')
    expect(await tryLogin(url)).toMatchObject({ ok: false, code: '28000' })
    const admin = await tryLogin(urlWith(namespace.superUrl, { database: `${namespace.tenantPrefix}acme` }))
    expect(admin).toMatchObject({ ok: false, code: '55000' })
    await expect(tenancy.connections.get('acme')).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' })
    expect((await tenancy.migrations.run(all)).tenants).toMatchObject([{ status: 'skipped' }, { status: 'up_to_date' }])

    expect((await tenancy.tenants.resume({ tenants: ['acme'] })).tenants).toMatchObject([{ status: 'resumed' }])
    expect((await tenancy.tenants.get('acme')).status).toBe('active')
    const knex = await tenancy.connections.get('acme')
    expect(await knex('notes')).toEqual([{ body: '1' }])
    expect((await tenancy.migrations.run(all, { verify: true })).upToDate).toBe(2)
  })

  test('a pool of this process is let go', async () => {
    await (await tenancy.connections.get('globex')).raw('SELECT 1')
    expect((await tenancy.tenants.suspend({ tenants: ['globex'] })).succeeded).toBe(1)
    await expect(tenancy.connections.get('globex')).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' })
    await tenancy.tenants.resume({ tenants: ['globex'] })
    await (await tenancy.connections.get('globex')).raw('SELECT 1')
  })

  test('twice is once, and is not written into the journal', async () => {
    await tenancy.tenants.suspend(all)
    const before = await tenancy.operations.list()
    expect(await tenancy.tenants.suspend(all)).toMatchObject({ succeeded: 0, upToDate: 2, failed: 0 })
    expect(await tenancy.operations.list()).toEqual(before)
    await tenancy.tenants.resume(all)
    expect(await tenancy.tenants.resume(all)).toMatchObject({ succeeded: 0, upToDate: 2, failed: 0 })
    expect((await tenancy.operations.list({ tenant: 'acme', limit: 2 })).map(each => each.kind)).toEqual([
      'resume',
      'suspend',
    ])
  })

  test('what the server says counts: a door that somebody opened by hand is shut again', async () => {
    await tenancy.tenants.suspend({ tenants: ['acme'] })
    await namespace.superSql(`ALTER ROLE "${namespace.tenantPrefix}acme" LOGIN`)
    expect((await tenancy.tenants.suspend({ tenants: ['acme'] })).tenants).toMatchObject([{ status: 'suspended' }])
    expect((await tryLogin(url)).ok).toBe(false)
    await tenancy.tenants.resume({ tenants: ['acme'] })
    expect((await tryLogin(url)).ok).toBe(true)
  })

  test('a foreign database that stands in the place of the tenant is not touched', async () => {
    const name = `${namespace.tenantPrefix}globex`
    await namespace.superSql(`COMMENT ON DATABASE "${name}" IS 'mine'`)
    const result = await tenancy.tenants.suspend({ tenants: ['globex'] })
    expect(result.tenants[0]).toMatchObject({ status: 'failed', error: { code: 'TENANT_MISMATCH' } })
    const rows = await namespace.sql('SELECT datallowconn FROM pg_database WHERE datname = $1', [name])
    expect(rows).toEqual([{ datallowconn: true }])
  })
})
