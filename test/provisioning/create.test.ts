import { beforeEach, describe, expect, test } from 'vitest'
import type { TenancyEvent } from '../../src/events.ts'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { withClient } from '../../src/postgres/connect.ts'
import { sqlError, tryLogin, urlWith } from '../support/client.ts'
import { type Namespace, useNamespace } from '../support/namespace.ts'

const migrations = { '001_notes.sql': 'CREATE TABLE notes (text text NOT NULL);' }
const seeds = { '01_notes.sql': "INSERT INTO notes VALUES ('hello');" }

function prepare(namespace: Namespace): () => Tenancy {
  let tenancy: Tenancy
  beforeEach(() => {
    namespace.writeMigrations(migrations)
    namespace.writeSeeds(seeds)
    tenancy ??= namespace.track(createTenancy(namespace.config()))
  })
  return () => tenancy
}

/** Over the tenant's own login. */
const notes = async (tenancy: Tenancy, slug: string) =>
  withClient(parseAddress(await tenancy.tenants.url(slug)), {}, async client => {
    const { rows } = await client.query('SELECT text FROM notes')
    return rows.map(row => row.text)
  })

describe.each(['plain', 'superuser'] as const)('with an admin that is %s', admin => {
  const namespace = useNamespace({ admin })
  const tenancy = prepare(namespace)

  test('a tenant has its role, its database, its schema and its rows', async () => {
    const events: TenancyEvent[] = []
    const made = await tenancy().tenants.create(
      { name: 'Acme', labels: { plan: 'pro' } },
      { onEvent: event => void events.push(event) },
    )
    const database = `${namespace.tenantPrefix}acme`
    expect(made).toMatchObject({
      ...{ slug: 'acme', name: 'Acme', status: 'active', server: 'default', labels: { plan: 'pro' }, created: true },
      ...{ database, username: database, schemaVersion: '001_notes' },
    })
    expect(await notes(tenancy(), 'acme')).toEqual(['hello'])
    const steps = events.flatMap(event => (event.event === 'step_finished' ? [event.step] : []))
    const names = [
      'reserve',
      'createRole',
      'createDatabase',
      'installExtensions',
      'grantAccess',
      'takeOwnership',
      'migrate',
      'seed',
      'afterCreate',
      'activate',
    ]
    expect(steps).toEqual(names)
    const [operation] = await tenancy().operations.list({ tenant: 'acme' })
    expect(operation).toMatchObject({ kind: 'create', status: 'succeeded', error: null })
    expect(operation?.steps.map(step => [step.name, step.status])).toEqual(names.map(name => [name, 'done']))
  })

  test('its role owns schema public and nothing around it', async () => {
    const url = (await tenancy().tenants.url('acme')).reveal()
    const other = await tenancy().tenants.create({ name: 'Globex' })
    expect(await tryLogin(url)).toMatchObject({ ok: true, user: `${namespace.tenantPrefix}acme` })
    for (const database of [other.database, `${namespace.prefix}_registry`]) {
      expect(await tryLogin(urlWith(url, { database }))).toMatchObject({ ok: false, code: '42501' })
    }
    const database = `${namespace.tenantPrefix}acme`
    for (const text of [
      `ALTER DATABASE ${database} SET search_path = evil`,
      `ALTER DATABASE ${database} CONNECTION LIMIT -1`,
      `COMMENT ON DATABASE ${database} IS 'mine'`,
      'CREATE ROLE other',
      'CREATE DATABASE other',
    ]) {
      expect(await sqlError(url, text)).toMatchObject({ code: '42501' })
    }
    const [row] = await namespace.superSql(
      `SELECT datacl::text AS acl, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = $1`,
      [database],
    )
    expect(row?.owner).toBe(`${namespace.prefix}_admin`)
    expect(row?.acl).not.toMatch(/[{,]=/)
  })

  test('is dropped without a trace but its operations', async () => {
    const result = await tenancy().tenants.drop({ all: true })
    expect(result).toMatchObject({ total: 2, succeeded: 2, failed: 0 })
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
    expect(await tenancy().tenants.list()).toEqual([])
    await expect(tenancy().tenants.get('acme')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    const kinds = (await tenancy().operations.list({ tenant: 'acme' })).map(each => [each.kind, each.status])
    expect(kinds).toEqual([
      ['drop', 'succeeded'],
      ['create', 'succeeded'],
    ])
  })

  test('can be made again under the same name, with another id', async () => {
    const made = await tenancy().tenants.create({ name: 'Acme' })
    expect(await notes(tenancy(), 'acme')).toEqual(['hello'])
    expect((await tenancy().operations.list({ tenant: made.id })).map(each => each.kind)).toEqual(['create'])
    await tenancy().tenants.drop({ tenants: ['acme'] })
  })
})

describe('names', () => {
  const namespace = useNamespace()
  const tenancy = prepare(namespace)

  test.each([
    ['Ácme & Söhne GmbH', 'acme-and-sohne-gmbh'],
    ['x"; DROP DATABASE postgres; --', 'x-drop-database-postgres'],
    [`${'Very Long Name '.repeat(13)}Inc.`, /^very-long-name-.*-[0-9a-f]{8}$/],
    ['شركة النور', /^[a-z][a-z0-9-]+$/],
    ["O'Neil \\ $$ %s $(x) `id`", /^[a-z][a-z0-9-]+$/],
  ])('%s becomes a tenant that works', async (name, slug) => {
    const made = await tenancy().tenants.create({ name })
    expect(made).toMatchObject({ name, slug: slug instanceof RegExp ? expect.stringMatching(slug) : slug })
    expect(Buffer.byteLength(made.database)).toBeLessThanOrEqual(63)
    expect(await notes(tenancy(), made.slug)).toEqual(['hello'])
    expect(await tenancy().tenants.drop({ tenants: [made.id] })).toMatchObject({ succeeded: 1 })
  })

  test('a database of any name at all can be asked for', async () => {
    const database = `${namespace.prefix} "Ünï"; --'\\%s`
    const made = await tenancy().tenants.create({ name: 'Odd', database })
    expect(made).toMatchObject({ database, username: database })
    expect(await notes(tenancy(), 'odd')).toEqual(['hello'])
    expect(parseAddress(await tenancy().tenants.url('odd'))).toMatchObject({ user: database, database })
    await tenancy().tenants.drop({ tenants: ['odd'] })
    expect((await namespace.leftovers()).databases).toEqual([])
  })

  test.each([
    { name: '' },
    { name: '!!!' },
    { name: 'x'.repeat(201) },
    { name: 'postgres' },
    { name: 'A', slug: 'Not A Slug' },
    { name: 'A', database: 'postgres' },
    { name: 'A', database: 'x'.repeat(64) },
  ])('%j is refused', async input => {
    const before = await namespace.leftovers()
    await expect(tenancy().tenants.create(input)).rejects.toMatchObject({ code: 'NAME_INVALID' })
    expect(await namespace.leftovers()).toEqual(before)
  })

  test('an unknown server is refused', async () => {
    await expect(tenancy().tenants.create({ name: 'A', server: 'defualt' })).rejects.toMatchObject({
      code: 'SERVER_NOT_FOUND',
      hint: 'did you mean default?',
    })
  })
})

describe('what is there already', () => {
  const namespace = useNamespace()
  const tenancy = prepare(namespace)

  test('an active tenant is TENANT_EXISTS, or returned unchanged when asked', async () => {
    const made = await tenancy().tenants.create({ name: 'Acme' })
    await expect(tenancy().tenants.create({ name: 'ACME' })).rejects.toMatchObject({
      code: 'TENANT_EXISTS',
      tenant: 'acme',
    })
    const again = await tenancy().tenants.create({ name: 'Another', slug: 'acme', ifNotExists: true })
    expect(again).toEqual({ ...made, created: false })
    expect(await notes(tenancy(), 'acme')).toEqual(['hello'])
  })

  test("another tenant's database cannot be had", async () => {
    await tenancy().tenants.create({ name: 'Acme', ifNotExists: true })
    await expect(
      tenancy().tenants.create({ name: 'Thief', database: `${namespace.tenantPrefix}acme` }),
    ).rejects.toMatchObject({ code: 'DATABASE_EXISTS', tenant: 'thief' })
    await expect(tenancy().tenants.get('thief')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
  })

  test.each([
    ['database', 'DATABASE_EXISTS'],
    ['role', 'ROLE_EXISTS'],
  ])('a foreign %s of the wanted name is a conflict and is left as it is', async (kind, code) => {
    const name = `${namespace.tenantPrefix}f_${kind}`
    await namespace.sql(kind === 'role' ? `CREATE ROLE ${name} PASSWORD 'x'` : `CREATE DATABASE ${name}`)
    await namespace.sql(`COMMENT ON ${kind} ${name} IS 'somebody else''s'`)
    const look = () =>
      namespace.superSql(
        `SELECT d.*, shobj_description(d.oid, $2) FROM ${kind === 'role' ? 'pg_authid' : 'pg_database'} d
          WHERE ${kind === 'role' ? 'rolname' : 'datname'} = $1`,
        [name, kind === 'role' ? 'pg_authid' : 'pg_database'],
      )
    const before = await look()
    await expect(tenancy().tenants.create({ name: `f ${kind}` })).rejects.toMatchObject({
      code,
      hint: expect.stringContaining('--database'),
    })
    expect(await look()).toEqual(before)
    await expect(tenancy().tenants.get(`f-${kind}`)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
  })

  test('one that appears between the steps is not taken over, nor dropped with the tenant', async () => {
    const name = `${namespace.tenantPrefix}late`
    const controller = new AbortController()
    const onEvent = (event: TenancyEvent) => {
      if (event.event === 'step_started' && event.step === 'createDatabase') controller.abort()
    }
    await expect(
      tenancy().tenants.create({ name: 'Late' }, { signal: controller.signal, onEvent }),
    ).rejects.toMatchObject({ code: 'ABORTED' })
    await namespace.sql(`CREATE DATABASE ${name}`)
    await namespace.sql('CREATE TABLE theirs ()', [], name)
    await expect(tenancy().tenants.create({ name: 'Late' })).rejects.toMatchObject({
      code: 'DATABASE_EXISTS',
      step: 'createDatabase',
    })
    expect(await tenancy().tenants.drop({ tenants: ['late'] })).toMatchObject({ succeeded: 1 })
    expect(await namespace.sql("SELECT to_regclass('theirs')::text AS name", [], name)).toEqual([{ name: 'theirs' }])
    expect((await namespace.leftovers()).roles).not.toContain(name)
  })
})

describe('at once', () => {
  const namespace = useNamespace()
  const tenancy = prepare(namespace)

  test('of two creates of one tenant, one makes it and the other says so', async () => {
    const second = namespace.track(createTenancy(namespace.config()))
    const results = await Promise.allSettled([
      tenancy().tenants.create({ name: 'Twice' }),
      second.tenants.create({ name: 'Twice' }),
      tenancy().tenants.create({ name: 'Twice' }),
      second.tenants.create({ name: 'Twice' }),
    ])
    const errors = results.flatMap(result => (result.status === 'rejected' ? [result.reason.code] : []))
    expect(errors).toEqual(['TENANT_EXISTS', 'TENANT_EXISTS', 'TENANT_EXISTS'])
    expect(await notes(tenancy(), 'twice')).toEqual(['hello'])
    expect(await tenancy().tenants.get('twice')).toMatchObject({ status: 'active' })
  })

  test('with ifNotExists all of them return it', async () => {
    const second = namespace.track(createTenancy(namespace.config()))
    const input = { name: 'Thrice', ifNotExists: true }
    const made = await Promise.all([
      tenancy().tenants.create(input),
      second.tenants.create(input),
      tenancy().tenants.create(input),
      second.tenants.create(input),
    ])
    expect(made.map(each => each.created).sort()).toEqual([false, false, false, true])
    expect(new Set(made.map(each => each.id)).size).toBe(1)
    expect(await notes(tenancy(), 'thrice')).toEqual(['hello'])
  })

  test('create and drop leave either all or nothing', async () => {
    const second = namespace.track(createTenancy(namespace.config()))
    for (let round = 0; round < 4; round += 1) {
      await Promise.allSettled([
        tenancy().tenants.create({ name: 'Seesaw' }),
        second.tenants.drop({ tenants: ['seesaw'] }, { force: true }),
      ])
    }
    const rows = (await tenancy().tenants.list()).filter(each => each.slug === 'seesaw')
    const { databases, roles } = await namespace.leftovers()
    const there = [databases, roles].map(names => names.filter(name => name.endsWith('seesaw')).length)
    expect(there).toEqual([rows.length, rows.length])
    await tenancy().tenants.create({ name: 'Seesaw', ifNotExists: true })
    expect(await tenancy().tenants.get('seesaw')).toMatchObject({ status: 'active' })
  })
})

test.each([
  ['a migration that cannot be read', { '001_a.sql': "SELECT '" }, seeds, 'MIGRATIONS_INVALID'],
  ['a seed that cannot be read', migrations, { '01_a.sql': 'COMMIT;' }, 'MIGRATIONS_INVALID'],
])('%s leaves nothing behind', async (_, badMigrations, badSeeds, code) => {
  nothing.writeMigrations(badMigrations)
  nothing.writeSeeds(badSeeds)
  const tenancy = nothing.track(createTenancy(nothing.config()))
  await expect(tenancy.tenants.create({ name: 'Acme' })).rejects.toMatchObject({ code })
  expect(await tenancy.tenants.list()).toEqual([])
  expect(await nothing.leftovers()).toEqual({ databases: [], roles: [] })
})

const nothing = useNamespace()
