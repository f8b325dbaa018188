import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/tenancy/tenancy.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'

// Hardening changes databases that all tests share.
let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.remove())

describe.each(['plain', 'superuser'] as const)('doctor --isolation, as %s admin', admin => {
  const namespace = useNamespace({ admin, server: () => server })
  let tenancy: Tenancy
  const url = async (slug: string, database?: string) => {
    const own = (await tenancy.tenants.url(slug)).reveal()
    return database === undefined ? own : urlWith(own, { database })
  }

  beforeAll(async () => {
    await open('postgres')
    await open('template1')
    tenancy = namespace.track(createTenancy(namespace.config()))
    for (const name of ['Acme', 'Globex', 'Initech']) await tenancy.tenants.create({ name })
  })

  async function open(database: string): Promise<void> {
    await namespace.superSql(`GRANT CONNECT, TEMPORARY ON DATABASE ${database} TO PUBLIC`)
  }

  async function isolation(options: { sample?: number | 'all' } = {}) {
    const { ok, checks } = await tenancy.doctor({ isolation: true, ...options })
    return { ok, checks: checks.filter(each => each.check === 'isolation') }
  }

  /** Everything that an attempt could have changed. */
  const state = () =>
    namespace.superSql(
      `SELECT array(SELECT (datname, datdba, datallowconn, datconnlimit, datacl)::text FROM pg_database ORDER BY oid) AS databases,
              array(SELECT pg_authid::text FROM pg_authid ORDER BY oid) AS roles,
              array(SELECT pg_db_role_setting::text FROM pg_db_role_setting ORDER BY 1) AS settings,
              array(SELECT (roleid, member)::text FROM pg_auth_members ORDER BY 1) AS members`,
    )

  test('tells that every tenant can enter the maintenance databases, until they are hardened', async () => {
    const before = await state()
    const { ok, checks } = await isolation()
    expect(await state()).toEqual(before)
    expect(ok).toBe(false)
    expect(checks).toEqual([
      expect.objectContaining({
        status: 'problem',
        message: 'each of the 3 tenants that were tried can enter "postgres"',
        fix: 'tenantctl doctor --fix',
      }),
      expect.objectContaining({ status: 'problem', message: expect.stringMatching(/"template1"$/) }),
    ])
  })

  test('hardens them, ends the sessions of tenants there, and lets all others in as before', async () => {
    const monitoring = `${namespace.prefix}_monitoring`
    await namespace.superSql(`CREATE ROLE ${monitoring} LOGIN PASSWORD 'm'`)
    const monitor = urlWith(server.superUrl, { user: monitoring, password: 'm' })
    const visit = sql(await url('acme', 'postgres'), 'SELECT pg_sleep(20)').then(
      () => 'stayed',
      error => error.code,
    )
    const watching = sql(monitor, 'SELECT pg_sleep(1)')
    const found = (await tenancy.doctor()).checks.filter(each => each.check === 'maintenance-databases')
    expect(found).toEqual([
      expect.objectContaining({ status: 'warning', message: expect.stringMatching(/"postgres"/) }),
      expect.objectContaining({ status: 'warning', message: expect.stringMatching(/"template1"/) }),
    ])
    expect(found[0]?.fix).toMatch(
      new RegExp(`^GRANT .* TO .*"${monitoring}".*; REVOKE ALL ON DATABASE "postgres" FROM PUBLIC;$`),
    )
    const fixed = (await tenancy.doctor({ fix: true })).checks.filter(each => each.check === 'maintenance-databases')
    if (admin === 'superuser') {
      expect(fixed.map(each => each.fixed)).toEqual([true, true])
      expect(await visit).toBe('57P01')
    } else {
      // They are somebody else's: it says whose, and somebody else runs what it gives.
      expect(fixed.map(each => each.fixed)).toEqual([undefined, undefined])
      expect(fixed[0]?.message).toMatch(/its owner "postgres"/)
      for (const { fix } of fixed) await namespace.superSql(fix as string)
      await namespace.superSql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(20)'`,
      )
    }
    await watching
    expect(await tryLogin(await url('acme', 'postgres'))).toMatchObject({ ok: false, code: '42501' })
    expect(await tryLogin(await url('acme', 'template1'))).toMatchObject({ ok: false, code: '42501' })
    expect(await tryLogin(monitor)).toMatchObject({ ok: true })
    expect(await tryLogin(namespace.adminUrl)).toMatchObject({ ok: true })
    await tenancy.tenants.create({ name: 'Umbrella' })
    expect(await tenancy.doctor()).toMatchObject({ ok: true })
  })

  test('says so when every attempt was refused, and leaves nothing behind', async () => {
    const before = await state()
    const { ok, checks } = await isolation()
    expect(checks).toEqual([
      {
        check: 'isolation',
        status: 'ok',
        server: 'default',
        message: expect.stringMatching(/^logged in as all 4 tenants, \d+ attempts: all were refused$/),
      },
    ])
    expect(ok).toBe(true)
    expect(await state()).toEqual(before)
  })

  test('tries as many as were asked for', async () => {
    expect((await isolation({ sample: 2 })).checks[0]?.message).toMatch(/^logged in as 2 of 4 tenants/)
    expect((await isolation({ sample: 'all' })).checks[0]?.message).toMatch(/^logged in as all 4 tenants/)
  })

  describe('finds', () => {
    /** Changes something, sees what the tenants can do now, and takes it back. */
    async function broken(change: string, back: string) {
      await namespace.superSql(change)
      const { ok, checks } = await isolation()
      await namespace.superSql(back)
      expect(ok).toBe(false)
      return checks
    }

    test('a neighbour that can be entered', async () => {
      const { database } = await tenancy.tenants.get('globex')
      const { username } = await tenancy.tenants.get('initech')
      const grant = `CONNECT ON DATABASE "${database}"`
      expect(await broken(`GRANT ${grant} TO "${username}"`, `REVOKE ${grant} FROM "${username}"`)).toContainEqual(
        expect.objectContaining({
          status: 'problem',
          message: `initech can enter "${database}", a database of another tenant`,
        }),
      )
    })

    test('a registry that can be entered', async () => {
      const registry = `${namespace.prefix}_registry`
      expect(
        await broken(
          `GRANT CONNECT ON DATABASE ${registry} TO PUBLIC`,
          `REVOKE CONNECT ON DATABASE ${registry} FROM PUBLIC`,
        ),
      ).toContainEqual(
        expect.objectContaining({
          status: 'problem',
          message: expect.stringMatching(/can enter the registry database/),
        }),
      )
    })

    test.each([
      ['CREATEDB', 'NOCREATEDB', 'make a database'],
      ['CREATEROLE', 'NOCREATEROLE', 'make a role'],
      ['SUPERUSER', 'NOSUPERUSER', 'run programs on the server'],
    ])('a role with %s', async (on, off, what) => {
      const { username } = await tenancy.tenants.get('acme')
      const before = await state()
      const checks = await broken(`ALTER ROLE "${username}" ${on}`, `ALTER ROLE "${username}" ${off}`)
      expect(checks).toContainEqual(
        expect.objectContaining({
          status: 'problem',
          tenant: 'acme',
          message: expect.stringContaining(`it can ${what}`),
        }),
      )
      expect(await state()).toEqual(before)
    })

    test('a membership in a neighbour, and in a predefined role', async () => {
      const { username } = await tenancy.tenants.get('acme')
      const { username: neighbour } = await tenancy.tenants.get('globex')
      const checks = await broken(
        `GRANT "${neighbour}", pg_read_server_files TO "${username}"`,
        `REVOKE "${neighbour}", pg_read_server_files FROM "${username}"`,
      )
      const message = checks.find(each => each.tenant === 'acme')?.message
      expect(message).toContain(`act as its neighbour "${neighbour}"`)
      expect(message).toContain('copy files of the server')
    })

    test('a tenant that owns its database', async () => {
      const { database, username } = await tenancy.tenants.get('acme')
      const checks = await broken(
        `ALTER DATABASE "${database}" OWNER TO "${username}"`,
        `ALTER DATABASE "${database}" OWNER TO ${namespace.prefix}_admin; GRANT CONNECT, TEMPORARY, CREATE ON DATABASE "${database}" TO "${username}"`,
      )
      expect(checks.find(each => each.tenant === 'acme')?.message).toMatch(
        /lift the connection limit .* change settings .* open its database to everybody/,
      )
    })

    test('a tenant that cannot log in', async () => {
      const { username } = await tenancy.tenants.get('acme')
      expect(await broken(`ALTER ROLE "${username}" NOLOGIN`, `ALTER ROLE "${username}" LOGIN`)).toContainEqual(
        expect.objectContaining({
          status: 'problem',
          tenant: 'acme',
          message: expect.stringMatching(/^nothing could be tried/),
        }),
      )
    })
  })

  test('warns of a foreign database that lets everybody in, and breaks no promise', async () => {
    const foreign = `${namespace.prefix}_application`
    await namespace.superSql(`CREATE DATABASE ${foreign}`)
    const { ok, checks } = await isolation()
    await namespace.superSql(`DROP DATABASE ${foreign}`)
    expect(ok).toBe(true)
    expect(checks).toContainEqual(
      expect.objectContaining({ status: 'warning', message: expect.stringMatching(/which is not tenantctl's$/) }),
    )
  })
})

test('a database that the registry shares with an application is never hardened', async () => {
  await sql(server.superUrl, 'CREATE DATABASE shared')
  const url = urlWith(server.superUrl, { database: 'shared' })
  const tenancy = createTenancy({ registry: { url }, encryption: { keys: [Buffer.alloc(32, 1).toString('base64')] } })
  try {
    const { ok, checks } = await tenancy.doctor({ fix: true })
    expect(ok).toBe(false)
    const found = checks.find(each => each.check === 'maintenance-databases' && /shared/.test(each.message))
    expect(found).toMatchObject({ status: 'problem', message: expect.stringMatching(/shares it with an application/) })
    expect(found?.fixed).toBeUndefined()
  } finally {
    await tenancy.close()
    await sql(server.superUrl, 'DROP DATABASE shared')
  }
})
