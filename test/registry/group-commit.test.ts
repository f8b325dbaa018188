import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { RegistryConnection } from '../../src/registry/connection.ts'
import { OperationJournal } from '../../src/registry/operation-journal.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let registry: RegistryConnection
let journal: OperationJournal

beforeAll(async () => {
  await namespace.track(createTenancy(namespace.config())).tenants.list()
  registry = new RegistryConnection(parseAddress(new Secret(namespace.registryUrl)))
  journal = new OperationJournal(registry)
})

afterAll(() => registry.close())

const newTenant = () => ({ id: randomUUID(), slug: 'acme' })

test('what several callers write at once is one transaction, whatever kind it is', async () => {
  const first = await journal.begin('migrate', newTenant())
  const [second, third] = await Promise.all([
    journal.begin('migrate', newTenant()),
    journal.begin('seed', newTenant(), { "it's": 'a \\ "quoted" \u00e4' }),
    journal.stepStarted(first, 1, "o'clock"),
  ])
  const rows = await registry.query<{ transactions: number; parameters: object; step: string }>(
    'looking',
    `SELECT count(DISTINCT xmin::text)::int AS transactions, max(parameters::text)::jsonb AS parameters, max(step) AS step FROM (
       SELECT xmin, parameters, NULL AS step FROM tenantctl.operations WHERE id = ANY($1::uuid[])
       UNION ALL SELECT xmin, NULL, name FROM tenantctl.operation_steps WHERE operation_id = $2) written`,
    [[second, third], first],
  )
  expect(rows).toEqual([{ transactions: 1, parameters: { "it's": 'a \\ "quoted" ä' }, step: "o'clock" }])
})

test('a row that cannot be written fails alone', async () => {
  const nobody = journal.stepStarted(randomUUID(), 1, 'lost')
  const id = await journal.begin('migrate', newTenant())
  await expect(nobody).rejects.toMatchObject({ message: expect.stringMatching(/recording a step/) })
  expect(await journal.list({ limit: 1 })).toMatchObject([{ id, status: 'running' }])
})
