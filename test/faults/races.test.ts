import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { type BinResult, runBin, startBin } from '../support/process.ts'
import { migrations, writeFolders } from './commands.ts'
import { expectClean, problems, repairAll } from './sweep.ts'

/* Two runs of the command line on the same tenant at once. */

const namespace = useNamespace()
let tenancy: Tenancy
let config: string

beforeAll(async () => {
  writeFolders(namespace)
  config = namespace.writeConfig()
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.registry.install()
})

const options = (...args: string[]) => [...args, '--config', config, '--json', '--no-input']

async function both(first: string[], second: string[]): Promise<[BinResult, BinResult]> {
  return Promise.all([runBin(options(...first), { timeout: 60_000 }), runBin(options(...second), { timeout: 60_000 })])
}

const codes = (results: readonly BinResult[]) => results.map(({ exitCode }) => exitCode).sort()

describe('of two at once', () => {
  test('creates, one makes the tenant and the other says that it exists', async () => {
    const results = await both(['create', 'twice'], ['create', 'twice'])
    expect(codes(results)).toEqual([0, 4])
    expect(results.find(({ exitCode }) => exitCode === 4)?.stderr).toContain('"code":"TENANT_EXISTS"')
    expect(await tenancy.tenants.get('twice')).toMatchObject({ status: 'active' })
  })

  test('creates with --if-not-exists, both give the same tenant', async () => {
    const results = await both(['create', 'same', '--if-not-exists'], ['create', 'same', '--if-not-exists'])
    expect(codes(results)).toEqual([0, 0])
    const [one, other] = results.map(({ stdout }) => JSON.parse(stdout) as { id: string })
    expect(one?.id).toBe(other?.id)
  })

  test('create and drop, each does its work or says why not', async () => {
    await tenancy.tenants.drop({ tenants: ['brief'] }, { force: true, ifExists: true })
    const [create, drop] = await both(['create', 'brief'], ['drop', 'brief', '--yes', '--force'])
    // Dropped before it was there, after it was made, or in between: whoever creates is told of the last.
    expect([0, 3, 4]).toContain(drop.exitCode)
    expect([0, 3, 4]).toContain(create.exitCode)
    const left = (await tenancy.tenants.list()).filter(({ slug }) => slug === 'brief')
    expect(left.map(({ status }) => status)).toEqual(create.exitCode === 0 && drop.exitCode !== 0 ? ['active'] : [])
  })

  test('migrate --all, no migration is applied twice', async () => {
    const slugs = ['one', 'two', 'three']
    await tenancy.tenants.drop({ tenants: slugs }, { force: true, ifExists: true })
    for (const slug of slugs) await tenancy.tenants.create({ name: slug })
    namespace.writeMigrations({ ...migrations, '003_ran.sql': "INSERT INTO ran VALUES ('003'); SELECT pg_sleep(0.1)" })
    const results = await both(['migrate', '--all'], ['migrate', '--all'])
    expect(codes(results)).toEqual([0, 0])
    for (const { slug } of await tenancy.tenants.list({ status: 'active' })) {
      const url = (await tenancy.tenants.url(slug)).reveal()
      expect(await sql(url, "SELECT name FROM ran WHERE name = '003'")).toEqual([{ name: '003' }])
    }
  })

  test('drop and migrate, the tenant is gone, and whoever migrated was told', async () => {
    await tenancy.tenants.create({ name: 'going' })
    const [drop, migrate] = await both(['drop', 'going', '--yes', '--force'], ['migrate', 'going'])
    expect(drop.exitCode).toBe(0)
    expect([0, 3, 4, 5, 6]).toContain(migrate.exitCode)
    expect((await tenancy.tenants.list()).map(({ slug }) => slug)).not.toContain('going')
  })

  test('suspend and resume, the last one counts, and status and server agree', async () => {
    await tenancy.tenants.create({ name: 'swing' })
    const results = await both(['suspend', 'swing'], ['resume', 'swing'])
    expect(codes(results)).toEqual([0, 0])
    expect(['active', 'suspended']).toContain((await tenancy.tenants.get('swing')).status)
  })

  test('leave nothing behind', async () => {
    const before = await problems(tenancy)
    await repairAll(tenancy)
    await expectClean(namespace, tenancy, before)
  })
})

test('whoever has to wait is told for whom, and gives up with 4 in the end', { timeout: 90_000 }, async () => {
  const slow = namespace.writeConfig({ migrations: { directory: `${namespace.directory}/slow` } })
  namespace.writeFile('slow/001_slow.sql', 'SELECT pg_sleep(60)')
  const holder = startBin(['create', 'held', '--config', slow, '--output', 'ndjson'], { input: '', timeout: 90_000 })
  try {
    await holder.waitFor(/"migration_started"/)
    const waiter = startBin(['suspend', 'held', '--config', slow, '--output', 'ndjson'], { input: '', timeout: 90_000 })
    const who = new RegExp(
      `locked by \\\\"create\\\\" of [^ ]+ \\(pid ${holder.pid}\\) since \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z`,
    )
    await waiter.waitFor(who)
    const { exitCode, stdout } = await waiter.done
    expect(stdout).toMatch(/"code":"TENANT_LOCKED"/)
    expect(stdout).toMatch(who)
    expect(exitCode).toBe(4)
  } finally {
    holder.kill('SIGKILL')
    await holder.done
    await tenancy.tenants.drop({ tenants: ['held'] }, { force: true })
  }
})
