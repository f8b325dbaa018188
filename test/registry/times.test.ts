import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

test('times are told in ISO 8601 and UTC, whatever the database writes them in', async () => {
  const first = namespace.track(createTenancy(namespace.config()))
  await first.registry.install()
  const registry = `${namespace.prefix}_registry`
  await namespace.sql(`ALTER DATABASE ${registry} SET datestyle = 'SQL, DMY'`)
  await namespace.sql(`ALTER DATABASE ${registry} SET timezone = 'Asia/Kathmandu'`)

  const before = Date.now()
  const tenancy = namespace.track(createTenancy(namespace.config()))
  const { id } = await tenancy.tenants.create({ name: 'Acme' })
  await tenancy.domains.add('acme', 'acme.example')
  const tenant = await tenancy.tenants.get('acme')
  const [domain] = await tenancy.domains.list()
  const [operation] = await tenancy.operations.list({ tenant: id })
  const times = [tenant.createdAt, tenant.updatedAt, domain?.createdAt, operation?.startedAt, operation?.finishedAt]
  for (const time of times) {
    expect(time).toMatch(iso)
    expect(Math.abs(Date.parse(time as string) - before)).toBeLessThan(60_000)
  }
  const [row] = await namespace.sql<{ ms: string }>(
    `SELECT (extract(epoch FROM created_at) * 1000)::text AS ms FROM tenantctl.tenants`,
    [],
    registry,
  )
  expect(Date.parse(tenant.createdAt)).toBe(Math.floor(Number(row?.ms)))

  await tenancy.tenants.drop({ tenants: ['acme'] }, { retain: '1h' })
  const [kept] = await tenancy.tenants.retained()
  expect(kept?.droppedAt).toMatch(iso)
  expect(Date.parse(kept?.retainedUntil ?? '') - Date.parse(kept?.droppedAt ?? '')).toBe(3_600_000)
})
