import { beforeAll, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let tenancy: Tenancy

beforeAll(async () => {
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.tenants.create({ name: 'Acme', protect: true })
  await tenancy.tenants.create({ name: 'Globex' })
})

test('a protected tenant is not dropped, not by force and not among others', async () => {
  expect((await tenancy.tenants.get('acme')).protected).toBe(true)
  const one = await tenancy.tenants.drop({ tenants: ['acme'] }, { force: true })
  expect(one.tenants[0]?.error).toMatchObject({ code: 'TENANT_PROTECTED', hint: 'tenantctl unprotect acme' })
  const kept = await tenancy.tenants.drop({ tenants: ['acme'] }, { retain: '7d' })
  expect(kept.tenants[0]?.error?.code).toBe('TENANT_PROTECTED')
  await tenancy.tenants.create({ name: 'Initech' })
  const fleet = await tenancy.tenants.drop({ all: true }, { force: true })
  expect(fleet).toMatchObject({ succeeded: 2, failed: 1 })
  expect((await tenancy.tenants.list()).map(each => [each.slug, each.status])).toEqual([['acme', 'active']])
  await (await tenancy.connections.get('acme')).raw('SELECT 1')
})

test('protecting and unprotecting, twice each', async () => {
  const all = { all: true } as const
  expect(await tenancy.tenants.protect(all)).toMatchObject({ command: 'protect', succeeded: 0, upToDate: 1 })
  expect((await tenancy.tenants.unprotect(all)).tenants).toMatchObject([{ tenant: 'acme', status: 'unprotected' }])
  expect(await tenancy.tenants.unprotect(all)).toMatchObject({ succeeded: 0, upToDate: 1 })
  expect((await tenancy.tenants.protect(all)).tenants).toMatchObject([{ tenant: 'acme', status: 'protected' }])
  await tenancy.tenants.unprotect(all)
  expect((await tenancy.operations.list({ tenant: 'acme', limit: 1 }))[0]).toMatchObject({
    kind: 'unprotect',
    status: 'succeeded',
  })
  expect((await tenancy.tenants.drop(all)).succeeded).toBe(1)
})
