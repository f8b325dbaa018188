import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const database = `${namespace.prefix}_registry`
const registry = (text: string, values?: unknown[]) => namespace.superSql(text, values, database)

test('is created on first use, by one of several at once, and nobody else may connect', async () => {
  const tenancies = Array.from({ length: 4 }, () => namespace.track(createTenancy(namespace.config())))
  await Promise.all(tenancies.map(tenancy => tenancy.registry.install()))
  expect(await registry('SELECT count(*)::int FROM tenantctl.registry')).toEqual([{ count: 1 }])
  expect(await registry('SELECT name FROM tenantctl.servers')).toEqual([{ name: 'default' }])
  expect((await namespace.leftovers()).databases).toEqual([])
  await namespace.superSql(`CREATE ROLE ${namespace.prefix}_guest LOGIN PASSWORD 'guest'`)
  const guest = urlWith(namespace.superUrl, { database, user: `${namespace.prefix}_guest`, password: 'guest' })
  expect(await tryLogin(guest)).toMatchObject({ ok: false, code: '42501' })
})

test('is left as it is when it is up to date', async () => {
  const before = await registry('SELECT * FROM tenantctl.knex_migrations ORDER BY id')
  const tenancy = namespace.track(createTenancy(namespace.config()))
  expect(await tenancy.tenants.list()).toEqual([])
  expect(await registry('SELECT * FROM tenantctl.knex_migrations ORDER BY id')).toEqual(before)
})

test('of a newer tenantctl is refused, and left as it is', async () => {
  await registry(
    "INSERT INTO tenantctl.knex_migrations (name, batch, migration_time) VALUES ('999_future.sql', 9, now())",
  )
  const tenancy = namespace.track(createTenancy(namespace.config()))
  await expect(tenancy.tenants.list()).rejects.toMatchObject({
    code: 'REGISTRY_TOO_NEW',
    message: expect.stringContaining('999_future.sql'),
  })
  await registry("DELETE FROM tenantctl.knex_migrations WHERE name = '999_future.sql'")
  expect(await tenancy.tenants.list()).toEqual([])
})

test('can share a database with an application', async () => {
  const shared = `${namespace.prefix}_app`
  await namespace.sql(`CREATE DATABASE ${shared}`)
  await namespace.sql('CREATE TABLE tenants (id int); CREATE TABLE knex_migrations (id int)', [], shared)
  const url = urlWith(namespace.adminUrl, { database: shared })
  const tenancy = namespace.track(createTenancy(namespace.config({ registry: { url } })))
  expect(await tenancy.tenants.list()).toEqual([])
  expect(await namespace.sql('SELECT * FROM tenants, knex_migrations', [], shared)).toEqual([])
})

test('out of reach: the server is named, never the password, and the next call tries again', async () => {
  const url = urlWith(namespace.registryUrl, { password: 'wrong-secret' })
  const tenancy = namespace.track(createTenancy(namespace.config({ registry: { url } })))
  const error = await tenancy.tenants.list().catch((thrown: Error) => thrown)
  expect(error).toMatchObject({ code: 'AUTHENTICATION_FAILED' })
  expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain('wrong-secret')
  const nowhere = namespace.track(
    createTenancy(namespace.config({ registry: { url: 'postgresql://someone:wrong-secret@127.0.0.1:1/x' } })),
  )
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await expect(nowhere.tenants.list()).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
      message: expect.stringContaining('127.0.0.1:1'),
    })
  }
})

test('a tenancy that was closed says so', async () => {
  const tenancy = createTenancy(namespace.config())
  await tenancy.tenants.list()
  await tenancy.close()
  await tenancy.close()
  await expect(tenancy.tenants.list()).rejects.toMatchObject({ code: 'CLOSED' })
})
