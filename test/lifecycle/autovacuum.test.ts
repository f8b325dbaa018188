import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'

let server: TestServer
let tenancy: Tenancy

beforeAll(async () => {
  // Comes at once, and takes its time.
  const slow = { autovacuum_vacuum_cost_delay: '100ms', autovacuum_vacuum_cost_limit: 1 }
  server = await startServer({ settings: { autovacuum_naptime: '1s', autovacuum: 'on', ...slow } })
})

afterAll(() => server.remove())

const namespace = useNamespace({ server: () => server })

/** A tenant in whose database an autovacuum worker is at work: a superuser's process, to a plain admin. */
async function tenantUnderVacuum(): Promise<void> {
  tenancy ??= namespace.track(createTenancy(namespace.config()))
  await tenancy.tenants.create({ name: 'Acme' })
  const url = (await tenancy.tenants.url('acme')).reveal()
  await sql(url, 'CREATE TABLE big AS SELECT n, n::text AS text FROM generate_series(1, 100000) n; DELETE FROM big')
  for (const until = Date.now() + 20_000; Date.now() < until; await sleep(50)) {
    const workers = await namespace.superSql(
      "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'autovacuum worker'",
      [`${namespace.tenantPrefix}acme`],
    )
    if (workers.length > 0) return
  }
  throw new Error('no autovacuum came')
}

test('autovacuum in the database of a tenant keeps no plain admin from dropping it', async () => {
  await tenantUnderVacuum()
  const result = await tenancy.tenants.drop({ tenants: ['acme'] }, { force: true })
  expect(result.tenants).toMatchObject([{ status: 'dropped' }])
})

test('nor from keeping it under another name', async () => {
  await tenantUnderVacuum()
  const result = await tenancy.tenants.drop({ tenants: ['acme'] }, { retain: '7d' })
  expect(result.tenants).toMatchObject([{ status: 'dropped', retainedUntil: expect.any(String) }])
  expect((await tenancy.tenants.undrop('acme')).status).toBe('active')
  await tenancy.close()
})
