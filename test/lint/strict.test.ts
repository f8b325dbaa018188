import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

test('--strict refuses a new dangerous file before any tenant is touched, and only a new one', async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)', '002_index.sql': 'CREATE INDEX ON t (a)' })
  const first = namespace.track(createTenancy(namespace.config()))
  await first.tenants.create({ name: 'acme' })
  expect(await first.migrations.lint()).toEqual([])
  expect(await first.migrations.lint({ all: true })).toMatchObject([{ migration: '002_index.sql', line: 1 }])
  await first.close()

  await namespace.writeMigrations({
    '001_t.sql': 'CREATE TABLE t (a int)',
    '002_index.sql': 'CREATE INDEX ON t (a)',
    '003_drop.sql': 'SELECT 1;\nDROP TABLE t',
  })
  const second = namespace.track(createTenancy(namespace.config()))
  const refused = second.migrations.run({ all: true }, { strict: true })
  await expect(refused).rejects.toMatchObject({ code: 'MIGRATIONS_UNSAFE', migration: '003_drop.sql', line: 2 })
  expect((await second.tenants.get('acme')).schemaVersion).toBe('002_index')
  await second.close()
})
