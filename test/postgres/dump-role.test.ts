import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { close, connect } from '../../src/postgres/connect.ts'
import { createDumpRole, dropDumpRole } from '../../src/postgres/dump-role.ts'
import { scramVerifier } from '../../src/postgres/scram.ts'
import { adminFacts } from '../../src/postgres/server.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { sql, sqlError, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

// On the run's server, so on every version of the matrix: whoever may grant what differs between them.
describe.each(['plain', 'superuser'] as const)('the login of a dump, made by a %s admin', admin => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy
  let login: { name: string; verifier: Secret; marker: string; owner: string; database: string }
  let url: string
  let session: Awaited<ReturnType<typeof connect>>

  beforeAll(async () => {
    tenancy = namespace.track(createTenancy(namespace.config()))
    namespace.writeMigrations({ '001_notes.sql': "CREATE TABLE notes AS SELECT 'kept'::text AS body" })
    const tenant = await tenancy.tenants.create({ name: 'acme' })
    await tenancy.tenants.create({ name: 'globex' })
    const name = `${namespace.prefix}_dump`
    const verifier = await scramVerifier(new Secret('for a while'))
    login = { name, verifier, marker: 'tenantctl test', owner: tenant.username, database: tenant.database }
    url = urlWith(namespace.superUrl, { user: name, password: 'for a while', database: tenant.database })
    session = await connect(parseAddress(new Secret(namespace.adminUrl)))
  })
  afterAll(async () => await close(session))

  test('has the rights of its tenant, while the tenant itself is shut out', async () => {
    const own = (await tenancy.tenants.url('acme')).reveal()
    await namespace.superSql(`ALTER ROLE "${login.owner}" NOLOGIN`)
    // Twice: one that a crash has left behind is in the way of nobody.
    await createDumpRole(session, await adminFacts(session), login)
    await createDumpRole(session, await adminFacts(session), login)
    expect(await tryLogin(own)).toMatchObject({ ok: false })
    expect(await sql(url, `SET ROLE "${login.owner}"; SELECT body FROM notes`)).toEqual([{ body: 'kept' }])
    const [role] = await namespace.superSql(
      `SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls AS powerful,
              rolvaliduntil BETWEEN now() + '14 minutes' AND now() + '15 minutes' AS short
         FROM pg_roles WHERE rolname = $1`,
      [login.name],
    )
    expect(role).toEqual({ powerful: false, short: true })
  })

  test('and no others', async () => {
    const other = (await tenancy.tenants.get('globex')).database
    expect(await sqlError(urlWith(url, { database: other }), 'SELECT 1')).toMatchObject({ code: '42501' })
    expect(await sqlError(url, `SET ROLE "${namespace.prefix}_admin"`)).toMatchObject({ code: '42501' })
    expect(await sqlError(url, `ALTER ROLE "${login.owner}" LOGIN`)).toMatchObject({ code: '42501' })
  })

  test("goes without a trace, unless it is somebody else's", async () => {
    await dropDumpRole(session, { ...login, marker: 'tenantctl other' })
    expect(await tryLogin(url)).toMatchObject({ ok: true })
    const orphan = new pg.Client({ connectionString: url })
    orphan.on('error', () => undefined)
    await orphan.connect()
    await dropDumpRole(session, login)
    await expect(orphan.query('SELECT 1')).rejects.toThrow()
    expect(await tryLogin(url)).toMatchObject({ ok: false })
    const [database] = await namespace.superSql<{ acl: string }>(
      'SELECT datacl::text AS acl FROM pg_database WHERE datname = $1',
      [login.database],
    )
    expect(database?.acl).not.toContain('_dump')
    await dropDumpRole(session, login)
  })
})
