import type PgBoss from 'pg-boss'
import { TenancyError } from '../errors.ts'
import type { RegistryConnection } from '../registry/connection.ts'

/** Of the queue's tables, beside those of the registry. */
const schema = 'tenantctl_jobs'

export const jobKinds = ['create'] as const
export type JobKind = (typeof jobKinds)[number]

export type JobState = 'created' | 'retry' | 'active' | 'completed' | 'cancelled' | 'failed'

/** A piece of work in the background, on one tenant. */
export interface Job {
  id: string
  kind: JobKind
  /** Slug. */
  tenant: string
  state: JobState
  /** How often it was tried again. */
  retries: number
  createdAt: string
  startedAt: string | null
  finishedAt: string | null
  /** Why the last attempt failed. */
  error: { code: string; message: string } | null
}

export interface JobPayload {
  tenantId: string
  tenant: string
  options: object
}

export interface JobFilter {
  state?: JobState | undefined
  tenant?: string | undefined
  limit?: number | undefined
}

/** Of a job that was given to a worker: after this time without an end it is given to another one. */
const expireInSeconds = 15 * 60
const retries = { retryLimit: 5, retryDelay: 2, retryBackoff: true }
const pollingIntervalSeconds = 0.5
/** Where copies of jobs go whose attempts are used up, for whoever wants to be told of them. */
const deadLetter = 'dead-letter'

/** A queue in the registry's own database, by pg-boss. Opened on first use. */
export class JobQueue {
  #boss: Promise<PgBoss> | undefined
  #supervised = false

  constructor(private readonly registry: RegistryConnection) {}

  /** Returns the job's id. */
  async send(kind: JobKind, payload: JobPayload, options: { retry?: boolean } = {}): Promise<string> {
    const boss = await this.#open()
    const id = await boss.send(kind, payload, {
      expireInSeconds,
      ...(options.retry === false ? { retryLimit: 0 } : retries),
    })
    if (id === null) throw new TenancyError('QUERY_FAILED', `the job "${kind}" was not taken by the queue`)
    return id
  }

  /** Cancels what has not been begun. */
  async cancel(kind: JobKind, ids: string[]): Promise<void> {
    if (ids.length > 0) await (await this.#open()).cancel(kind, ids)
  }

  /** Gives a job its attempts anew. */
  async retry(kind: JobKind, id: string): Promise<void> {
    await (await this.#open()).retry(kind, id)
  }

  /** Runs jobs until the signal fires, then waits for those that have been begun. */
  async work(
    handlers: Record<JobKind, (payload: JobPayload, job: { id: string }) => Promise<object>>,
    options: { concurrency: number; signal: AbortSignal; onReady?: () => void; onError(error: Error): void },
  ): Promise<void> {
    const boss = await this.#open(true)
    boss.on('error', options.onError)
    try {
      for (const kind of jobKinds) {
        for (let worker = 0; worker < options.concurrency; worker += 1) {
          await boss.work<JobPayload>(kind, { pollingIntervalSeconds, batchSize: 1 }, async ([job]) => {
            if (job) return handlers[kind](job.data, job)
            return undefined
          })
        }
      }
      options.onReady?.()
      await fired(options.signal)
    } finally {
      await boss.stop({ graceful: true, wait: true, close: false, timeout: expireInSeconds * 1000 })
      boss.off('error', options.onError)
      this.#boss = undefined
    }
  }

  async list(filter: JobFilter = {}): Promise<Job[]> {
    await this.#open()
    const rows = await this.registry.query<JobRow>(
      'listing jobs',
      `${selectJobs} WHERE name = ANY($1::text[]) AND ($2::text IS NULL OR state::text = $2)
          AND ($3::text IS NULL OR data->>'tenant' = $3 OR data->>'tenantId' = $3)
        ORDER BY created_on DESC LIMIT $4`,
      [[...jobKinds], filter.state ?? null, filter.tenant ?? null, filter.limit ?? 50],
    )
    return rows.map(toJob)
  }

  /** The jobs of these ids, with what their handlers returned. */
  async results(ids: readonly string[]): Promise<Map<string, Job & { output: unknown }>> {
    if (ids.length === 0) return new Map()
    await this.#open()
    const rows = await this.registry.query<JobRow>('looking up jobs', `${selectJobs} WHERE id = ANY($1::uuid[])`, [ids])
    return new Map(rows.map(row => [row.id, { ...toJob(row), output: row.output }]))
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
    await boss.createQueue(deadLetter)
    for (const kind of jobKinds) await boss.createQueue(kind, { name: kind, expireInSeconds, ...retries, deadLetter })
    return boss
  }
}

const selectJobs = `SELECT id, name, data, state::text AS state, retry_count, created_on, started_on, completed_on, output
  FROM ${schema}.job`

interface JobRow {
  id: string
  name: JobKind
  data: JobPayload
  state: JobState
  retry_count: number
  created_on: Date
  started_on: Date | null
  completed_on: Date | null
  output: { code?: string; message?: string } | null
}

function toJob(row: JobRow): Job {
  const failed = row.state === 'failed' || row.state === 'retry'
  const { code = 'INTERNAL', message = 'the worker ended before the job did' } = row.output ?? {}
  return {
    id: row.id,
    kind: row.name,
    tenant: row.data.tenant,
    state: row.state,
    retries: row.retry_count,
    createdAt: row.created_on.toISOString(),
    startedAt: row.started_on?.toISOString() ?? null,
    finishedAt: row.completed_on?.toISOString() ?? null,
    error: failed ? { code, message } : null,
  }
}

function fired(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
