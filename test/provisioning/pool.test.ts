import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyConfig, type TenancyEvent } from '../../src/index.ts'
import { catalogs } from '../faults/catalogs.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { binariesOf, startServer, type TestServer } from '../support/servers.ts'
import { snapshot } from './snapshot.ts'

const migrations = {
  '001_a.sql': `CREATE TABLE a (id serial PRIMARY KEY, x text);
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE SCHEMA s; CREATE VIEW s.v AS SELECT x FROM a;
    ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO PUBLIC;`,
}
const seeds = {
  '01.sql': "INSERT INTO a (x) VALUES ('same')",
  '02.sql': '-- seed:per-tenant\nINSERT INTO a (x) VALUES (current_user)',
}

type Namespace = ReturnType<typeof useNamespace>

function open(namespace: Namespace, config: TenancyConfig = {}, told: string[] = []): Tenancy {
  const onEvent = (event: TenancyEvent) => void (event.event === 'notice' && told.push(event.message))
  return namespace.track(createTenancy(namespace.config({ template: true, pool: { size: 2 }, onEvent, ...config })))
}

/** The server's version, the admin's rights, the roles. */
const kinds = (
  [
    [18, 'plain', 'separate'],
    [14, 'plain', 'single'],
    ...(process.env.TENANTCTL_TEST_ALL
      ? ([
          ...[15, 16, 17, 18].map(major => [major, 'plain', 'single'] as const),
          ...[14, 15, 16, 17, 18].map(major => [major, 'superuser', 'separate'] as const),
        ] as const)
      : []),
  ] as const
).filter(([major]) => binariesOf(major))

describe.each(kinds)('a tenant from the stock, on PostgreSQL %i, %s admin, roles: %s', (major, admin, roles) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ major })
  })
  afterAll(() => server.remove())
  const namespace = useNamespace({ admin, server: () => server })

  test('is as any other', async () => {
    namespace.writeMigrations(migrations)
    namespace.writeSeeds(seeds)
    const database = { extensions: ['hstore'], connectionLimit: 7 }
    const told: string[] = []
    const made: Record<string, unknown>[] = []
    for (const [slug, config] of [
      ['plain', { template: false, pool: { size: 0 } }],
      ['taken', {}],
    ] as const) {
      const tenancy = open(namespace, { roles, database, ...config }, told)
      if (slug === 'taken') expect(await tenancy.pool.fill()).toMatchObject([{ ready: 2, made: 2 }])
      const tenant = await tenancy.tenants.create({ name: slug })
      expect(tenant).toMatchObject({ status: 'active', schemaVersion: '001_a', created: true })
      const url = (await tenancy.tenants.url(slug, { role: 'migrator' })).reveal()
      expect((await tryLogin((await tenancy.tenants.url(slug)).reveal())).ok).toBe(true)
      made.push({ ...(await snapshot(url, tenant.database)), version: tenant.schemaVersion })
      await tenancy.close()
    }
    expect(told.filter(each => /without|not taken/.test(each))).toEqual([])
    expect(made[1]).toEqual(made[0])
    const tenancy = open(namespace, { roles, database })
    const [operation] = await tenancy.operations.list({ tenant: 'taken' })
    expect(operation?.steps.map(each => each.name)).toEqual(['takeReady', 'migrate', 'seed', 'afterCreate', 'activate'])
    expect(await tenancy.pool.status()).toEqual([{ server: 'default', size: 2, ready: 1, stale: 0, unfinished: 0 }])
    expect(await tenancy.pool.fill({ size: 0 })).toMatchObject([{ size: 0, ready: 0, removed: 1 }])
    await tenancy.tenants.drop({ all: true })
    await tenancy.close()
    expect(await stockNames(namespace)).toEqual([])
  })
})

/** Databases and roles of tenants and of the stock, by the catalogs. */
async function stockNames(namespace: Namespace): Promise<string[]> {
  const { actual } = await catalogs(namespace)
  const names = [...Object.keys(actual.databases), ...Object.keys(actual.roles)]
  return names.filter(name => !name.startsWith('tenantctl_template_')).sort()
}

