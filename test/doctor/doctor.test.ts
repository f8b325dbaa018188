import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { CheckResult } from '../../src/doctor/finding.ts'
import { createTenancy, type Tenancy } from '../../src/tenancy/tenancy.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'

// The doctor looks at whole servers: others' half-made things would be in its reports.
let server: TestServer
beforeAll(async () => {
  server = await startServer({ settings: { max_prepared_transactions: 5 } })
})
afterAll(() => server.remove())

describe.each(['plain', 'superuser'] as const)('doctor, as %s admin', admin => {
  const namespace = useNamespace({ admin, server: () => server })
  let tenancy: Tenancy
  let database: string
  let username: string
  const registry = () => `${namespace.prefix}_registry`

  beforeAll(async () => {
    namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int)' })
    tenancy = namespace.track(createTenancy(namespace.config()))
    for (const name of ['Acme', 'Globex']) await tenancy.tenants.create({ name })
    ;({ database, username } = await tenancy.tenants.get('acme'))
  })

  /** Without the open maintenance databases. */
  function notWell(checks: CheckResult[]): CheckResult[] {
    return checks.filter(({ check, status }) => status !== 'ok' && check !== 'maintenance-databases')
  }

  async function findings(options = {}): Promise<CheckResult[]> {
    return notWell((await tenancy.doctor(options)).checks)
  }

  async function expectHealthy(): Promise<void> {
    const { ok, checks } = await tenancy.doctor()
    expect(notWell(checks)).toEqual([])
    expect(ok).toBe(true)
  }

  afterEach(expectHealthy)

  test('has nothing to say about a healthy fleet', async () => {
    const { ok, checks } = await tenancy.doctor()
    expect(ok).toBe(true)
    expect(checks).toContainEqual({
      check: 'tenants',
      status: 'ok',
      server: 'default',
      message: expect.stringMatching(/^2 of 2 tenants/),
    })
    expect(checks.map(each => each.check)).toEqual(
      expect.arrayContaining(['version', 'admin', 'connections', 'passwords']),
    )
  })

  test('refuses a server that is not configured', async () => {
    await expect(tenancy.doctor({ server: 'eu' })).rejects.toMatchObject({ code: 'SERVER_NOT_FOUND' })
  })

  describe('finds and fixes', () => {
    test('what was applied behind the back of the registry', async () => {
      const url = (await tenancy.tenants.url('acme')).reveal()
      await sql(url, "INSERT INTO knex_migrations (name, batch) VALUES ('900_by_hand.js', 9)")
      const difference = {
        ...{ check: 'migrations', status: 'problem', server: 'default', tenant: 'acme' },
        message: expect.stringMatching(/^its database is at 900_by_hand, and the registry has it at 001/),
        fix: 'tenantctl migrate acme --verify',
      }
      expect(await findings()).toEqual([difference])
      expect(await findings({ fix: true })).toEqual([{ ...difference, fixed: true }])
      expect(await findings()).toEqual([])
      await sql(url, "DELETE FROM knex_migrations WHERE name = '900_by_hand.js'")
      await findings({ fix: true, sample: 'all' })
    })

    test('rights of everybody and of neighbours on a database, and ends their sessions', async () => {
      const { username: neighbour } = await tenancy.tenants.get('globex')
      await namespace.superSql(`GRANT CONNECT ON DATABASE "${database}" TO PUBLIC, "${neighbour}"`)
      const intruder = sql(urlWith((await tenancy.tenants.url('globex')).reveal(), { database }), 'SELECT pg_sleep(20)')
      const ended = expect(intruder).rejects.toMatchObject({ code: '57P01' })
      const found = await findings()
      expect(found).toEqual([
        expect.objectContaining({
          check: 'privileges',
          status: 'problem',
          tenant: 'acme',
          message: expect.stringMatching(/^everybody/),
        }),
        expect.objectContaining({
          check: 'privileges',
          status: 'problem',
          tenant: 'acme',
          message: expect.stringMatching(neighbour),
        }),
      ])
      expect(found[0]?.fix).toBe(`REVOKE ALL ON DATABASE "${database}" FROM PUBLIC;`)
      expect((await findings({ fix: true })).map(each => each.fixed)).toEqual([true, true])
      await ended
      expect(await tryLogin((await tenancy.tenants.url('acme')).reveal())).toMatchObject({ ok: true })
    })

    test('a create that was given up', async () => {
      namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int)', '002_b.sql': 'CREATE TABLE b (id nonsense)' })
      const other = createTenancy(namespace.config())
      await expect(other.tenants.create({ name: 'Initech' })).rejects.toMatchObject({ code: 'MIGRATION_FAILED' })
      await other.close()
      namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a (id int)' })
      expect(await findings()).toEqual([
        expect.objectContaining({
          check: 'half-made',
          status: 'problem',
          tenant: 'initech',
          fix: 'tenantctl repair initech',
        }),
      ])
      expect(await tenancy.doctor({ fix: true })).toMatchObject({ ok: true })
      expect(await tenancy.tenants.get('initech')).toMatchObject({ status: 'active' })
      await tenancy.tenants.drop({ tenants: ['initech'] }, { force: true })
    })

    test('an operation that counts as running, though nobody holds its lock', async () => {
      await namespace.superSql(
        `INSERT INTO tenantctl.operations (id, kind, tenant_uuid, tenant_slug, actor, pid)
         SELECT gen_random_uuid(), 'migrate', uuid, slug, 'ada@laptop', 1 FROM tenantctl.tenants WHERE slug = 'acme'`,
        [],
        registry(),
      )
      expect(await findings()).toEqual([
        expect.objectContaining({
          check: 'operation',
          status: 'problem',
          tenant: 'acme',
          message: expect.stringMatching(/ada@laptop/),
        }),
      ])
      expect(await tenancy.doctor({ fix: true })).toMatchObject({ ok: true })
      expect((await tenancy.operations.list({ tenant: 'acme' }))[0]).toMatchObject({ status: 'interrupted' })
    })

    test('a suspended tenant that can log in', async () => {
      await tenancy.tenants.suspend({ tenants: ['acme'] })
      await namespace.superSql(`ALTER ROLE "${username}" LOGIN`)
      expect(await findings()).toEqual([
        expect.objectContaining({ check: 'access', status: 'problem', fix: 'tenantctl suspend acme' }),
      ])
      expect(await tenancy.doctor({ fix: true })).toMatchObject({ ok: true })
      expect(await tryLogin((await tenancy.tenants.url('acme')).reveal())).toMatchObject({ ok: false })
      await tenancy.tenants.resume({ tenants: ['acme'] })
    })
  })

  describe('finds, and gives the statement for', () => {
    const problem = (check: string, fix: string | undefined, message = /./) => [
      expect.objectContaining({
        check,
        status: 'problem',
        tenant: 'acme',
        fix,
        message: expect.stringMatching(message),
      }),
    ]

    test('a database that is missing', async () => {
      await namespace.superSql(`ALTER DATABASE "${database}" RENAME TO ${namespace.prefix}_other`)
      const fix = `ALTER DATABASE "${namespace.prefix}_other" RENAME TO "${database}";`
      expect(await findings({ fix: true })).toEqual(problem('database', fix, /carries its marker/))
      await namespace.superSql(fix)
    })

    test('a role that is missing', async () => {
      await namespace.superSql(`ALTER ROLE "${username}" RENAME TO ${namespace.prefix}_other`)
      const fix = `ALTER ROLE "${namespace.prefix}_other" RENAME TO "${username}";`
      expect(await findings({ fix: true })).toContainEqual(problem('role', fix)[0])
      await namespace.superSql(fix)
    })

    test('a database or role without its marker', async () => {
      const { id } = await tenancy.tenants.get('acme')
      await namespace.superSql(`COMMENT ON DATABASE "${database}" IS NULL; COMMENT ON ROLE "${username}" IS 'of ada'`)
      const found = await findings({ fix: true })
      expect(found).toEqual([
        problem(
          'marker',
          expect.stringMatching(new RegExp(`^COMMENT ON DATABASE "${database}" IS 'tenantctl .* ${id}';`)) as never,
        )[0],
        problem('marker', expect.stringMatching(/^COMMENT ON ROLE/) as never, /of ada/)[0],
      ])
      for (const { fix } of found) await namespace.superSql(fix as string)
    })

    test('a database that its tenant owns', async () => {
      const admin = `${namespace.prefix}_admin`
      await namespace.superSql(`ALTER DATABASE "${database}" OWNER TO "${username}"`)
      const fix = `ALTER DATABASE "${database}" OWNER TO "${admin}";`
      expect(await findings({ fix: true })).toContainEqual(problem('owner', fix)[0])
      await namespace.superSql(`${fix} GRANT CONNECT, TEMPORARY, CREATE ON DATABASE "${database}" TO "${username}"`)
    })

    test('attributes that lead out of its database', async () => {
      await namespace.superSql(`ALTER ROLE "${username}" CREATEDB BYPASSRLS`)
      const fix = `ALTER ROLE "${username}" NOCREATEDB NOBYPASSRLS;`
      expect(await findings({ fix: true })).toEqual(problem('attributes', fix))
      await namespace.superSql(fix)
    })

    test('a password that has expired', async () => {
      await namespace.superSql(`ALTER ROLE "${username}" VALID UNTIL 'yesterday'`)
      const fix = `ALTER ROLE "${username}" VALID UNTIL 'infinity';`
      expect(await findings()).toEqual(problem('attributes', fix))
      await namespace.superSql(fix)
    })

    test('memberships, of it and in it', async () => {
      const { username: neighbour } = await tenancy.tenants.get('globex')
      await namespace.superSql(`GRANT pg_read_server_files TO "${username}"; GRANT "${username}" TO "${neighbour}"`)
      const found = await findings({ fix: true })
      expect(found).toContainEqual(problem('membership', `REVOKE "pg_read_server_files" FROM "${username}";`)[0])
      expect(found).toContainEqual(problem('membership', `REVOKE "${username}" FROM "${neighbour}";`)[0])
      expect(found).toContainEqual(expect.objectContaining({ check: 'membership', tenant: 'globex' }))
      await namespace.superSql(
        `REVOKE pg_read_server_files FROM "${username}"; REVOKE "${username}" FROM "${neighbour}"`,
      )
    })

    test('a door that is shut for an active tenant', async () => {
      await namespace.superSql(`ALTER DATABASE "${database}" ALLOW_CONNECTIONS false`)
      expect(await findings({ fix: true })).toEqual(problem('access', 'tenantctl resume acme'))
      await tenancy.tenants.resume({ tenants: ['acme'] })
    })

    test('a database whose DROP was cut off', async () => {
      const [before] = await namespace.superSql('SELECT datconnlimit FROM pg_database WHERE datname = $1', [database])
      await namespace.superSql('UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1', [database])
      expect(await findings({ fix: true })).toEqual(problem('database', 'tenantctl drop acme', /cut off/))
      await namespace.superSql('UPDATE pg_database SET datconnlimit = $2 WHERE datname = $1', [
        database,
        before?.datconnlimit,
      ])
    })

    test('a drop that was cut off, whose data it does not remove', async () => {
      await namespace.superSql(`UPDATE tenantctl.tenants SET status = 'dropping' WHERE slug = 'acme'`, [], registry())
      expect(await findings({ fix: true })).toEqual(problem('half-made', 'tenantctl repair acme'))
      expect(await tryLogin((await tenancy.tenants.url('acme')).reveal())).toMatchObject({ ok: true })
      await namespace.superSql(`UPDATE tenantctl.tenants SET status = 'active' WHERE slug = 'acme'`, [], registry())
    })

    test('a password that no key opens', async () => {
      const other = createTenancy(namespace.config({ encryption: { keys: [Buffer.alloc(32, 1).toString('base64')] } }))
      const { ok, checks } = await other.doctor()
      await other.close()
      expect(ok).toBe(false)
      expect(checks.filter(each => each.check === 'passwords')).toEqual([
        expect.objectContaining({
          status: 'problem',
          message: expect.stringMatching(/no stored password can be read/),
        }),
      ])
    })

    test('a tenant on a server that is not configured any more', async () => {
      await namespace.superSql(
        `INSERT INTO tenantctl.servers (name) VALUES ('eu');
         UPDATE tenantctl.tenants SET server_id = (SELECT id FROM tenantctl.servers WHERE name = 'eu') WHERE slug = 'acme'`,
        undefined,
        registry(),
      )
      expect(await findings()).toContainEqual(
        expect.objectContaining({
          check: 'server',
          status: 'problem',
          server: 'eu',
          message: expect.stringMatching(/not configured/),
        }),
      )
      await namespace.superSql(
        `UPDATE tenantctl.tenants SET server_id = (SELECT id FROM tenantctl.servers WHERE name = 'default')`,
        [],
        registry(),
      )
    })

    test('a server that hangs up is asked no more often for the tenants that it has', async () => {
      let calls = 0
      const deaf = createServer(socket => {
        calls += 1
        socket.destroy()
      }).listen(0, '127.0.0.1')
      await once(deaf, 'listening')
      const { port } = deaf.address() as AddressInfo
      const other = createTenancy(
        namespace.config({ servers: { eu: { url: `postgresql://ada@127.0.0.1:${port}/postgres` } } }),
      )
      const callsOfDoctor = async () => {
        calls = 0
        await other.doctor()
        return calls
      }
      const move = (server: string) =>
        namespace.superSql(
          `INSERT INTO tenantctl.servers (name) VALUES ('eu') ON CONFLICT DO NOTHING;
           UPDATE tenantctl.tenants SET server_id = (SELECT id FROM tenantctl.servers WHERE name = '${server}')`,
          undefined,
          registry(),
        )
      try {
        const before = await callsOfDoctor()
        await move('eu')
        expect(before).toBeGreaterThan(0)
        expect(await callsOfDoctor()).toBe(before)
      } finally {
        await move('default')
        await other.close()
        deaf.close()
      }
    })

    test('a server that cannot be reached', async () => {
      const other = createTenancy(
        namespace.config({ servers: { eu: { url: 'postgresql://ada@127.0.0.1:1/postgres' } } }),
      )
      const { ok, checks } = await other.doctor()
      await other.close()
      expect(ok).toBe(false)
      expect(checks).toContainEqual(expect.objectContaining({ check: 'reachable', status: 'problem', server: 'eu' }))
      // The others are looked at all the same.
      expect(checks).toContainEqual(expect.objectContaining({ check: 'tenants', status: 'ok', server: 'default' }))
    })
  })

  describe('of what belongs to no tenant', () => {
    test('drops an orphan with data only when it is named', async () => {
      const lost = await tenancy.tenants.create({ name: 'Lost' })
      await namespace.superSql(`DELETE FROM tenantctl.tenants WHERE uuid = $1`, [lost.id], registry())
      const found = await findings({ fix: true })
      expect(found).toEqual([
        expect.objectContaining({
          check: 'orphan',
          status: 'problem',
          fix: `tenantctl doctor --fix --drop-orphan ${lost.database}`,
          message: expect.stringMatching(/"lost"/),
        }),
        expect.objectContaining({ check: 'orphan', status: 'problem', message: expect.stringMatching(/it goes with/) }),
      ])
      expect((await namespace.leftovers()).databases).toContain(lost.database)
      await expect(tenancy.doctor({ fix: true, dropOrphans: [database] })).rejects.toMatchObject({ code: 'USAGE' })
      expect(await tenancy.doctor({ fix: true, dropOrphans: [lost.database] })).toMatchObject({ ok: true })
      const after = await namespace.leftovers()
      expect(after.databases).not.toContain(lost.database)
      expect(after.roles).not.toContain(lost.username)
      expect((await tenancy.operations.list({ tenant: lost.id }))[0]).toMatchObject({
        kind: 'drop',
        status: 'succeeded',
      })
    })

    test('never drops an orphan that somebody is in', async () => {
      const lost = await tenancy.tenants.create({ name: 'Lost' })
      const url = (await tenancy.tenants.url('lost')).reveal()
      await namespace.superSql(`DELETE FROM tenantctl.tenants WHERE uuid = $1`, [lost.id], registry())
      const sleeping = sql(url, 'SELECT pg_sleep(3)')
      const { ok, checks } = await tenancy.doctor({ fix: true, dropOrphans: [lost.database] })
      expect(ok).toBe(false)
      expect(checks.find(each => each.check === 'orphan')?.message).toMatch(/open connection/)
      await sleeping
      expect(await tenancy.doctor({ fix: true, dropOrphans: [lost.database] })).toMatchObject({ ok: true })
    })

    test('tells of a foreign database that is named like a tenant, and never touches it', async () => {
      const name = `${namespace.tenantPrefix}foreign`
      await namespace.sql(`CREATE DATABASE ${name}`)
      expect(await findings({ fix: true })).toEqual([
        expect.objectContaining({ check: 'foreign', status: 'warning', message: expect.stringMatching(name) }),
      ])
      await expect(tenancy.doctor({ fix: true, dropOrphans: [name] })).rejects.toMatchObject({ code: 'USAGE' })
      await namespace.sql(`DROP DATABASE ${name}`)
    })

    test('removes what is left of a template, and leaves a whole one alone', async () => {
      const other = createTenancy(namespace.config({ template: true }))
      await other.tenants.create({ name: 'Copied' })
      await expectHealthy()
      await other.tenants.drop({ tenants: ['copied'] }, { force: true })
      await other.close()
      const hash = '0'.repeat(24)
      const [{ id } = {}] = await namespace.superSql('SELECT id FROM tenantctl.registry', [], registry())
      await namespace.sql(`CREATE ROLE tenantctl_template_${hash}`)
      await namespace.sql(`COMMENT ON ROLE tenantctl_template_${hash} IS 'tenantctl ${id} template'`)
      const building = `tenantctl_closed_building_${hash}`
      await namespace.sql(`CREATE DATABASE ${building} TEMPLATE template0 ALLOW_CONNECTIONS false`)
      expect(await findings()).toEqual([
        expect.objectContaining({ check: 'template', status: 'problem', message: expect.stringContaining(building) }),
      ])
      expect(await tenancy.doctor({ fix: true })).toMatchObject({ ok: true })
      expect(await namespace.superSql('SELECT FROM pg_database WHERE datname = $1', [building])).toEqual([])
      await expectHealthy()
      await namespace.sql(`CREATE ROLE tenantctl_template_${hash}`)
      await namespace.sql(`COMMENT ON ROLE tenantctl_template_${hash} IS 'tenantctl ${id} template'`)
      expect((await tenancy.repair()).leftovers).toEqual([
        { server: 'default', kind: 'role', name: `tenantctl_template_${hash}`, status: 'removed' },
      ])
    })

    test('removes the login of a backup that was cut off', async () => {
      const { id } = await tenancy.tenants.get('acme')
      const [{ marker } = {}] = await namespace.superSql(
        `SELECT shobj_description(oid, 'pg_authid') AS marker FROM pg_roles WHERE rolname = $1`,
        [username],
      )
      const name = `tenantctl_dump_${id.replaceAll('-', '')}`
      await namespace.sql(`CREATE ROLE ${name} LOGIN`)
      await namespace.sql(`COMMENT ON ROLE ${name} IS '${marker}'`)
      await namespace.sql(`GRANT CONNECT ON DATABASE "${database}" TO ${name}`)
      expect(await findings()).toEqual([
        expect.objectContaining({
          check: 'role',
          status: 'problem',
          tenant: 'acme',
          message: expect.stringMatching(/backup/),
        }),
      ])
      expect(await tenancy.doctor({ fix: true })).toMatchObject({ ok: true })
      expect((await namespace.leftovers()).roles).not.toContain(name)
    })

    test('takes nothing for its own that another registry has made', async () => {
      const other = createTenancy(
        namespace.config({
          registry: { url: urlWith(namespace.registryUrl, { database: `${namespace.prefix}_second` }) },
        }),
      )
      await other.tenants.create({ name: 'Theirs' })
      await expectHealthy()
      await other.tenants.drop({ all: true }, { force: true })
      await other.close()
    })
  })

  test('tells of prepared transactions that were forgotten, by their age', async () => {
    const { serverChecks } = await import('../../src/doctor/server-checks.ts')
    const prepared = [{ gid: "o'clock", database, owner: username, ageSeconds: 10_000 }]
    expect(serverChecks['prepared-transactions']?.({ prepared } as never)).toEqual([
      expect.objectContaining({ status: 'warning', fix: expect.stringMatching(/^ROLLBACK PREPARED 'o''clock';/) }),
    ])
  })
})

