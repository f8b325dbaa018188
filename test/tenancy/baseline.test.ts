import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

test('baseline records what a database has already, runs nothing, and the next migrate goes on from there', async () => {
  await namespace.writeMigrations({})
  const bare = namespace.track(createTenancy(namespace.config()))
  await bare.tenants.create({ name: 'acme' })
  const url = (await bare.tenants.url('acme')).reveal()
  await sql(url, 'CREATE TABLE from_elsewhere (a int)')
  await bare.close()

  await namespace.writeMigrations({
    '001_old.sql': 'CREATE TABLE from_elsewhere (a int)',
    '002_older.mjs': 'export const up = () => { throw new Error("must not run") }\n',
    '003_new.sql': 'ALTER TABLE from_elsewhere ADD b int',
  })
  const tenancy = namespace.track(createTenancy(namespace.config()))
  await expect(tenancy.migrations.baseline({ all: true }, { to: 'nope' })).rejects.toMatchObject({
    code: 'MIGRATION_NOT_FOUND',
  })
  const { tenants } = await tenancy.migrations.baseline({ all: true }, { to: '002_older' })
  expect(tenants).toMatchObject([
    { status: 'baselined', from: null, to: '002_older', applied: ['001_old', '002_older'] },
  ])
  expect((await tenancy.tenants.get('acme')).schemaVersion).toBe('002_older')
  expect((await tenancy.migrations.baseline({ all: true }, { to: '002_older' })).upToDate).toBe(1)
  expect((await tenancy.operations.list({ tenant: 'acme' }))[0]).toMatchObject({
    kind: 'baseline',
    status: 'succeeded',
  })

  expect((await tenancy.migrations.run({ all: true })).tenants).toMatchObject([
    { status: 'migrated', applied: ['003_new'] },
  ])
  expect(await sql(url, 'SELECT b FROM from_elsewhere')).toEqual([])
  await tenancy.close()
})
