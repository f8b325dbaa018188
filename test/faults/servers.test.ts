import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CreateInput, createTenancy, type Tenancy, type TenancyEvent } from '../../src/index.ts'
import { sql, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { startBin } from '../support/process.ts'
import { startServer, type TestServer } from '../support/servers.ts'
import { catalogs } from './catalogs.ts'
import { expectUsable, writeFolders } from './commands.ts'
import { everything } from './sampling.ts'
import { expectClean, problems, repairAll } from './sweep.ts'

/* Servers that stop, are full, are out of connections, or go on working after our death. */

let home: TestServer
let other: TestServer

beforeAll(async () => {
  ;[home, other] = await Promise.all([
    startServer({ settings: { max_connections: 20, shared_buffers: '16MB' } }),
    startServer({ settings: { max_connections: 20, shared_buffers: '16MB' } }),
  ])
})
afterAll(async () => {
  await Promise.all([home?.remove(), other?.remove()])
})

const namespace = useNamespace({ server: () => home, allowSessions: true })
let tenancy: Tenancy
let config: string
let before: string[]

beforeAll(async () => {
  writeFolders(namespace)
  const { user, password } = adminOf(namespace.adminUrl)
  await sql(other.superUrl, `CREATE ROLE ${user} LOGIN CREATEDB CREATEROLE PASSWORD '${password}'`)
  const overrides = { servers: { other: { url: urlWith(other.superUrl, { user, password }) } } }
  config = namespace.writeConfig(overrides)
  tenancy = namespace.track(createTenancy(namespace.config(overrides)))
  await tenancy.registry.install()
  before = await problems(tenancy)
})

afterEach(async () => {
  await repairAll(tenancy)
  await expectEverythingClean()
  await tenancy.tenants.drop({ all: true }, { force: true })
})

/** Something that happens in the middle of a create: when a step begins. */
function at(step: string, happen: () => void): { onEvent(event: TenancyEvent): void } {
  return {
    onEvent(event) {
      if (event.event === 'step_started' && event.step === step) happen()
    },
  }
}

/** Creates a tenant while something happens to a server; returns what the create threw, when both have ended. */
async function createWhile(input: CreateInput, step: string, happen: () => Promise<void>): Promise<unknown> {
  let happening: Promise<void> = Promise.resolve()
  const create = tenancy.tenants.create(
    input,
    at(step, () => {
      happening = happen()
    }),
  )
  const error = await create.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  await happening
  return error
}

const steps = ['createRole', 'createDatabase', 'grantAccess', 'migrate', 'activate']
const usual = ['createDatabase', 'migrate', 'activate']

describe.each(everything ? steps : usual)('in step %s', step => {
  test('everything crashes: told, and finished by the next run', async () => {
    const error = await createWhile({ name: 'acme' }, step, () => home.stop('immediate'))
    await home.start()
    // The last step may be quicker than the server's end.
    if (step !== 'activate' || error !== undefined) expect(error).toMatchObject({ code: 'CONNECTION_FAILED' })
    expect(await tenancy.tenants.create({ name: 'acme', ifNotExists: true })).toMatchObject({ status: 'active' })
    await expectUsable(tenancy, 'acme')
  })

  test("the tenant's server crashes, the registry does not: it is failed, and says so", async () => {
    const error = await createWhile({ name: 'acme', server: 'other' }, step, () => other.stop('immediate'))
    if (error !== undefined) {
      expect(error).toMatchObject({ code: 'CONNECTION_FAILED', tenant: 'acme' })
      expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'failed' })
      expect(await tenancy.repair()).toMatchObject({ failed: 1, unreachable: [{ server: 'other' }] })
      const { checks } = await tenancy.doctor()
      expect(checks).toContainEqual(expect.objectContaining({ check: 'reachable', server: 'other', status: 'problem' }))
    }
    await other.start()
  })

  test('the registry crashes, the server of the tenant does not: repair finishes what is there', async () => {
    const error = await createWhile({ name: 'acme', server: 'other' }, step, () => home.stop('immediate'))
    await home.start()
    if (step !== 'activate' || error !== undefined) expect(error).toMatchObject({ code: 'CONNECTION_FAILED' })
  })
})

