import { afterAll, beforeAll, expect, test } from 'vitest'
import { TenancyError } from '../../src/errors.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { RegistryConnection } from '../../src/registry/connection.ts'
import { ensureRegistry } from '../../src/registry/ensure.ts'
import { LastingLock } from '../../src/registry/lasting-lock.ts'
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

const holders = async () => {
  const rows = await namespace.superSql<{ pid: number }>(
    `SELECT pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
      WHERE l.locktype = 'advisory' AND l.granted AND d.datname = $1`,
    [`${namespace.prefix}_registry`],
  )
  return rows.map(row => row.pid)
}

const waiting = async () => {
  const rows = await namespace.superSql(
    `SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
      WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = $1`,
    [`${namespace.prefix}_registry`],
  )
  return rows.length
}

test('a run whose lock is not free yet waits for it', async () => {
  const ledger = new RunLedger(registry)
  const run = await ledger.begin({ command: 'migrate', parameters: {}, total: 0, upToDate: 0 })
  const [pid] = await holders()
  const key = `hashtextextended('tenantctl run ${run.id}', 0)`
  const other = namespace.superSql(`SELECT pg_advisory_lock(${key}), pg_sleep(0.5)`, [], `${namespace.prefix}_registry`)
  await expect.poll(waiting).toBe(1)
  await namespace.superSql('SELECT pg_terminate_backend($1)', [pid])
  await other
  await expect.poll(holders, { timeout: 5_000 }).toHaveLength(1)
  await run.finish({ total: 0, upToDate: 0, succeeded: 0, failed: 0, skipped: 0 } as never, false)
  await expect.poll(holders).toEqual([])
})

test('a run that loses its session takes its lock anew, and the connection that was lost is not missed', async () => {
  const ledger = new RunLedger(registry)
  const run = await ledger.begin({ command: 'migrate', parameters: {}, total: 0, upToDate: 0 })
  // More often than the pool has connections.
  for (let lost = 0; lost < 6; lost += 1) {
    const [pid] = await holders()
    await namespace.superSql('SELECT pg_terminate_backend($1)', [pid])
    await expect.poll(async () => (await holders()).filter(each => each !== pid), { timeout: 5_000 }).toHaveLength(1)
  }
  await run.finish({ total: 0, upToDate: 0, succeeded: 0, failed: 0, skipped: 0 } as never, false)
  expect((await ledger.get(run.id)).status).toBe('succeeded')
  await expect.poll(holders).toEqual([])
})

test('a session that is lost again before all is done about the loss leaves the lock to nobody else', async () => {
  let takenAnew = 0
  const lose = async () => {
    const [pid] = await holders()
    await namespace.superSql('SELECT pg_terminate_backend($1)', [pid])
    await expect.poll(holders).not.toContain(pid)
  }
  const lock = new LastingLock(registry, 'worker', 'one', async () => {
    takenAnew += 1
    if (takenAnew === 1) await lose()
  })
  expect(await lock.takeIfFree()).toBe(true)
  await lose()
  await expect.poll(() => takenAnew, { timeout: 5_000 }).toBe(2)
  expect(await holders()).toHaveLength(1)
  lock.release()
  await expect.poll(holders).toEqual([])
})

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
