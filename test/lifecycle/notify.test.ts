import pg from 'pg'
import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

test('whoever listens to tenantctl_tenants is told of every change of a row, by the id of its tenant', async () => {
  const tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.registry.install()
  const client = new pg.Client({ connectionString: urlWith(namespace.registryUrl, {}) })
  await client.connect()
  const heard: (string | undefined)[] = []
  client.on('notification', ({ payload }) => heard.push(payload))
  await client.query('LISTEN tenantctl_tenants')
  const hears = async (work: () => Promise<unknown>) => {
    heard.length = 0
    await work()
    await client.query('SELECT 1')
    return [...new Set(heard)]
  }

  const id = { id: '' }
  await hears(async () => {
    id.id = (await tenancy.tenants.create({ name: 'Acme' })).id
  })
  expect([...new Set(heard)]).toEqual([id.id])
  const acme = { tenants: ['acme'] }
  expect(await hears(() => tenancy.tenants.suspend(acme))).toEqual([id.id])
  expect(await hears(() => tenancy.tenants.suspend(acme))).toEqual([])
  expect(await hears(() => tenancy.tenants.resume(acme))).toEqual([id.id])
  expect(await hears(() => tenancy.tenants.rotatePassword(acme))).toEqual([id.id])
  expect(await hears(() => tenancy.tenants.drop(acme, { retain: '1h' }))).toEqual([id.id])
  expect(await hears(() => tenancy.tenants.undrop('acme'))).toEqual([id.id])
  expect(await hears(() => tenancy.tenants.drop(acme))).toEqual([id.id])
  await client.end()
})