describe('a server', () => {
  test('without a free connection: told, with what to do, and finished later', async () => {
    const { user, password } = adminOf(namespace.adminUrl)
    const greedy: pg.Client[] = []
    for (;;) {
      const client = new pg.Client({ connectionString: urlWith(other.superUrl, { user, password }) })
      client.on('error', () => undefined)
      try {
        await client.connect()
        greedy.push(client)
      } catch {
        break
      }
    }
    await expect(tenancy.tenants.create({ name: 'acme', server: 'other' })).rejects.toMatchObject({
      code: 'OUT_OF_RESOURCES',
      hint: expect.stringContaining('max_connections'),
    })
    await Promise.all(greedy.map(client => client.end()))
    await tenancy.tenants.create({ name: 'acme', server: 'other' })
    await expectUsable(tenancy, 'acme')
  })

  test.each([
    ['cancels our statement', 'pg_cancel_backend', 'STATEMENT_TIMEOUT'],
    ['ends our session', 'pg_terminate_backend', 'CONNECTION_FAILED'],
  ])('whose superuser %s: told, and finished by the next run', async (_, how, code) => {
    const hold = await holdCreateDatabase()
    const create = tenancy.tenants.create({ name: 'acme' }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    const pid = await creating()
    await sql(home.superUrl, `SELECT ${how}(${pid})`)
    expect(await create).toMatchObject({ code, step: 'createDatabase' })
    await hold.release()
    expect(await tenancy.tenants.create({ name: 'acme' })).toMatchObject({ status: 'active' })
    await expectUsable(tenancy, 'acme')
  })

  test('that goes on with CREATE DATABASE after our death: the next run waits for it', async () => {
    const hold = await holdCreateDatabase()
    const args = ['create', 'acme', '--config', config, '--output', 'ndjson']
    const first = startBin(args, { input: '', timeout: 60_000 })
    const pid = await creating()
    first.kill('SIGKILL')
    expect((await first.done).signal).toBe('SIGKILL')
    const second = startBin(args, { input: '', timeout: 60_000 })
    await second.waitFor(/"waiting".*locked by \\"create\\"/)
    expect(await creating()).toBe(pid)
    await hold.release()
    expect(await second.done).toMatchObject({ exitCode: 0 })
    await expectUsable(tenancy, 'acme')
  })

  test('that goes on with CREATE DATABASE after our death: a drop waits for it, and nothing is left', async () => {
    const hold = await holdCreateDatabase()
    const first = startBin(['create', 'acme', '--config', config], { input: '', timeout: 60_000 })
    await creating()
    first.kill('SIGKILL')
    await first.done
    const args = ['drop', 'acme', '--yes', '--config', config, '--output', 'ndjson']
    const second = startBin(args, { input: '', timeout: 60_000 })
    await second.waitFor(/"waiting".*locked by \\"create\\"/)
    await hold.release()
    expect(await second.done).toMatchObject({ exitCode: 0 })
    expect(await tenancy.tenants.list()).toEqual([])
  })
})

/** CREATE DATABASE locks its template: whoever has it locked keeps it waiting. */
async function holdCreateDatabase(): Promise<{ release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: home.superUrl })
  await client.connect()
  await client.query("BEGIN; COMMENT ON DATABASE template0 IS 'held'")
  return {
    async release() {
      await client.query('ROLLBACK')
      await client.end()
    },
  }
}

/** Process id of the backend that waits in CREATE DATABASE. */
async function creating(): Promise<number> {
  for (const until = Date.now() + 20_000; Date.now() < until; await sleep(20)) {
    const [row] = await sql<{ pid: number }>(
      home.superUrl,
      "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock'",
    )
    if (row) return row.pid
  }
  throw new Error('nobody waits in CREATE DATABASE')
}

async function expectEverythingClean(): Promise<void> {
  await expectClean(namespace, tenancy, before)
  const { actual, expected } = await catalogs(namespace, { server: 'other', superUrl: other.superUrl })
  expect(actual).toEqual(expected)
}

function adminOf(url: string): { user: string; password: string } {
  const { username, password } = new URL(url)
  return { user: username, password }
}
