import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyEvent } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { type RunningBin, startBin } from '../support/process.ts'

const first = { '001_notes.sql': 'CREATE TABLE notes (body text)' }
/** Leaves a row for each time that it runs. */
const second = {
  ...first,
  '002_slow.sql': "SELECT pg_sleep(0.2);\nINSERT INTO notes VALUES ('002');\n-- migrate:down\nDELETE FROM notes;\n",
}
const slugs = Array.from({ length: 6 }, (_, index) => `t${index}`)

/** A small fleet with one migration, and workers that are ended with the test. */
function useFleet() {
  const namespace = useNamespace()
  const workers: RunningBin[] = []
  const stops: (() => Promise<void>)[] = []

  beforeAll(async () => {
    const tenancy = open(first)
    await tenancy.tenants.createMany(slugs.map(name => ({ name })))
    await tenancy.close()
  }, 60_000)

  afterEach(async () => {
    await Promise.all(stops.splice(0).map(stop => stop()))
    for (const worker of workers) worker.kill('SIGTERM')
    await Promise.all(workers.splice(0).map(worker => worker.done))
  })

  /** Files are read once by a tenancy. */
  function open(files: Record<string, string>): Tenancy {
    namespace.writeMigrations(files)
    return namespace.track(createTenancy(namespace.config()))
  }

  return {
    namespace,
    open,
    /** A worker in this process; returns what it tells. */
    work(files: Record<string, string>, concurrency = 2) {
      const events: TenancyEvent[] = []
      const tenancy = open(files)
      const stop = new AbortController()
      const working = tenancy.queue.work({ concurrency, signal: stop.signal, onEvent: event => events.push(event) })
      const end = async () => {
        stop.abort()
        await working
        await tenancy.close()
      }
      stops.push(end)
      return { events, end }
    },
    async startWorker(): Promise<RunningBin> {
      const args = ['worker', '--concurrency', '1', '-o', 'ndjson', '-c', namespace.writeConfig()]
      const worker = startBin(args, { cwd: namespace.directory, timeout: 60_000 })
      workers.push(worker)
      await worker.waitFor(/waiting for jobs/)
      return worker
    },
    async notes(): Promise<number[]> {
      const counting = slugs.map(slug =>
        namespace.superSql<{ n: number }>(
          'SELECT count(*)::int AS n FROM notes',
          [],
          `${namespace.tenantPrefix}${slug}`,
        ),
      )
      return (await Promise.all(counting)).map(([row]) => row?.n ?? -1)
    },
  }
}

describe('two workers, of which the leading one is killed', () => {
  const fleet = useFleet()

  test('the other takes the run up: each tenant once, one run, the same report', async () => {
    const tenancy = fleet.open(second)
    const workers = await Promise.all([fleet.startWorker(), fleet.startWorker()])
    const queued = await tenancy.queue.migrate({ all: true }, { concurrency: 3 })
    expect(queued).toMatchObject({ total: 6, upToDate: 0 })
    const leader = await Promise.race(workers.map(worker => worker.waitFor(/"fleet_started"/).then(() => worker)))
    await leader.waitFor(/"tenant_finished"[\s\S]*"tenant_finished"/)
    leader.kill('SIGKILL')
    const events: TenancyEvent[] = []
    const result = await tenancy.queue.result(queued.run, { onEvent: event => events.push(event) })
    expect(result).toMatchObject({
      ...{ command: 'migrate', run: queued.run, total: 6, succeeded: 6, upToDate: 0, failed: 0, skipped: 0 },
    })
    expect(result).not.toHaveProperty('stopped')
    expect(result.tenants.map(each => [each.tenant, each.status, each.from, each.to, each.applied])).toEqual(
      slugs.map(slug => [slug, 'migrated', '001_notes', '002_slow', ['002_slow']]),
    )
    expect(await fleet.notes()).toEqual(slugs.map(() => 1))
    expect(events.filter(({ event }) => event === 'tenant_finished')).toHaveLength(6)

    const run = await tenancy.runs.get(queued.run)
    expect(run).toMatchObject({ status: 'succeeded', succeeded: 6, jobId: queued.jobId })
    expect(run.tenants).toHaveLength(6)
    expect(await tenancy.runs.list({ command: 'migrate' })).toHaveLength(1)
    // Asked again, later, by somebody else: the same.
    expect(await tenancy.queue.result(queued.run)).toEqual(result)
    expect(await tenancy.migrations.rollback(null, { run: queued.run })).toMatchObject({ total: 6, succeeded: 6 })
    expect(await fleet.notes()).toEqual(slugs.map(() => 0))
  }, 60_000)
})

