import { getEventListeners } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyEvent } from '../../src/index.ts'
import { type Fault, live } from '../faults/life.ts'
import { useNamespace } from '../support/namespace.ts'
import { startBin } from '../support/process.ts'

const namespace = useNamespace()
let tenancy: Tenancy
const working: Promise<void>[] = []
const stop = new AbortController()
const events: TenancyEvent[] = []

beforeAll(async () => {
  await namespace.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
  tenancy = namespace.track(createTenancy(namespace.config()))
})

afterAll(async () => {
  stop.abort()
  await Promise.all(working)
  await tenancy.close()
})

test('a tenant is reserved at once and made by a worker', async () => {
  const { tenant, jobId } = await tenancy.queue.create({ name: 'Acme' })
  expect(tenant).toMatchObject({ slug: 'acme', status: 'provisioning' })
  expect(await tenancy.queue.jobs()).toMatchObject([
    { id: jobId, kind: 'create', tenant: 'acme', state: 'created', error: null },
  ])
  await expect(tenancy.connections.get('acme')).rejects.toMatchObject({ code: 'TENANT_NOT_READY' })

  const worker = namespace.track(createTenancy(namespace.config()))
  working.push(
    worker.queue
      .work({ concurrency: 2, signal: stop.signal, onEvent: event => events.push(event) })
      .finally(() => worker.close()),
  )
  expect(await tenancy.queue.wait(jobId)).toMatchObject({ state: 'completed', error: null })
  expect(await tenancy.tenants.get('acme')).toMatchObject({ status: 'active', schemaVersion: '001_t' })
  expect(events).toContainEqual(expect.objectContaining({ event: 'step_finished', tenant: 'acme', step: 'activate' }))
})

test('a slug that is taken is refused before anything is queued', async () => {
  await expect(tenancy.queue.create({ name: 'Acme' })).rejects.toMatchObject({ code: 'TENANT_EXISTS' })
  expect(await tenancy.queue.jobs()).toHaveLength(1)
})

test.each<Fault>([
  { at: 'INSERT INTO tenantctl.tenants', moment: 'after' },
  { at: 'INSERT INTO tenantctl_jobs.job', moment: 'after' },
  { at: 'INSERT INTO tenantctl_jobs.job', moment: 'lost' },
])('a process that dies leaves no tenant without its job: $moment $at', async fault => {
  const own = createTenancy(namespace.config())
  const ending = await live(fault, () => own.queue.create({ name: 'Promised', seed: false }))
  expect(ending.kind).not.toBe('returned')
  if (ending.kind !== 'died') await own.close()
  await expect.poll(() => tenancy.tenants.list({ status: 'provisioning' })).toEqual([])
  expect(await tenancy.queue.jobs({ tenant: 'promised' })).toEqual([])
})

test('many at once are all made, each by one worker', async () => {
  const queued = await Promise.all(
    Array.from({ length: 6 }, (_, index) => tenancy.queue.create({ name: `many ${index}` })),
  )
  await Promise.all(queued.map(({ jobId }) => tenancy.queue.wait(jobId)))
  const made = await tenancy.tenants.list({ status: 'active' })
  expect(made.filter(({ slug }) => slug.startsWith('many-'))).toHaveLength(6)
  for (const { tenant } of queued) {
    const operations = await tenancy.operations.list({ tenant: tenant.id })
    expect(operations.map(({ kind, status }) => `${kind} ${status}`)).toEqual(['create succeeded'])
  }
})

test('a job that has not failed is not queued anew, and one that there is not is named', async () => {
  const [done] = await tenancy.queue.jobs({ state: 'completed', limit: 1 })
  expect(await tenancy.queue.retry(done?.id ?? '')).toEqual(done)
  for (const id of ['nonsense', '00000000-0000-4000-8000-000000000000']) {
    await expect(tenancy.queue.retry(id)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' })
    await expect(tenancy.queue.wait(id)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' })
  }
})

test('a job whose end could not be written down is taken up again', async () => {
  const registry = new URL(namespace.registryUrl).pathname.slice(1)
  await namespace.sql(
    `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
     CREATE TRIGGER refuse BEFORE UPDATE ON tenantctl_jobs.job
       FOR EACH ROW WHEN (NEW.state = 'completed') EXECUTE FUNCTION refuse()`,
    undefined,
    registry,
  )
  const { jobId } = await tenancy.queue.create({ name: 'Unsaid' })
  await expect
    .poll(() => events, { timeout: 10_000 })
    .toContainEqual(expect.objectContaining({ event: 'notice', message: expect.stringContaining('not now') }))
  // To drop the trigger would lock the table, and get in the way of those who work.
  await namespace.sql(
    'CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$',
    undefined,
    registry,
  )
  expect(await tenancy.queue.wait(jobId)).toMatchObject({ state: 'completed', retries: 1 })
}, 30_000)

test('the command line queues, works and waits', async () => {
  const file = await namespace.writeConfig()
  const options = { cwd: namespace.directory }
  const waiting = startBin(['create', 'By Command', '--queue', '--wait', '--json', '-c', file], options)
  const { stdout, exitCode } = await waiting.done
  expect(exitCode).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ slug: 'by-command', status: 'active' })

  const worker = startBin(['worker', '-o', 'ndjson', '-c', file], options)
  const queued = startBin(['create', 'Second', '--queue', '--json', '-c', file], options)
  const answer = JSON.parse((await queued.done).stdout)
  expect(answer).toMatchObject({ slug: 'second', status: 'provisioning', jobId: expect.any(String) })
  await tenancy.queue.wait(answer.jobId)
  await worker.waitFor(/waiting for jobs/)
  worker.kill('SIGTERM')
  expect((await worker.done).exitCode).toBe(0)
})

