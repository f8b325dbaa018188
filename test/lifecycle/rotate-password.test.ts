import pg from 'pg'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../../src/index.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

describe.each(['single', 'separate'] as const)('rotate-password, roles: %s', roles => {
  const namespace = useNamespace({ admin: roles === 'separate' ? 'superuser' : 'plain' })
  const acme = { tenants: ['acme'] } as const
  let tenancy: Tenancy

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
    await tenancy.tenants.create({ name: 'Acme' })
  })

  beforeEach(() => tenancy.tenants.resume(acme))

  async function registry<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
    return namespace.sql<Row>(text, values, `${namespace.prefix}_registry`)
  }

  async function urls(): Promise<string[]> {
    const logins = roles === 'separate' ? (['app', 'migrator'] as const) : (['app'] as const)
    return Promise.all(logins.map(async role => (await tenancy.tenants.url('acme', { role })).reveal()))
  }

  const works = async (list: string[]) => (await Promise.all(list.map(tryLogin))).map(login => login.ok)

  test('the old passwords are refused, the new ones work, and sessions of the old ones are ended', async () => {
    const before = await urls()
    const client = new pg.Client({ connectionString: before[0] })
    const ended = new Promise(resolve => client.on('error', resolve))
    await client.connect()
    await (await tenancy.connections.get('acme')).table('notes').insert({ body: 'kept' })

    const result = await tenancy.tenants.rotatePassword(acme)
    expect(result).toMatchObject({ command: 'rotate-password', succeeded: 1, tenants: [{ status: 'rotated' }] })
    await ended
    const after = await urls()
    expect(await works(before)).toEqual(before.map(() => false))
    expect(await works(after)).toEqual(after.map(() => true))
    // The pool of this process goes on with the new one.
    expect(await (await tenancy.connections.get('acme')).table('notes')).toEqual([{ body: 'kept' }])
    expect(await tenancy.migrations.run(acme, { verify: true })).toMatchObject({ upToDate: 1 })
    expect(await registry('SELECT db_password_next, migrator_password_next FROM tenantctl.tenants')).toEqual([
      { db_password_next: null, migrator_password_next: null },
    ])
  })

  test('sessions may be kept', async () => {
    const client = new pg.Client({ connectionString: (await urls())[0] })
    await client.connect()
    await tenancy.tenants.rotatePassword(acme, { keepSessions: true })
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await client.end()
  })

  test('of a suspended tenant, which stays shut out', async () => {
    await tenancy.tenants.suspend(acme)
    const before = await urls()
    expect((await tenancy.tenants.rotatePassword(acme)).failed).toBe(0)
    expect(await works(await urls())).toEqual(before.map(() => false))
    await tenancy.tenants.resume(acme)
    expect(await works(before)).toEqual(before.map(() => false))
    expect(await works(await urls())).toEqual(before.map(() => true))
  })

  test('a password that nobody knows any more is replaced', async () => {
    const config = namespace.config({ roles, encryption: { keys: [generateEncryptionKey()] } })
    const other = namespace.track(createTenancy(config))
    await expect(other.tenants.url('acme')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
    expect((await other.tenants.rotatePassword(acme)).succeeded).toBe(1)
    expect((await tryLogin((await other.tenants.url('acme')).reveal())).ok).toBe(true)
    await expect(tenancy.tenants.url('acme')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
    await other.close()
    expect((await tenancy.tenants.rotatePassword(acme)).succeeded).toBe(1)
    expect(await works(await urls())).not.toContain(false)
  })

  test('a tampered password, and one from another row, are refused and replaced', async () => {
    await tenancy.tenants.create({ name: 'Globex' })
    await registry(`UPDATE tenantctl.tenants SET db_password =
      (SELECT db_password FROM tenantctl.tenants WHERE slug = 'globex') WHERE slug = 'acme'`)
    await expect(tenancy.tenants.url('acme')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
    expect((await tenancy.tenants.rotatePassword(acme)).succeeded).toBe(1)
    expect(await works(await urls())).not.toContain(false)
    await tenancy.tenants.drop({ tenants: ['globex'] })
  })

  test('a tenant whose connections are all taken makes room', async () => {
    const username = `${namespace.tenantPrefix}acme`
    await namespace.superSql(`ALTER ROLE "${username}" CONNECTION LIMIT 1`)
    const client = new pg.Client({ connectionString: (await urls())[0] })
    const ended = new Promise(resolve => client.on('error', resolve))
    await client.connect()
    expect((await tenancy.tenants.rotatePassword(acme)).failed).toBe(0)
    await ended
    await namespace.superSql(`ALTER ROLE "${username}" CONNECTION LIMIT -1`)
    expect(await works(await urls())).not.toContain(false)
  })

  test('only verifiers reach the server, and the count that was confirmed must hold', async () => {
    await expect(tenancy.tenants.rotatePassword({ all: true }, { expect: 2 })).rejects.toMatchObject({
      code: 'COUNT_MISMATCH',
    })
    const rows = await sql<{ rolpassword: string }>(
      urlWith(namespace.superUrl, {}),
      'SELECT rolpassword FROM pg_authid WHERE starts_with(rolname::text, $1) AND rolcanlogin',
      [namespace.tenantPrefix],
    )
    for (const { rolpassword } of rows) expect(rolpassword).toMatch(/^SCRAM-SHA-256\$4096:/)
  })
})
