import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const open = (overrides = {}) => namespace.track(createTenancy(namespace.config(overrides)))

test('a new tenant is not made of a file that changed since the others got it', async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
  const before = open()
  await before.tenants.create({ name: 'first' })
  await before.close()

  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a bigint)' })
  const after = open()
  await expect(after.tenants.create({ name: 'second' })).rejects.toMatchObject({ code: 'MIGRATION_CHANGED' })
  expect((await after.tenants.list()).map(({ slug }) => slug)).toEqual(['first'])
  await after.close()
})

test('a create that was begun without seeds is finished without them', async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
  await namespace.writeSeeds({ '01.sql': 'INSERT INTO t VALUES (1)' })
  const tenancy = open()
  const interruption = new AbortController()
  const interrupted = tenancy.tenants.create(
    { name: 'bare', seed: false },
    {
      signal: interruption.signal,
      onEvent: event => event.event === 'step_started' && event.step === 'migrate' && interruption.abort(),
    },
  )
  await expect(interrupted).rejects.toMatchObject({ code: 'ABORTED' })
  await tenancy.tenants.create({ name: 'bare' })
  expect(await sql((await tenancy.tenants.url('bare')).reveal(), 'SELECT * FROM t')).toEqual([])
  await tenancy.close()
})

test('fleet.fingerprint notes the schema after a migration', async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)', '002_u.sql': 'CREATE TABLE u (a int)' })
  const tenancy = open({ fleet: { fingerprint: true } })
  await tenancy.migrations.run({ tenants: ['first'] })
  const noted = await namespace.sql(
    'SELECT schema_fingerprint AS fingerprint FROM tenantctl.tenants WHERE slug = $1',
    ['first'],
    new URL(namespace.registryUrl).pathname.slice(1),
  )
  expect(noted).toEqual([{ fingerprint: (await tenancy.drift.check({ tenants: ['first'] })).groups[0]?.fingerprint }])
  await tenancy.close()
})
