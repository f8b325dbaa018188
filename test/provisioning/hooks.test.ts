import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

test('hooks are asked in order, and what they throw has the consequences that are written down', async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
  const told: string[] = []
  let refusal: string | undefined
  const tell = (hook: string) => {
    told.push(hook)
    if (refusal === hook) throw new Error('not now')
  }
  const hooks = {
    beforeCreate: ({ slug }: { slug: string }) => tell(`beforeCreate ${slug}`),
    afterCreate: async ({ slug, status }: { slug: string; status: string }, knex: import('knex').Knex) => {
      await knex('t').insert({ a: 1 })
      tell(`afterCreate ${slug} ${status}`)
    },
    afterMigrate: ({ slug }: { slug: string }, applied: readonly string[]) => tell(`afterMigrate ${slug} ${applied}`),
    beforeDrop: ({ slug }: { slug: string }) => tell(`beforeDrop ${slug}`),
  }
  const open = () => namespace.track(createTenancy(namespace.config({ hooks })))
  let tenancy = open()

  refusal = 'beforeCreate acme'
  const refused = { code: 'HOOK_FAILED', message: expect.stringContaining('not now') }
  await expect(tenancy.tenants.create({ name: 'acme' })).rejects.toMatchObject(refused)
  expect(await tenancy.tenants.list()).toEqual([])

  refusal = 'afterCreate acme provisioning'
  await expect(tenancy.tenants.create({ name: 'acme' })).rejects.toMatchObject({
    code: 'HOOK_FAILED',
    step: 'afterCreate',
  })
  expect((await tenancy.tenants.get('acme')).status).toBe('failed')
  refusal = undefined
  expect((await tenancy.tenants.create({ name: 'acme' })).status).toBe('active')
  await tenancy.close()

  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)', '002_u.sql': 'CREATE TABLE u (a int)' })
  tenancy = open()
  refusal = 'afterMigrate acme 002_u'
  expect((await tenancy.migrations.run({ all: true })).tenants).toMatchObject([{ status: 'failed', error: refused }])
  expect((await tenancy.tenants.get('acme')).schemaVersion).toBe('002_u')
  expect((await tenancy.migrations.run({ all: true })).upToDate).toBe(1)

  refusal = 'beforeDrop acme'
  expect((await tenancy.tenants.drop({ all: true })).tenants).toMatchObject([{ status: 'failed', error: refused }])
  expect((await tenancy.tenants.get('acme')).status).toBe('active')
  refusal = undefined
  expect((await tenancy.tenants.drop({ all: true })).succeeded).toBe(1)
  expect(told).toEqual([
    'beforeCreate acme',
    'beforeCreate acme',
    'afterCreate acme provisioning',
    'afterCreate acme failed',
    'afterMigrate acme 002_u',
    'beforeDrop acme',
    'beforeDrop acme',
  ])
  await tenancy.close()
})