test('an admin with less rights is told what it lacks', async () => {
  await sql(server.superUrl, `CREATE ROLE weak LOGIN CREATEDB CREATEROLE PASSWORD 'weak'`)
  await sql(server.superUrl, 'CREATE DATABASE weak OWNER weak')
  const url = urlWith(server.superUrl, { user: 'weak', password: 'weak', database: 'weak' })
  const tenancy = createTenancy({ registry: { url }, encryption: { keys: [Buffer.alloc(32, 1).toString('base64')] } })
  try {
    const { username } = await tenancy.tenants.create({ name: 'Weak' })
    await sql(server.superUrl, `ALTER ROLE weak NOCREATEROLE; REVOKE "${username}" FROM weak GRANTED BY weak`)
    const { ok, checks } = await tenancy.doctor()
    expect(ok).toBe(false)
    expect(checks).toContainEqual(
      expect.objectContaining({ check: 'admin', status: 'problem', fix: 'ALTER ROLE "weak" CREATEROLE;' }),
    )
    expect(checks).toContainEqual(
      expect.objectContaining({
        check: 'admin-rights',
        status: 'problem',
        tenant: 'weak',
        fix: expect.stringMatching(/^GRANT "tenant_weak" TO "weak" WITH ADMIN TRUE, INHERIT TRUE, SET TRUE;$/),
      }),
    )
    await sql(
      server.superUrl,
      `ALTER ROLE weak CREATEROLE; GRANT "${username}" TO weak WITH ADMIN TRUE, INHERIT TRUE, SET TRUE`,
    )
    await tenancy.tenants.drop({ all: true }, { force: true })
  } finally {
    await tenancy.close()
  }
})
