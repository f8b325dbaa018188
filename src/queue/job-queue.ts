import type PgBoss from 'pg-boss'
import { TenancyError } from '../errors.ts'
import { Batch } from '../registry/batch.ts'
import type { RegistryConnection, RegistryQuery } from '../registry/connection.ts'
import { type Job, type JobFilter, type JobKind, type JobPayload, type JobRow, jobKinds, toJob } from './job.ts'
import { type JobHandlers, Worker, type WorkerOptions } from './worker.ts'

/** Of the queue's tables, beside those of the registry. */
const schema = 'tenantctl_jobs'

/** A worker's death is seen by its lock; pg-boss allows no more, and looks at no lock. */
const expireInSeconds = 23 * 3600
/** For a worker to come: a tenant that was promised is not forgotten after two weeks, which is how pg-boss has it. */
const retentionDays = 3_650
const retries: Record<JobKind, { retryLimit: number; retryDelay: number; retryBackoff: boolean }> = {
  create: { retryLimit: 5, retryDelay: 2, retryBackoff: true },
  // These fail when their worker dies; what becomes of a tenant is a result.
  migrate: { retryLimit: 5, retryDelay: 1, retryBackoff: false },
  'migrate-tenant': { retryLimit: 3, retryDelay: 0, retryBackoff: false },
}
/** Where copies of jobs go whose attempts are used up, for whoever wants to be told of them. */
const deadLetter = 'dead-letter'
/** Parts of others are not shown one by one, unless somebody asks for a tenant. */
const wholes: JobKind[] = ['create', 'migrate']

/** A queue in the registry's own database, by pg-boss. Opened on first use. */
export class JobQueue {
  #boss: Promise<PgBoss> | undefined
  #supervised = false
  readonly #inserts: Batch<{ id: string; name: JobKind; data: JobPayload }>

