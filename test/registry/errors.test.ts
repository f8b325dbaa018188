import { afterAll, beforeAll, expect, test } from 'vitest'
import { TenancyError } from '../../src/errors.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { RegistryConnection } from '../../src/registry/connection.ts'
import { ensureRegistry } from '../../src/registry/ensure.ts'
import { RunLedger } from '../../src/registry/run-ledger.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let registry: RegistryConnection

beforeAll(async () => {
  registry = new RegistryConnection(parseAddress(new Secret(namespace.registryUrl)))
  await ensureRegistry(registry)
})

afterAll(() => registry.close())

test.each([
  ['a NUL', 'a\0b', 'a\ufffdb'],
  ['half a surrogate pair', 'a\ud83d', 'a\ufffd'],
  ['what a cut leaves of one', `${'x'.repeat(3998)}😀${'x'.repeat(10)}`, `${'x'.repeat(3998)}\ufffd…`],
])('the registry keeps an error with %s in it, and what is written together with it', async (_what, text, kept) => {
  const ledger = new RunLedger(registry)
  const run = await ledger.begin({ command: 'migrate', parameters: {}, total: 2, upToDate: 0 })
  const error = new TenancyError('MIGRATION_FAILED', text).toJSON()
  run.record(undefined, { tenant: 'acme', status: 'failed', error }, undefined)
  run.record(undefined, { tenant: 'globex', status: 'migrated', applied: ['001_a'] }, undefined)
  await run.finish({ total: 2, upToDate: 0, succeeded: 1, failed: 1, skipped: 0 } as never, false)
  const { tenants } = await ledger.details(run.id)
  expect(tenants).toMatchObject([
    { tenant: 'acme', error: { message: kept } },
    { tenant: 'globex', status: 'migrated' },
  ])
})
