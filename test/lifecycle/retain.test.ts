import pg from 'pg'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

describe.each(['single', 'separate'] as const)('drop --retain, undrop and purge, roles: %s', roles => {
  const namespace = useNamespace({ admin: roles === 'separate' ? 'superuser' : 'plain' })
  const acme = { tenants: ['acme'] } as const
  let tenancy: Tenancy

  beforeAll(() => {
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)' })
    tenancy = namespace.track(createTenancy(namespace.config({ roles })))
  })

  beforeEach(async () => {
    await tenancy.tenants.unprotect({ all: true })
    await tenancy.tenants.drop({ all: true }, { force: true, retain: false })
    await expire()
    await tenancy.tenants.purge({ max: 100 })
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
  })

  /** Lets the time of all tombstones be over. */
  async function expire(): Promise<void> {
    const text = "UPDATE tenantctl.tenants SET retained_until = now() - interval '1 s' WHERE retained_until IS NOT NULL"
    await namespace.sql(text, [], `${namespace.prefix}_registry`)
  }

  async function makeAcme(body: string, options: { slug?: string } = {}): Promise<string> {
    const { id, slug } = await tenancy.tenants.create({ name: 'Acme', labels: { plan: 'pro' }, ...options })
    await (await tenancy.connections.get(slug)).table('notes').insert({ body })
    return id
  }

  test('a dropped tenant is out of sight, its slug and names are free, and it comes back whole', async () => {
    const id = await makeAcme('first')
    const before = await tenancy.tenants.get('acme')
    const url = (await tenancy.tenants.url('acme')).reveal()
    const acl = () => namespace.sql('SELECT datacl::text FROM pg_database WHERE datname = $1', [before.database])
    const aclBefore = await acl()
    const result = await tenancy.tenants.drop(acme, { retain: '7d' })
    expect(result.tenants).toMatchObject([{ tenant: 'acme', status: 'dropped', retainedUntil: expect.any(String) }])
    const days = (Date.parse(result.tenants[0]?.retainedUntil ?? '') - Date.now()) / 86_400_000
    expect(days).toBeGreaterThan(6.99)
    expect(days).toBeLessThan(7.01)

    expect(await tenancy.tenants.list()).toEqual([])
    await expect(tenancy.tenants.get('acme')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    await expect(tenancy.tenants.get(id)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    expect((await tryLogin(url)).ok).toBe(false)
    const tombstone = `tenantctl_old_${id.replaceAll('-', '')}`
    const [retained] = await tenancy.tenants.retained()
    expect(retained).toMatchObject({
      ...{ id, slug: 'acme', name: 'Acme', labels: { plan: 'pro' }, database: tombstone, username: tombstone },
      ...{ formerDatabase: before.database, formerUsername: before.username, formerStatus: 'active', expired: false },
    })

    const restored = await tenancy.tenants.undrop('acme')
    expect({ ...restored, updatedAt: '' }).toEqual({ ...before, updatedAt: '' })
    expect(await acl()).toEqual(aclBefore)
    expect(await sql(url, 'SELECT * FROM notes')).toEqual([{ body: 'first' }])
    expect(await tenancy.tenants.retained()).toEqual([])
    expect((await tenancy.migrations.status(acme)).upToDate).toBe(1)
    const kinds = (await tenancy.operations.list({ tenant: id, limit: 2 })).map(({ kind, status }) => [kind, status])
    expect(kinds).toEqual([
      ['undrop', 'succeeded'],
      ['drop', 'succeeded'],
    ])
  })

  test('a slug that is taken meanwhile: another one, and names after it', async () => {
    const first = await makeAcme('first')
    await tenancy.tenants.drop(acme, { retain: '7d' })
    await makeAcme('second')
    await expect(tenancy.tenants.undrop('acme')).rejects.toMatchObject({
      code: 'TENANT_EXISTS',
      hint: expect.stringContaining('--slug'),
    })
    const restored = await tenancy.tenants.undrop('acme', { slug: 'acme-old' })
    expect(restored).toMatchObject({ id: first, slug: 'acme-old', database: `${namespace.tenantPrefix}acme_old` })
    expect(await (await tenancy.connections.get('acme-old')).table('notes')).toEqual([{ body: 'first' }])
    expect(await (await tenancy.connections.get('acme')).table('notes')).toEqual([{ body: 'second' }])
    // Migrations too, which with separate roles act as an owner that has a new name now.
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)', '002.sql': 'CREATE TABLE more (a int)' })
    const again = namespace.track(createTenancy(namespace.config({ roles })))
    const migrated = await again.migrations.run({ all: true })
    expect(migrated.tenants).toMatchObject([{ status: 'migrated' }, { status: 'migrated' }])
    await again.close()
    namespace.writeMigrations({ '001.sql': 'CREATE TABLE notes (body text)' })
    expect((await tenancy.tenants.drop({ all: true }, { force: true })).succeeded).toBe(2)
  })

  test('several of one slug are told apart by their ids', async () => {
    const ids: string[] = []
    for (const body of ['first', 'second']) {
      ids.push(await makeAcme(body))
      await tenancy.tenants.drop(acme, { retain: '7d' })
    }
    const ambiguous = await tenancy.tenants.undrop('acme').catch(error => error)
    expect(ambiguous).toMatchObject({ code: 'TENANT_AMBIGUOUS' })
    for (const id of ids) expect(ambiguous.hint).toContain(id)
    await tenancy.tenants.undrop(ids[0] as string)
    expect(await (await tenancy.connections.get('acme')).table('notes')).toEqual([{ body: 'first' }])
    await expect(tenancy.tenants.undrop('nobody')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    await expect(tenancy.tenants.undrop(ids[0] as string)).rejects.toMatchObject({ code: 'TENANT_EXISTS' })
  })

  test('a foreign database under the former name is left alone', async () => {
    await makeAcme('first')
    await tenancy.tenants.drop(acme, { retain: '7d' })
    const name = `${namespace.tenantPrefix}acme`
    await namespace.superSql(`CREATE DATABASE "${name}"`)
    await expect(tenancy.tenants.undrop('acme')).rejects.toMatchObject({ code: 'DATABASE_EXISTS' })
    expect(await tenancy.tenants.undrop('acme', { slug: 'other' })).toMatchObject({ slug: 'other', status: 'active' })
    await namespace.superSql(`DROP DATABASE "${name}"`)
  })

  test('a suspended tenant comes back suspended', async () => {
    await makeAcme('first')
    const url = (await tenancy.tenants.url('acme')).reveal()
    await tenancy.tenants.suspend(acme)
    await tenancy.tenants.drop(acme, { retain: '7d' })
    expect((await tenancy.tenants.undrop('acme')).status).toBe('suspended')
    expect((await tryLogin(url)).ok).toBe(false)
    await tenancy.tenants.resume(acme)
    expect((await tryLogin(url)).ok).toBe(true)
  })

  test('open connections: refused as if nothing had been begun, ended by force', async () => {
    await makeAcme('first')
    const url = (await tenancy.tenants.url('acme')).reveal()
    const client = new pg.Client({ connectionString: url })
    const ended = new Promise(resolve => client.on('error', resolve))
    await client.connect()
    const refused = await tenancy.tenants.drop(acme, { retain: '7d' })
    expect(refused.tenants[0]?.error).toMatchObject({ code: 'CONNECTIONS_OPEN' })
    expect((await tenancy.tenants.get('acme')).status).toBe('active')
    expect((await client.query('SELECT body FROM notes')).rows).toEqual([{ body: 'first' }])
    expect((await tryLogin(url)).ok).toBe(true)
    expect((await tenancy.tenants.drop(acme, { retain: '7d', force: true })).succeeded).toBe(1)
    await ended
  })

  test('the configuration may keep by default, and retain: false overrides it', async () => {
    const keeping = namespace.track(createTenancy(namespace.config({ roles, drop: { retain: '30d' } })))
    await makeAcme('first')
    expect((await keeping.tenants.drop(acme, { force: true })).tenants[0]?.retainedUntil).toBeDefined()
    await makeAcme('second')
    expect((await keeping.tenants.drop(acme, { force: true, retain: false })).tenants[0]).not.toHaveProperty(
      'retainedUntil',
    )
    expect(await keeping.tenants.retained()).toHaveLength(1)
    await expect(keeping.tenants.drop(acme, { retain: 'soon' })).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    await makeAcme('third')
    await expect(keeping.tenants.drop(acme, { retain: 'soon' })).rejects.toMatchObject({ code: 'USAGE' })
    await keeping.close()
  })

  test('purge removes what has expired, and not more than it may at once', async () => {
    const ids: string[] = []
    for (const body of ['a', 'b', 'c']) {
      ids.push(await makeAcme(body))
      await tenancy.tenants.drop(acme, { retain: '7d' })
    }
    expect(await tenancy.tenants.purge()).toMatchObject({ command: 'purge', total: 0 })
    await expire()
    const told = await tenancy.tenants.purge({ dryRun: true, max: 1 })
    expect(told).toMatchObject({ total: 3, skipped: 3, succeeded: 0 })
    expect(told.tenants[0]?.reason).toContain('would be removed')
    await expect(tenancy.tenants.purge({ max: 2 })).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(await tenancy.tenants.retained()).toHaveLength(3)
    // While it is there, its time being over is no reason not to bring it back.
    await tenancy.tenants.undrop(ids[0] as string)
    const purged = await tenancy.tenants.purge({ max: 2 })
    expect(purged).toMatchObject({ total: 2, succeeded: 2, tenants: [{ status: 'purged' }, { status: 'purged' }] })
    expect(purged.tenants.map(each => each.id).sort()).toEqual(ids.slice(1).sort())
    expect(await tenancy.tenants.retained()).toEqual([])
    expect((await namespace.leftovers()).databases).toEqual([`${namespace.tenantPrefix}acme`])
    expect(await (await tenancy.connections.get('acme')).table('notes')).toEqual([{ body: 'a' }])
  })
})
