/** A tenant that uses its rights over its own role to stay: whatever takes rights away gets through all the same. */
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { lockKey } from '../../src/postgres/locks.ts'
import { sql, tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { everySetting } from './support.ts'

// The admin's rights make the difference, and whether the login is the role that owns: two of the four tell both.
const settings = everySetting().filter(({ admin, roles }) => (admin === 'plain') === (roles === 'single'))

describe.each(settings)('a tenant of a $admin admin that will not go, roles $roles', ({ admin, roles }) => {
  const namespace = useNamespace({ admin })
  let tenancy: Tenancy

  beforeAll(async () => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (id int)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
  })
  afterAll(() => tenancy.close())

  async function made(name: string): Promise<string> {
    await tenancy.tenants.create({ name })
    return (await tenancy.tenants.url(name)).reveal()
  }

  /** Holds the rows of its role and of its database in the shared catalogs, from a database that is not its own. */
  async function holdRows(url: string): Promise<pg.Client> {
    const client = new pg.Client(urlWith(url, { database: 'postgres' }))
    client.on('error', () => undefined)
    await client.connect()
    const database = decodeURIComponent(new URL(url).pathname.slice(1))
    // Grants nothing, which is a mere warning, and writes the row anew all the same.
    await client.query(
      `BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; GRANT CONNECT ON DATABASE "${database}" TO PUBLIC`,
    )
    return client
  }

  test.each(['suspend', 'rotatePassword', 'drop'] as const)('cannot hold up %s by locks on its rows', async what => {
    const name = `hold-${what.toLowerCase()}`
    const url = await made(name)
    const client = await holdRows(url)
    const begun = performance.now()
    const result =
      what === 'drop'
        ? await tenancy.tenants.drop({ tenants: [name] }, { force: true })
        : await tenancy.tenants[what]({ tenants: [name] })
    expect(result.tenants).toMatchObject([
      { tenant: name, status: what === 'drop' ? 'dropped' : what === 'suspend' ? 'suspended' : 'rotated' },
    ])
    expect(performance.now() - begun).toBeLessThan(10_000)
    await client.end().catch(() => undefined)
    expect((await tryLogin(url)).ok).toBe(false)
  })

  test.each(['suspend', 'rotatePassword'] as const)(
    'cannot take the admin the right to end its sessions before %s',
    async what => {
      const name = `revoke-${what.toLowerCase()}`
      const url = await made(name)
      await sql(url, `REVOKE "${new URL(url).username}" FROM "${namespace.prefix}_admin"`).catch(() => undefined)
      const client = new pg.Client(url)
      const ended = new Promise(resolve => client.on('error', resolve))
      await client.connect()
      expect((await tenancy.tenants[what]({ tenants: [name] })).tenants).toMatchObject([
        { status: what === 'suspend' ? 'suspended' : 'rotated' },
      ])
      await ended
    },
  )

  test('keeps no password of its own by setting it while it gets a new one', async () => {
    const url = await made('password')
    const client = new pg.Client(url)
    let ended = false
    client.on('error', () => {
      ended = true
    })
    await client.connect()
    const insist = (async () => {
      while (!ended) await client.query("ALTER ROLE CURRENT_USER PASSWORD 'mine'").catch(() => undefined)
    })()
    const result = await tenancy.tenants.rotatePassword({ tenants: ['password'] })
    expect(result.tenants).toMatchObject([{ status: 'rotated' }])
    await insist
    expect((await tryLogin(urlWith(url, { password: 'mine' }))).ok).toBe(false)
    expect((await tryLogin((await tenancy.tenants.url('password')).reveal())).ok).toBe(true)
  })

  test('cannot keep others out by their locks, or pass for being worked on, in a database that it may enter', async () => {
    // Tenants of the default server are locked in the registry, where no tenant comes in.
    const other = namespace.track(
      createTenancy(namespace.config({ roles, servers: { other: { url: namespace.adminUrl } } })),
    )
    for (const name of ['squatter', 'squatted']) await other.tenants.create({ name, server: 'other' })
    const squatted = await other.tenants.get('squatted')
    const [comment] = await namespace.sql<{ marker: string }>(
      "SELECT shobj_description(oid, 'pg_authid') AS marker FROM pg_roles WHERE rolname = $1",
      [squatted.username],
    )
    const [, registryId = '', tenantId = ''] = comment?.marker.split(' ') ?? []
    const lock = `SELECT pg_advisory_lock(${lockKey('tenant', registryId, tenantId)})`
    const url = urlWith((await other.tenants.url('squatter')).reveal(), { database: 'postgres' })
    const clients = [new pg.Client(url), new pg.Client(url), new pg.Client(url)]
    const waiting: Promise<unknown>[] = []
    for (const client of clients) {
      client.on('error', () => undefined)
      await client.connect()
      waiting.push(client.query(lock).catch(() => undefined))
    }
    // Whichever of them was first.
    await Promise.race(waiting)
    await namespace.superSql(`ALTER ROLE "${squatted.username}" CREATEDB`)
    const { checks } = await other.doctor({ server: 'other' })
    expect(checks.filter(each => each.tenant === 'squatted')).toMatchObject([{ check: 'attributes' }])
    await namespace.superSql(`ALTER ROLE "${squatted.username}" NOCREATEDB`)
    expect((await other.tenants.suspend({ tenants: ['squatted'] })).tenants).toMatchObject([{ status: 'suspended' }])
    await Promise.all(waiting)
    await other.tenants.drop({ tenants: ['squatter', 'squatted'] }, { force: true })
    await other.close()
  })
})
