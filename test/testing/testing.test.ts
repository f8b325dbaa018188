import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestTenants, type TestTenants } from '../../src/testing/test-tenants.ts'
import { useNamespace } from '../support/namespace.ts'

// Its own server would be another start: the namespace's admin is one, and its prefix keeps the names apart.
const namespace = useNamespace({ allowSessions: true })
let tenants: TestTenants
const options = () => ({
  url: namespace.adminUrl,
  migrations: { directory: namespace.migrationsDirectory },
  seeds: { directory: namespace.seedsDirectory },
})
const start = () => createTestTenants(options())

beforeAll(async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
  await namespace.writeSeeds({ '01.sql': 'INSERT INTO t VALUES (1)' })
  tenants = await start()
})

afterAll(async () => {
  await tenants.close()
  await namespace.superSql('DROP DATABASE IF EXISTS tenantctl_test WITH (FORCE)')
})

test('every tenant is fresh, migrated and seeded, and apart from the others', async () => {
  const [one, two] = await Promise.all([tenants.create(), tenants.create({ name: 'Second', seed: false })])
  await one.knex('t').insert({ a: 2 })
  expect(await one.knex('t').orderBy('a')).toEqual([{ a: 1 }, { a: 2 }])
  expect(await two.knex('t')).toEqual([])
  expect(one.url).toContain(one.database)
})

test('a project without seeds has tenants without them', async () => {
  const { url, directory, migrations } = { ...options(), directory: namespace.directory }
  const bare = await createTestTenants({ url, directory, migrations })
  const { knex } = await bare.create()
  expect(await knex('t')).toEqual([])
  await bare.close()
})

test('what a dead process left behind is removed by the next one', async () => {
  const dead = Number(execFileSync(process.execPath, ['-p', 'process.pid']).toString())
  const { slug, labels } = await tenants.create()
  await namespace.sql(
    'UPDATE tenantctl.tenants SET labels = $2 WHERE slug = $1',
    [slug, JSON.stringify({ ...labels, testPid: String(dead) })],
    'tenantctl_test',
  )
  const next = await start()
  await expect(next.tenancy.tenants.get(slug)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
  expect((await next.tenancy.tenants.list()).length).toBeGreaterThan(0)
  await next.close()
})
