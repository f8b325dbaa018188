import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { commandsOf, writeFolders } from './commands.ts'
import { live } from './life.ts'
import { announce, everything, factor } from './sampling.ts'
import { repairAll, sweep } from './sweep.ts'

/*
 * Every changing command, stopped at every statement that it sends: a statement that is added to one is met without
 * anybody thinking of it.
 */

const namespace = useNamespace({ allowSessions: true })
const commands = commandsOf(namespace)

beforeAll(async () => {
  announce('sweeps')
  writeFolders(namespace)
  await namespace.track(createTenancy(namespace.config())).registry.install()
})

describe.each(Object.entries(commands))('%s, stopped at any statement', (_, command) => {
  test('is finished or undone by repair', { timeout: everything ? 3_600_000 : 120_000 * factor }, async () => {
    console.info(await sweep(namespace, command, 'program', 5))
  })
})

test('a create without seeds that dies with its reservation is finished without seeds', async () => {
  const tenancy = namespace.track(createTenancy(namespace.config()))
  const own = createTenancy(namespace.config())
  const reservation = { at: 'INSERT INTO tenantctl.tenants', moment: 'after' } as const
  expect(await live(reservation, () => own.tenants.create({ name: 'seedless', seed: false }))).toMatchObject({
    kind: 'died',
  })
  await repairAll(tenancy)
  expect(await tenancy.tenants.get('seedless')).toMatchObject({ status: 'active' })
  expect(await sql((await tenancy.tenants.url('seedless')).reveal(), 'SELECT text FROM notes')).toEqual([])
  await tenancy.tenants.drop({ tenants: ['seedless'] })
})

test('a copy that dies with its reservation is known by what it was to be copied from', async () => {
  const { config } = commands.createCopy
  const tenancy = namespace.track(createTenancy(namespace.config(config)))
  await tenancy.tenants.create({ name: 'before' })
  const own = createTenancy(namespace.config(config))
  const reservation = { at: 'INSERT INTO tenantctl.tenants', moment: 'after' } as const
  expect(await live(reservation, () => own.tenants.create({ name: 'copied' }))).toMatchObject({ kind: 'died' })
  const [begun] = await tenancy.operations.list({ tenant: 'copied' })
  expect(begun?.steps.map(({ name, status }) => `${name} ${status}`)).toEqual([
    'reserve done',
    'createRole started',
    'createDatabase started',
  ])
  const id = (await tenancy.tenants.get('copied')).id
  const [noted] = await sql<{ detail: object }>(
    namespace.registryUrl,
    `SELECT s.detail FROM tenantctl.operation_steps s JOIN tenantctl.operations o ON o.id = s.operation_id
      WHERE o.tenant_uuid = '${id}' AND s.name = 'createDatabase'`,
  )
  expect(noted?.detail).toMatchObject({ origin: { template: expect.stringMatching(/^tenantctl_template_/) } })
  await repairAll(tenancy)
  expect(await tenancy.tenants.get('copied')).toMatchObject({ status: 'active' })
  await tenancy.tenants.drop({ tenants: ['before', 'copied'] })
})

test('a copy whose making was not answered is still taken for a copy', async () => {
  const { config } = commands.createCopy
  const tenancy = namespace.track(createTenancy(namespace.config(config)))
  await tenancy.tenants.create({ name: 'original' })
  const own = namespace.track(createTenancy(namespace.config(config)))
  const copying = { at: 'CREATE DATABASE "tenantctl_new', moment: 'lost' } as const
  const ending = await live(copying, () => own.tenants.create({ name: 'unanswered' }))
  expect(ending).toMatchObject({ kind: 'threw', error: { code: 'CONNECTION_FAILED' } })
  await repairAll(tenancy)
  expect(await tenancy.tenants.get('unanswered')).toMatchObject({ status: 'active' })
  await tenancy.tenants.drop({ tenants: ['original', 'unanswered'] })
})

test('a copy takes few messages', async () => {
  const { config } = commands.createCopy
  const tenancy = namespace.track(createTenancy(namespace.config(config)))
  await tenancy.tenants.create({ name: 'first' })
  const ending = await live(undefined, () => tenancy.tenants.create({ name: 'second' }))
  // More of them make whoever creates many tenants wait: see bench/create.ts.
  expect(ending.sent).toBeLessThanOrEqual(18)
  await tenancy.tenants.drop({ tenants: ['first', 'second'] })
})

test('a connection that is lost before a non-transactional migration is told as such', async () => {
  const tenancy = createTenancy(namespace.config(commands.index.config))
  await commands.index.ready(tenancy, 'lost')
  const ending = await live({ at: 'SET statement_timeout = 0', moment: 'lost' }, async () => {
    const { tenants } = await tenancy.migrations.run({ tenants: ['lost'] }, { retries: 0 })
    return tenants[0]?.error
  })
  expect(ending).toMatchObject({ kind: 'returned', value: { code: 'CONNECTION_FAILED', migration: '003_index.sql' } })
  await tenancy.tenants.drop({ tenants: ['lost'] }, { force: true })
  await tenancy.close()
})
