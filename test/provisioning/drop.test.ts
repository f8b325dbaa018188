import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql, tryLogin } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let tenancy: Tenancy

beforeAll(() => {
  namespace.writeMigrations({ '001_notes.sql': 'CREATE TABLE notes (text text NOT NULL);' })
  tenancy = namespace.track(createTenancy(namespace.config()))
})

async function made(slug: string): Promise<{ url: string; database: string }> {
  const { database } = await tenancy.tenants.create({ name: slug })
  return { database, url: (await tenancy.tenants.url(slug)).reveal() }
}

const exists = async (name: string) => {
  const { databases, roles } = await namespace.leftovers()
  return [databases.includes(name), roles.includes(name)]
}

describe('open connections', () => {
  test('keep a tenant from being dropped, are named, and can go on', async () => {
    const { url, database } = await made('busy')
    const client = new pg.Client({ connectionString: url, application_name: 'billing' })
    await client.connect()
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
    const result = await tenancy.tenants.drop({ tenants: ['busy'] })
    expect(result).toMatchObject({ failed: 1, succeeded: 0 })
    expect(result.tenants[0]).toMatchObject({
      ...{ tenant: 'busy', status: 'failed' },
      error: {
        code: 'CONNECTIONS_OPEN',
        message: expect.stringContaining(`pid ${rows[0].pid} (${database}, billing from 127.0.0.1`),
        hint: expect.stringContaining('--force'),
      },
    })
    await client.query("INSERT INTO notes VALUES ('still here')")
    expect(await tenancy.tenants.get('busy')).toMatchObject({ status: 'active' })
    expect(await sql(url, 'SELECT text FROM notes')).toEqual([{ text: 'still here' }])
    await client.end()
    expect(await tenancy.tenants.drop({ tenants: ['busy'] })).toMatchObject({ succeeded: 1 })
    expect(await exists(database)).toEqual([false, false])
  })

  test('are ended with force', async () => {
    const { url, database } = await made('forced')
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    const ended = new Promise(resolve => client.once('end', resolve))
    expect(await tenancy.tenants.drop({ tenants: ['forced'] }, { force: true })).toMatchObject({ succeeded: 1 })
    await ended
    expect(await exists(database)).toEqual([false, false])
    expect(await tryLogin(url)).toMatchObject({ ok: false, code: '28P01' })
  })
})

describe('what does not carry the marker', () => {
  test.each(['DATABASE', 'ROLE'])('is not dropped: %s', async kind => {
    const { database, url } = await made(`foreign-${kind.toLowerCase()}`)
    const [before] = await namespace.sql<{ marker: string }>(
      `SELECT shobj_description(oid, 'pg_database') AS marker FROM pg_database WHERE datname = $1`,
      [database],
    )
    await namespace.sql(`COMMENT ON ${kind} ${database} IS 'tenantctl of somebody else'`)
    const result = await tenancy.tenants.drop({ tenants: [`foreign-${kind.toLowerCase()}`] }, { force: true })
    expect(result.tenants[0]).toMatchObject({ status: 'failed', error: { code: 'TENANT_MISMATCH' } })
    expect(await exists(database)).toEqual([true, true])
    expect(await tryLogin(url)).toMatchObject({ ok: true })
    expect(await tenancy.tenants.get(`foreign-${kind.toLowerCase()}`)).toMatchObject({ status: 'active' })
    await namespace.sql(`COMMENT ON ${kind} ${database} IS '${before?.marker}'`)
    expect(await tenancy.tenants.drop({ tenants: [`foreign-${kind.toLowerCase()}`] })).toMatchObject({ succeeded: 1 })
  })

  test('is not dropped: a database that the registry was edited to name', async () => {
    const [one, other] = [await made('edited'), await made('victim')]
    const rename = (slug: string, database: string) =>
      namespace.superSql(
        'UPDATE tenantctl.tenants SET db_name = $2 WHERE slug = $1',
        [slug, database],
        `${namespace.prefix}_registry`,
      )
    await rename('victim', 'elsewhere')
    await rename('edited', other.database)
    const result = await tenancy.tenants.drop({ tenants: ['edited'] }, { force: true })
    expect(result.tenants[0]).toMatchObject({ error: { code: 'TENANT_MISMATCH' } })
    expect(await exists(other.database)).toEqual([true, true])
    expect(await tryLogin(other.url)).toMatchObject({ ok: true })
    await rename('edited', one.database)
    await rename('victim', other.database)
    expect(await tenancy.tenants.drop({ tenants: ['edited', 'victim'] })).toMatchObject({ succeeded: 2 })
  })
})

describe('what is gone already', () => {
  test('does not keep the rest from being dropped', async () => {
    const { database } = await made('halfgone')
    await namespace.sql(`DROP DATABASE ${database}`)
    expect(await tenancy.tenants.drop({ tenants: ['halfgone'] })).toMatchObject({ succeeded: 1 })
    expect(await exists(database)).toEqual([false, false])
  })

  test('a database whose DROP was cut off is dropped', async () => {
    const { database } = await made('invalid')
    await namespace.superSql(`UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1`, [database])
    expect(await tenancy.tenants.drop({ tenants: ['invalid'] })).toMatchObject({ succeeded: 1 })
    expect(await exists(database)).toEqual([false, false])
  })
})

describe('selections', () => {
  test('an unknown tenant is TENANT_NOT_FOUND, or nothing when asked', async () => {
    await made('known')
    await expect(tenancy.tenants.drop({ tenants: ['known', 'knwon'] })).rejects.toMatchObject({
      code: 'TENANT_NOT_FOUND',
      hint: 'did you mean known?',
    })
    expect(await tenancy.tenants.drop({ tenants: ['knwon'] }, { ifExists: true })).toMatchObject({ total: 0 })
    expect(await tenancy.tenants.drop({ tenants: ['known', 'known', 'knwon'] }, { ifExists: true })).toMatchObject({
      total: 1,
      succeeded: 1,
    })
  })

  test('another number than was confirmed drops nothing', async () => {
    await tenancy.tenants.create({ name: 'counted', labels: { batch: '1' } })
    await expect(tenancy.tenants.drop({ labels: { batch: '1' } }, { expect: 2 })).rejects.toMatchObject({
      code: 'COUNT_MISMATCH',
    })
    expect(await tenancy.tenants.get('counted')).toMatchObject({ status: 'active' })
    expect(await tenancy.tenants.drop({ labels: { batch: '1' } }, { expect: 1 })).toMatchObject({ succeeded: 1 })
  })
})