describe('no worker at all', () => {
  const own = useNamespace()

  test('is told to whoever waits, and ending the wait leaves the job alone', async () => {
    const config = ['-c', own.writeConfig()]
    const waiting = startBin(['create', 'Acme', '--queue', '--wait', ...config], { cwd: own.directory })
    await waiting.waitFor(/waits for a worker/)
    waiting.kill('SIGINT')
    expect(await waiting.done).toMatchObject({ exitCode: 130, stderr: expect.stringContaining('goes on without you') })
    const jobs = await startBin(['jobs', '--json', ...config], { cwd: own.directory }).done
    expect(JSON.parse(jobs.stdout)).toMatchObject([{ tenant: 'acme', state: 'created' }])
  })
})

describe('a worker that cannot begin', () => {
  const own = useNamespace()

  test('says so and leaves nothing running', async () => {
    const worker = own.track(createTenancy(own.config()))
    await worker.tenants.list()
    await own.superSql('CREATE SCHEMA tenantctl_jobs', undefined, new URL(own.registryUrl).pathname.slice(1))
    const { signal } = new AbortController()
    await expect(worker.queue.work({ signal })).rejects.toMatchObject({ code: 'PRIVILEGES_INSUFFICIENT' })
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('a worker that is killed', () => {
  const own = useNamespace()

  test('leaves its job to another one, which goes on where the journal says', async () => {
    await own.writeMigrations({ '001_t.sql': 'SELECT pg_sleep(1);\nCREATE TABLE t (a int)' })
    const asking = own.track(createTenancy(own.config()))
    const { tenant, jobId } = await asking.queue.create({ name: 'Acme' })
    const killed = startBin(['worker', '-o', 'ndjson', '-c', own.writeConfig()], { cwd: own.directory })
    await killed.waitFor(/"migration_started"/)
    killed.kill('SIGKILL')
    expect((await asking.queue.jobs())[0]).toMatchObject({ state: 'active' })

    const stopping = new AbortController()
    const worker = own.track(createTenancy(own.config()))
    const worked = worker.queue.work({ signal: stopping.signal })
    expect(await asking.queue.wait(jobId)).toMatchObject({ state: 'completed', retries: 1 })
    expect((await asking.tenants.get(tenant.id)).status).toBe('active')
    stopping.abort()
    await worked
    await Promise.all([asking.close(), worker.close()])
  }, 30_000)
})

describe('a job that fails', () => {
  const own = useNamespace()

  test('tells why, is tried again, and the next attempt finishes the tenant', async () => {
    await own.writeMigrations({ '001_t.sql': 'CREATE TABLE t (a int)' })
    const asking = own.track(createTenancy(own.config()))
    const { tenant, jobId } = await asking.queue.create({ name: 'Blocked' })
    await own.sql(`CREATE DATABASE "${tenant.database}"`)

    const stopping = new AbortController()
    const worker = own.track(createTenancy(own.config()))
    const worked = worker.queue.work({ signal: stopping.signal })
    await expect
      .poll(() => asking.queue.jobs(), { timeout: 20_000 })
      .toMatchObject([{ state: 'retry', error: { code: 'DATABASE_EXISTS' } }])
    expect((await asking.tenants.get('blocked')).status).toBe('failed')

    await own.sql(`DROP DATABASE "${tenant.database}"`)
    expect(await asking.queue.wait(jobId)).toMatchObject({ state: 'completed' })
    expect((await asking.tenants.get('blocked')).status).toBe('active')
    stopping.abort()
    await worked
    await Promise.all([asking.close(), worker.close()])
  })
})
