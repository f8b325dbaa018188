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
    journal.record(first, [{ position: 1, name: "o'clock", status: 'started' }]),
  ])
  const [written] = await registry.query(
    'looking',
    `SELECT o.parameters, s.name AS step, (
              SELECT count(DISTINCT xmin::text)::int FROM tenantctl.operations WHERE id IN ($1, $2)) AS begun,
            o.xmin::text = s.xmin::text AS together
       FROM tenantctl.operations o, tenantctl.operation_steps s WHERE o.id = $2 AND s.operation_id = $3`,
    [second, third, first],
  )
  expect(written).toEqual({
    ...{ parameters: { "it's": 'a \\ "quoted" ä' }, step: "o'clock" },
    ...{ begun: 1, together: true },
  })
})

test('a row that cannot be written fails alone', async () => {
  const [lost, begun] = await Promise.allSettled([
    journal.record(randomUUID(), [{ position: 1, name: 'lost', status: 'started' }]),
    journal.begin('migrate', newTenant()),
  ])
  expect(lost).toMatchObject({ reason: { message: expect.stringMatching(/recording a step/) } })
  const id = begun.status === 'fulfilled' ? begun.value : undefined
  expect(await journal.list({ limit: 1 })).toMatchObject([{ id, status: 'running' }])
})
