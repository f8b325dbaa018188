/** What a web application does when many of its users come at the same moment: each call is a run of its own. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTenancy, type FleetResult, type Selection, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer({ major: inject('server').major, settings: { max_connections: 45 } })
})
afterAll(() => server.remove())

const namespace = useNamespace({ server: () => server })
const names = Array.from({ length: 60 }, (_, number) => `user-${number}`)
let tenancy: Tenancy

beforeAll(() => {
  namespace.writeMigrations({ '001.sql': 'CREATE TABLE t (a int)' })
  tenancy = namespace.track(createTenancy(namespace.config({ template: true })))
})

test('all are served, although the server has not so many connections', { timeout: 60_000 }, async () => {
  const made = await Promise.all(names.map(name => tenancy.tenants.create({ name })))
  expect(made.every(({ status }) => status === 'active')).toBe(true)

  const eachAlone = async (command: (selection: Selection) => Promise<FleetResult>) => {
    const results = await Promise.all(names.map(name => command({ tenants: [name] })))
    return [...new Set(results.flatMap(({ tenants }) => tenants.map(({ status }) => status)))]
  }
  expect(await eachAlone(all => tenancy.tenants.suspend(all))).toEqual(['suspended'])
  expect(await eachAlone(all => tenancy.tenants.resume(all))).toEqual(['resumed'])
  expect(await eachAlone(all => tenancy.migrations.run(all, { verify: true }))).toEqual(['up_to_date'])
  expect(await eachAlone(all => tenancy.tenants.rotatePassword(all))).toEqual(['rotated'])
  expect(await eachAlone(all => tenancy.tenants.drop(all))).toEqual(['dropped'])
})
