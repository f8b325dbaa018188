import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'

let server: TestServer

beforeAll(async () => {
  server = await startServer({ settings: { max_prepared_transactions: 5 } })
})

afterAll(() => server.remove())

const namespace = useNamespace({ server: () => server })

test('a prepared transaction, which no force ends, leaves the tenant as it was', async () => {
  const tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.tenants.create({ name: 'Acme' })
  const url = (await tenancy.tenants.url('acme')).reveal()
  await sql(url, 'CREATE TABLE notes (body text)')
  await sql(url, "BEGIN; INSERT INTO notes VALUES ('held'); PREPARE TRANSACTION 'held'")
  const result = await tenancy.tenants.drop({ tenants: ['acme'] }, { retain: '7d', force: true })
  expect(result.tenants[0]?.error).toMatchObject({ code: 'CONNECTIONS_OPEN', sqlstate: '55006' })
  expect(result.tenants[0]?.error?.hint).toContain('pg_prepared_xacts')
  expect((await tenancy.tenants.get('acme')).status).toBe('active')
  await sql(url, "COMMIT PREPARED 'held'")
  expect((await tenancy.tenants.drop({ tenants: ['acme'] }, { retain: '7d' })).succeeded).toBe(1)
  await tenancy.tenants.undrop('acme')
  expect(await sql(url, 'SELECT body FROM notes')).toEqual([{ body: 'held' }])
  await tenancy.close()
})