  constructor(private readonly registry: RegistryConnection) {
    this.#inserts = new Batch(async jobs => {
      await (await this.#open()).insert([...jobs])
    })
  }

  /** Returns the job's id. */
  async send(kind: JobKind, payload: JobPayload): Promise<string> {
    return sendBy(await this.#open(), kind, payload)
  }

  /** Under that id, in one transaction with `work`, of whose result it is: there is never one without the other. */
  async sendWith<T>(
    kind: JobKind,
    id: string,
    work: (query: RegistryQuery) => Promise<T>,
    payload: (result: T) => JobPayload,
  ): Promise<T> {
    // Before the transaction has one of the connections, all of which others may have who wait for the same.
    const boss = await this.#open()
    return this.registry.transaction('queueing a job', async query => {
      const result = await work(query)
      const executeSql = async (text: string, values: unknown[]) => ({ rows: await query(text, values) })
      await sendBy(boss, kind, payload(result), { id, db: { executeSql } })
      return result
    })
  }

  /** The same for many, each under an id of its own: one that is there already stays as it is. */
  async put(kind: JobKind, id: string, payload: JobPayload): Promise<void> {
    await this.#inserts.add({ id, name: kind, data: payload })
  }

  /** Gives a job its attempts anew. */
  async retry(kind: JobKind, id: string): Promise<void> {
    await (await this.#open()).retry(kind, id)
  }

  /** Cancels those of these jobs that nobody is at. */
  async withdraw(kind: JobKind, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    await this.#open()
    await this.registry.query(
      'cancelling jobs',
      `UPDATE ${schema}.job SET state = 'cancelled', completed_on = pg_catalog.now()
        WHERE name = $1 AND id = ANY($2::uuid[]) AND state < 'active'`,
      [kind, ids],
    )
  }

  /** The same, and asks the workers of the others to end them; these decide how. */
  async stop(kind: JobKind, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    await this.#open()
    await this.registry.query(
      'stopping jobs',
      `UPDATE ${schema}.job SET data = data || '{"stop": true}'
        WHERE name = $1 AND id = ANY($2::uuid[]) AND state < 'completed'`,
      [kind, ids],
    )
    await this.withdraw(kind, ids)
  }

  /** Runs jobs until the signal fires, then waits for those that have been begun. */
  async work(handlers: JobHandlers, options: WorkerOptions): Promise<void> {
    const boss = await this.#open(true)
    boss.on('error', options.onError)
    try {
      await new Worker(this.registry, boss, schema, handlers, options).run()
    } finally {
      await boss.stop({ graceful: false, wait: true, close: false })
      boss.off('error', options.onError)
      this.#boss = undefined
      this.#supervised = false
    }
  }

  /** Newest first. */
  async list(filter: JobFilter = {}): Promise<Job[]> {
    await this.#open()
    const kinds = filter.tenant === undefined ? wholes : jobKinds
    const rows = await this.registry.query<JobRow>(
      'listing jobs',
      `${selectJobs} WHERE name = ANY($1::text[]) AND ($2::text IS NULL OR state::text = $2)
          AND ($3::text IS NULL OR data->>'tenant' = $3 OR data->>'tenantId' = $3)
        ORDER BY created_on DESC LIMIT $4`,
      [kinds, filter.state ?? null, filter.tenant ?? null, filter.limit ?? 50],
    )
    return rows.map(toJob)
  }

  /** The jobs of these ids, with what their handlers returned. */
  async results(ids: readonly string[], kinds: readonly JobKind[] = jobKinds): Promise<Map<string, JobResult>> {
    if (ids.length === 0) return new Map()
    await this.#open()
    const rows = await this.registry.query<JobRow>(
      'looking up jobs',
      `${selectJobs} WHERE name = ANY($1::text[]) AND id = ANY($2::uuid[])`,
      [kinds, ids],
    )
    return new Map(rows.map(row => [row.id, toResult(row)]))
  }

  /** All jobs of one rollout but the one that leads it. */
  async ofRun(run: string): Promise<JobResult[]> {
    await this.#open()
    const text = `${selectJobs} WHERE name = 'migrate-tenant' AND data->>'run' = $1`
    return (await this.registry.query<JobRow>('looking up the jobs of a run', text, [run])).map(toResult)
  }

  /** Ids of tenants that a job of this kind will still come to. */
  async waitingTenants(kind: JobKind): Promise<Set<string>> {
    await this.#open()
    const rows = await this.registry.query<{ tenant: string }>(
      'listing waiting jobs',
      `SELECT data->>'tenantId' AS tenant FROM ${schema}.job
        WHERE name = $1 AND state IN ('created', 'retry', 'active')`,
      [kind],
    )
    return new Set(rows.map(row => row.tenant))
  }

  async close(): Promise<void> {
    const boss = await this.#boss?.catch(() => undefined)
    this.#boss = undefined
    await boss?.stop({ graceful: false, wait: true, close: false })
  }

  /** `supervise`: this process also looks after jobs whose worker has died. */
  #open(supervise = false): Promise<PgBoss> {
    if (supervise && !this.#supervised) {
      this.#supervised = true
      const unsupervised = this.#boss
      this.#boss = (async () => {
        await (await unsupervised)?.stop({ graceful: false, close: false })
        return this.#start(true)
      })()
    }
    this.#boss ??= this.#start(false).catch(error => {
      this.#boss = undefined
      throw error
    })
    return this.#boss
  }

  async #start(supervise: boolean): Promise<PgBoss> {
    const { default: Boss } = await import('pg-boss')
    const db = {
      executeSql: (text: string, values?: unknown[]) => this.registry.execute('running the queue', text, values),
    }
    const boss = new Boss({
      db,
      schema,
      supervise,
      schedule: false,
      maintenanceIntervalSeconds: 10,
      archiveCompletedAfterSeconds: 7 * 24 * 3600,
      archiveFailedAfterSeconds: 30 * 24 * 3600,
    })
    boss.on('error', () => undefined)
    await boss.start()
    const known = new Set((await boss.getQueues()).map(({ name }) => name))
    if (![deadLetter, ...jobKinds].every(name => known.has(name))) await this.#createQueues(boss)
    return boss
  }

  /** Each is a partition of its own: two processes that create them at once would deadlock. */
  async #createQueues(boss: PgBoss): Promise<void> {
    await this.registry.alone('setting up the queue', async () => {
      await boss.createQueue(deadLetter)
      for (const kind of jobKinds) {
        await boss.createQueue(kind, { name: kind, expireInSeconds, ...retries[kind], deadLetter })
      }
    })
  }
}

async function sendBy(boss: PgBoss, kind: JobKind, payload: JobPayload, options: PgBoss.SendOptions = {}) {
  const id = await boss.send(kind, payload, { ...options, expireInSeconds, retentionDays, ...retries[kind] })
  if (id === null) throw new TenancyError('QUERY_FAILED', `the job "${kind}" was not taken by the queue`)
  return id
}

export type JobResult = Job & { payload: JobPayload; output: unknown }

function toResult(row: JobRow): JobResult {
  return { ...toJob(row), payload: row.data, output: row.output }
}

const selectJobs = `SELECT id, name, data, state::text AS state, retry_count, created_on, started_on, completed_on, output
  FROM ${schema}.job`