describe('the stock', () => {
  const namespace = useNamespace()
  let tenancy: Tenancy
  const told: string[] = []

  beforeAll(async () => {
    namespace.writeMigrations(migrations)
    namespace.writeSeeds(seeds)
    tenancy = open(namespace, {}, told)
    await tenancy.pool.fill()
  })

  async function problems(fix = false): Promise<string[]> {
    const { checks } = await tenancy.doctor({ fix })
    // Tests of other files make databases on the same server meanwhile.
    const about = checks.filter(
      ({ check, status, message }) =>
        ['stock', 'orphan', 'foreign'].includes(check) &&
        status !== 'ok' &&
        (check !== 'foreign' || message.includes(namespace.prefix)),
    )
    return about.map(({ message, fixed }) => `${fixed ? 'fixed: ' : ''}${message}`)
  }

  test('lets nobody in, and is out of sight', async () => {
    const { actual } = await catalogs(namespace)
    const names = Object.keys(actual.databases).filter(name => name.startsWith('tenantctl_ready_'))
    expect(names).toHaveLength(2)
    for (const name of names) {
      expect(actual.databases[name]).toMatch(/^tenantctl [0-9a-f-]{36} [0-9a-f-]{36}, closed$/)
      expect(actual.roles[name]).toMatch(/, no login$/)
      expect(await tryLogin(urlWith(namespace.superUrl, { database: name }))).toMatchObject({
        ok: false,
        code: '55000',
      })
    }
    const passwords = await namespace.superSql('SELECT rolpassword FROM pg_authid WHERE rolname = ANY($1)', [names])
    expect(passwords).toEqual([{ rolpassword: null }, { rolpassword: null }])
    expect(await tenancy.tenants.list()).toEqual([])
    expect(await tenancy.migrations.run({ all: true })).toMatchObject({ total: 0 })
    expect(await tenancy.repair()).toMatchObject({ total: 0, leftovers: [] })
    expect(await problems()).toEqual([])
  })

  test('gives no two creates the same, and a third makes its own', async () => {
    const inputs = ['one', 'two', 'three'].map(name => ({ name }))
    expect(await tenancy.tenants.createMany(inputs, { concurrency: 3 })).toMatchObject({ succeeded: 3, failed: 0 })
    expect(told.filter(each => /stock/.test(each))).toEqual(['not taken from the stock: none is ready that fits'])
    for (const name of ['one', 'two', 'three']) {
      const rows = await sql((await tenancy.tenants.url(name)).reveal(), 'SELECT x FROM a ORDER BY id')
      expect(rows).toEqual([{ x: 'same' }, { x: `${namespace.tenantPrefix}${name}` }])
    }
    expect((await stockNames(namespace)).filter(name => name.startsWith('tenantctl_'))).toEqual([])
    await tenancy.tenants.drop({ all: true })
  })

  test('fits no tenant of another kind, and is for any name', async () => {
    await tenancy.pool.fill()
    const steps = async (slug: string) => (await tenancy.operations.list({ tenant: slug }))[0]?.steps[0]?.name
    await tenancy.tenants.create({ name: 'unseeded', seed: false })
    expect(await steps('unseeded')).toBe('reserve')
    const named = await tenancy.tenants.create({
      name: 'Named',
      database: `${namespace.tenantPrefix}Ödd "name"`,
      labels: { a: 'b' },
    })
    expect(await steps('named')).toBe('takeReady')
    expect(named).toMatchObject({ database: `${namespace.tenantPrefix}Ödd "name"`, labels: { a: 'b' } })
    const opaque = open(namespace, { naming: 'opaque' })
    const { id, database } = await opaque.tenants.create({ name: 'hidden' })
    expect([database, await steps('hidden')]).toEqual([`t_${id.replaceAll('-', '')}`, 'takeReady'])
    await opaque.close()
    await tenancy.tenants.drop({ all: true })
  })

  test('that is stale is replaced, and its template is removed', async () => {
    await tenancy.pool.fill()
    namespace.writeMigrations({ ...migrations, '002_b.sql': 'CREATE TABLE b (x int)' })
    const newer = open(namespace)
    expect(await newer.pool.status()).toMatchObject([{ ready: 0, stale: 2 }])
    const { checks } = await newer.doctor()
    expect(checks.find(({ check }) => check === 'stock')).toMatchObject({
      status: 'warning',
      message: '0 of 2 tenants are ready, 2 more are copies of an older template',
      fix: 'tenantctl pool fill',
    })
    const old = checks.filter(({ check }) => check === 'template')
    // With seeds and without.
    expect(old).toHaveLength(2)
    for (const { status, message } of old) {
      expect(status).toBe('warning')
      expect(message).toMatch(
        /^template "tenantctl_template_\w+" \([\d.]+ MB, built .*Z\) is old: it lacks migration 002_b.sql\. New/,
      )
    }
    expect(await newer.tenants.create({ name: 'newer' })).toMatchObject({ schemaVersion: '002_b' })
    expect(await newer.pool.fill()).toMatchObject([{ ready: 2, stale: 0, made: 2, removed: 2 }])
    const fixed = (await newer.doctor({ fix: true })).checks.filter(({ check }) => check === 'template')
    expect(fixed.map(each => each.fixed)).toEqual([true, true])
    const left = await namespace.superSql(
      "SELECT datname AS name FROM pg_database WHERE datname ~ '^tenantctl_template' AND datdba = $1::regrole",
      [`${namespace.prefix}_admin`],
    )
    expect(left).toHaveLength(1)
    expect((await newer.doctor()).checks.filter(({ check }) => ['template', 'stock'].includes(check))).toEqual([
      { check: 'stock', status: 'ok', server: 'default', message: '2 of 2 tenants are ready' },
    ])
    await newer.tenants.drop({ all: true })
    await newer.pool.fill({ size: 0 })
    await newer.close()
    namespace.writeMigrations(migrations)
  })

  test('goes although another tenant has granted its role something, and holds up no filling where it cannot', async () => {
    await tenancy.tenants.create({ name: 'generous' })
    await tenancy.pool.fill()
    const found = await namespace.superSql<{ role: string }>(
      `SELECT datname::text AS role FROM pg_database
        WHERE datname ~ '^tenantctl_ready_' AND datdba = '${namespace.prefix}_admin'::regrole ORDER BY 1`,
    )
    const url = (await tenancy.tenants.url('generous', { role: 'migrator' })).reveal()
    await sql(
      url,
      `CREATE TABLE g (x int); GRANT SELECT ON g TO "${found[0]?.role}"; CREATE POLICY p ON g TO "${found[1]?.role}" USING (true)`,
    )
    expect(await tenancy.pool.fill({ size: 0 })).toMatchObject([{ ready: 0, removed: 1, unfinished: 1 }])
    await sql(url, 'DROP POLICY p ON g')
    expect(await tenancy.pool.fill({ size: 0 })).toMatchObject([{ ready: 0, removed: 1, unfinished: 0 }])
    await tenancy.tenants.drop({ tenants: ['generous'] }, { force: true })
    await tenancy.pool.fill()
  })

  test('that is not as it was is told, never given out, and replaced', async () => {
    await tenancy.pool.fill()
    const [broken] = (await stockNames(namespace)).filter(name => name.startsWith('tenantctl_ready_'))
    await namespace.superSql(`ALTER ROLE ${broken} LOGIN`)
    expect(await problems()).toEqual([`ready tenant "${broken}": role "${broken}" may log in`])
    told.length = 0
    // The oldest is given out first.
    await tenancy.tenants.createMany([{ name: 'first' }, { name: 'second' }], { concurrency: 1 })
    expect(told.filter(each => /stock/.test(each))).toEqual([
      `not taken from the stock: database "${broken}" is not as it was put there`,
    ])
    expect(await problems()).toContain(`ready tenant "${broken}" was to be removed, and is still there`)
    expect(await tenancy.repair()).toMatchObject({ leftovers: [{ name: broken, status: 'removed' }] })
    expect((await stockNames(namespace)).filter(name => name.startsWith('tenantctl_'))).toEqual([])
    await tenancy.pool.fill()
    const [gone] = (await stockNames(namespace)).filter(name => name.startsWith('tenantctl_ready_'))
    await namespace.superSql(`DROP DATABASE ${gone}`)
    expect(await problems(true)).toEqual([`fixed: ready tenant "${gone}": the database is missing`])
    expect(await tenancy.pool.fill()).toMatchObject([{ ready: 2, made: 1, removed: 0 }])
    await tenancy.tenants.drop({ all: true })
  })

  test('that cannot be removed keeps nobody from making others', async () => {
    await tenancy.pool.fill()
    const [stuck] = (await stockNames(namespace)).filter(name => name.startsWith('tenantctl_ready_')) as [string]
    await namespace.superSql(`ALTER DATABASE ${stuck} RENAME TO ${namespace.prefix}_elsewhere`)
    told.length = 0
    expect(await tenancy.pool.fill()).toMatchObject([{ ready: 2, made: 1, removed: 0, unfinished: 1 }])
    expect(told.filter(each => /cannot be removed/.test(each))).toEqual([
      expect.stringContaining(`ready tenant "${stuck}" cannot be removed: `),
    ])
    await namespace.superSql(`ALTER DATABASE ${namespace.prefix}_elsewhere RENAME TO ${stuck}`)
    expect(await tenancy.pool.fill({ size: 0 })).toMatchObject([{ ready: 0, removed: 3, unfinished: 0 }])
    expect(await stockNames(namespace)).toEqual([])
  })

  test('gives back nothing of a tenant whose creation failed: it goes with the tenant', async () => {
    const failing = open(namespace, { hooks: { afterCreate: () => Promise.reject(new Error('no')) } })
    await expect(failing.tenants.create({ name: 'hooked' })).rejects.toMatchObject({ code: 'HOOK_FAILED' })
    await expect(failing.tenants.create({ name: 'again' })).rejects.toMatchObject({ code: 'HOOK_FAILED' })
    await failing.close()
    // Half-made: finished from where it stopped, or dropped.
    expect(await tenancy.tenants.create({ name: 'hooked' })).toMatchObject({ status: 'active' })
    expect(await sql((await tenancy.tenants.url('hooked')).reveal(), 'SELECT x FROM a')).toHaveLength(2)
    await tenancy.tenants.drop({ tenants: ['again'] }, { retain: '1 day' })
    await tenancy.tenants.undrop('again')
    expect(await tenancy.tenants.create({ name: 'again' })).toMatchObject({ status: 'active' })
    await tenancy.tenants.drop({ all: true })
    expect(await stockNames(namespace)).toEqual([])
    expect(await tenancy.pool.status()).toMatchObject([{ ready: 0, stale: 0, unfinished: 0 }])
  })

  test('a name that is in the way fails the create, and what was taken goes with the drop', async () => {
    await tenancy.pool.fill()
    const name = `${namespace.tenantPrefix}late`
    const queued = await tenancy.queue.create({ name: 'late' })
    await namespace.superSql(`CREATE ROLE ${name}`)
    await expect(tenancy.tenants.create({ name: 'late' })).rejects.toMatchObject({
      code: 'ROLE_EXISTS',
      step: 'takeReady',
    })
    await tenancy.tenants.drop({ tenants: ['late'] })
    await namespace.superSql(`DROP ROLE ${name}`)
    expect(queued.tenant.status).toBe('provisioning')
    expect(await tenancy.pool.status()).toMatchObject([{ ready: 1, unfinished: 0 }])
    expect((await stockNames(namespace)).filter(each => each.startsWith('tenantctl_'))).toHaveLength(2)
  })

  test('is filled by a worker, and by one at a time', async () => {
    const stop = new AbortController()
    const working = tenancy.queue.work({ signal: stop.signal })
    await expect.poll(async () => (await tenancy.pool.status())[0]?.ready, { timeout: 10_000 }).toBe(2)
    stop.abort()
    await working
    await tenancy.pool.fill({ size: 0 })
    const filled = await Promise.all([tenancy.pool.fill({ size: 1 }), tenancy.pool.fill({ size: 1 })])
    expect(
      filled
        .flat()
        .map(each => each.made)
        .sort(),
    ).toEqual([0, 1])
  })

  test('is not kept without templates, nor filled for those who would not take it', async () => {
    expect(() => open(namespace, { template: false })).toThrow(/pool\.size: expected 0/)
    const without = open(namespace, { pool: {} })
    await expect(without.pool.fill({ size: 1 })).rejects.toMatchObject({ code: 'USAGE' })
    expect(await without.pool.fill()).toMatchObject([{ size: 0, ready: 0, removed: 1 }])
    await without.close()
    namespace.writeMigrations({})
    namespace.writeSeeds({})
    const empty = open(namespace)
    await expect(empty.pool.fill()).rejects.toMatchObject({
      code: 'PROVISIONING_FAILED',
      message: expect.stringMatching(/there are no migrations, seeds or extensions/),
    })
    await empty.close()
  })
})