describe('a queued rollout', () => {
  const fleet = useFleet()

  test('waits for a worker, leaves alone those with other files, and can be cancelled', async () => {
    const tenancy = fleet.open(second)
    const queued = await tenancy.queue.migrate({ all: true })
    expect(await tenancy.runs.get(queued.run)).toMatchObject({ status: 'queued', total: 6 })
    await expect(tenancy.migrations.run(null, { resume: queued.run })).rejects.toMatchObject({ code: 'RUN_UNSUITABLE' })

    const stale = fleet.work(first)
    await expect
      .poll(() => tenancy.queue.jobs(), { timeout: 10_000 })
      .toMatchObject([{ kind: 'migrate', run: queued.run, state: 'created', error: { code: 'MIGRATIONS_DIFFER' } }])
    await stale.end()
    expect(await fleet.notes()).toEqual(slugs.map(() => 0))

    await tenancy.queue.cancel(queued.run)
    expect(await tenancy.queue.result(queued.run)).toMatchObject({ skipped: 6, stopped: 'interrupted', tenants: [] })
    expect(await tenancy.runs.get(queued.run)).toMatchObject({ status: 'interrupted' })
    await expect(tenancy.queue.cancel(queued.run)).rejects.toMatchObject({ code: 'RUN_UNSUITABLE' })
    await expect(tenancy.queue.retry(queued.jobId)).rejects.toMatchObject({ code: 'RUN_UNSUITABLE' })
  }, 30_000)

  test('that was written down and never queued is ended by whoever works', async () => {
    const tenancy = fleet.open(second)
    const { run } = await tenancy.queue.migrate({ all: true })
    const registry = new URL(fleet.namespace.registryUrl).pathname.slice(1)
    const registrySql = (text: string) => fleet.namespace.sql(text, [run], registry)
    await registrySql(`DELETE FROM tenantctl_jobs.job WHERE data->>'run' = $1`)
    await registrySql(`UPDATE tenantctl.runs SET started_at = now() - interval '2 minutes' WHERE id = $1`)
    fleet.work(second)
    expect(await tenancy.queue.result(run)).toMatchObject({ total: 6, skipped: 6, stopped: 'interrupted' })
    expect(await fleet.notes()).toEqual(slugs.map(() => 0))
  })

  test('refuses at once what cannot go', async () => {
    const tenancy = fleet.open(second)
    await expect(tenancy.queue.migrate({ tenants: ['nobody'] })).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    await expect(tenancy.queue.migrate({ all: true }, { to: '9' })).rejects.toMatchObject({
      code: 'MIGRATION_NOT_FOUND',
    })
    await expect(tenancy.queue.migrate({ all: true }, { canary: 'x' })).rejects.toMatchObject({ code: 'USAGE' })
    await expect(tenancy.queue.result('r_nothing00')).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' })
  })

  test('stops at its canary group, tells the failure in full, and goes on where it stands', async () => {
    const tenancy = fleet.open(second)
    const broken = { ...first, '002_slow.sql': 'INSERT INTO nowhere VALUES (1)' }
    fleet.open(broken)
    const worker = fleet.work(broken)
    const { run } = await fleet.open(broken).queue.migrate({ all: true }, { canary: 1, lockTimeout: '1s' })
    const result = await tenancy.queue.result(run)
    expect(result).toMatchObject({
      ...{ total: 6, succeeded: 0, failed: 1, skipped: 5, stopped: expect.stringContaining('would meet every tenant') },
      failures: [{ count: 1, sqlstate: '42P01', migration: '002_slow.sql', line: 1 }],
    })
    expect(result.tenants[0]).toMatchObject({ tenant: 't0', status: 'failed', error: { code: 'MIGRATION_FAILED' } })
    expect(await tenancy.runs.get(run)).toMatchObject({ status: 'failed', failed: 1, skipped: 5 })
    await worker.end()

    fleet.work(second)
    const again = await fleet.open(second).queue.migrate(null, { resume: run })
    expect(await tenancy.queue.result(again.run)).toMatchObject({ total: 6, succeeded: 6 })
    expect(await fleet.notes()).toEqual(slugs.map(() => 1))
  }, 30_000)

  test('cancelled half-way lets those at work finish and begins no other', async () => {
    const third = { ...second, '003_slow.sql': "SELECT pg_sleep(0.5);\nINSERT INTO notes VALUES ('003')" }
    const worker = fleet.work(third, 1)
    const tenancy = fleet.open(third)
    const { run } = await tenancy.queue.migrate({ all: true })
    await expect
      .poll(() => worker.events, { timeout: 10_000 })
      .toContainEqual(expect.objectContaining({ event: 'tenant_finished' }))
    await tenancy.queue.cancel(run)
    const result = await tenancy.queue.result(run)
    expect(result).toMatchObject({ failed: 0, stopped: 'interrupted' })
    expect(result.succeeded + result.skipped).toBe(6)
    expect(result.skipped).toBeGreaterThanOrEqual(2)
    expect(await tenancy.runs.get(run)).toMatchObject({ status: 'interrupted', skipped: result.skipped })
    expect((await fleet.notes()).filter(n => n === 2)).toHaveLength(result.succeeded)

    // A worker that is ended hands the run it leads to the next one.
    const resumed = await tenancy.queue.migrate(null, { resume: run })
    await expect
      .poll(() => worker.events.filter(({ event }) => event === 'fleet_started'), { timeout: 10_000 })
      .toHaveLength(2)
    await worker.end()
    expect(await tenancy.runs.get(resumed.run)).toMatchObject({ status: 'queued' })
    fleet.work(third, 4)
    expect(await tenancy.queue.result(resumed.run)).toMatchObject({ failed: 0, skipped: 0, run: resumed.run })
    expect(await fleet.notes()).toEqual(slugs.map(() => 2))
  }, 40_000)

  test('from the command line: queues, waits, and refuses by name what cannot go', async () => {
    const more = { ...second, '003_slow.sql': "SELECT pg_sleep(0.5);\nINSERT INTO notes VALUES ('003')" }
    fleet.open({ ...more, '004_x.sql': 'CREATE TABLE x ()' })
    const options = { cwd: fleet.namespace.directory }
    const config = ['-c', fleet.namespace.writeConfig()]
    const queued = await startBin(['migrate', '--all', '--queue', '--json', ...config], options).done
    expect(queued.exitCode).toBe(0)
    const { run } = JSON.parse(queued.stdout)
    expect(JSON.parse(queued.stdout)).toMatchObject({ command: 'migrate', queued: true, total: 6, upToDate: 0 })

    const waiting = startBin(['runs', 'wait', run, ...config], options)
    await waiting.waitFor(/waits for a worker/)
    waiting.kill('SIGINT')
    expect(await waiting.done).toMatchObject({ exitCode: 130, stderr: expect.stringContaining('goes on without you') })

    await fleet.startWorker()
    const waited = await startBin(['runs', 'wait', run, '--json', ...config], options).done
    expect(waited).toMatchObject({ exitCode: 0 })
    expect(JSON.parse(waited.stdout)).toMatchObject({ command: 'migrate', run, total: 6, succeeded: 6 })
    const all = await startBin(['migrate', '--all', '--queue', '--wait', '--json', ...config], options).done
    expect(JSON.parse(all.stdout)).toMatchObject({ total: 6, upToDate: 6, succeeded: 0 })

    const refused = await startBin(['migrate', '--all', '--queue', '--dry-run', ...config], options).done
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--dry-run') })
    const alone = await startBin(['migrate', '--all', '--wait', ...config], options).done
    expect(alone).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--wait is for --queue') })
  }, 40_000)
})
