import { beforeAll, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let tenancy: Tenancy

beforeAll(() => {
  namespace.writeMigrations({ '001.sql': 'CREATE TABLE t (a int)' })
  tenancy = namespace.track(createTenancy(namespace.config()))
})

test('a process may be at more runs at once than it has connections to the registry', async () => {
  const names = Array.from({ length: 12 }, (_, number) => `many-${number}`)
  await tenancy.tenants.createMany(names.map(name => ({ name })))
  const begun = performance.now()
  const results = await Promise.all(names.map(name => tenancy.tenants.suspend({ tenants: [name] })))
  expect(results.map(({ succeeded }) => succeeded)).toEqual(names.map(() => 1))
  // Whoever waits for a connection gives up after ten seconds.
  expect(performance.now() - begun).toBeLessThan(9_000)
  const runs = await tenancy.runs.list({ command: 'suspend' })
  expect(runs.map(({ status }) => status)).toEqual(names.map(() => 'succeeded'))
})
