import { randomUUID } from 'node:crypto'
import type PgBoss from 'pg-boss'
import { asTenancyError } from '../errors.ts'
import type { RegistryConnection } from '../registry/connection.ts'
import { isHeld, LastingLock } from '../registry/lasting-lock.ts'
import { type JobKind, type JobPayload, jobKinds, PutBack } from './job.ts'

/** What a handler gets to know. */
export interface BegunJob {
  id: string
  /** It was begun before, by a worker that died or an attempt that failed. */
  again: boolean
  /** Fires when somebody asks for the end of just this job. */
  stop: AbortSignal
}

export type JobHandlers = Record<JobKind, (payload: JobPayload, job: BegunJob) => Promise<object>>

export interface WorkerOptions {
  /** Jobs at once, beside those that lead others. */
  concurrency: number
  /** Takes no further job, and waits for those that have been begun. */
  signal: AbortSignal
  onReady?: () => void
  onError(error: Error): void
}

const idleMs = 500
/** While work keeps coming, there is more of it soon. */
const busyMs = 50
const busyForMs = 3_000
const watchMs = 1_000
/** So long a worker's lock must have been gone: after a restart of the server all take theirs anew. */
const goneMs = 3_000
/** They wait for others' work and take no share of `concurrency`. */
const mostLeaders = 2

/**
 * Takes jobs and runs them. As long as it lives it holds an advisory lock; jobs of a worker whose lock is gone are given
 * to others, so that a job may last as long as it needs and is still taken up soon after a crash.
 */
export class Worker {
  readonly #id = randomUUID()
  readonly #lock: LastingLock
  readonly #active = new Map<string, { kind: JobKind; stop: AbortController }>()
  /** Jobs that nobody seems to be at, with when that was first seen. */
  readonly #orphans = new Map<string, number>()
  #wake: (() => void) | undefined
  #ended = false
  #lastJobAt = Number.NEGATIVE_INFINITY

  constructor(
    private readonly registry: RegistryConnection,
    private readonly boss: PgBoss,
    private readonly schema: string,
    private readonly handlers: JobHandlers,
    private readonly options: WorkerOptions,
  ) {
    this.#lock = new LastingLock(registry, 'worker', this.#id)
  }

  async run(): Promise<void> {
    await this.#lock.takeIfFree()
    const { signal, onReady } = this.options
    const wake = () => this.#wake?.()
    signal.addEventListener('abort', wake)
    const watching = this.#watch()
    try {
      onReady?.()
      while (!signal.aborted) {
        // A registry that is away for a while must not end the worker.
        const taken = await this.#take().catch(error => this.#failed(error))
        if (taken === 0 && !signal.aborted) await this.#sleep(this.#busy ? busyMs : idleMs)
      }
      while (this.#active.size > 0) await this.#sleep(idleMs)
    } finally {
      signal.removeEventListener('abort', wake)
      this.#ended = true
      wake()
      await watching
      this.#lock.release()
    }
  }

  get #busy(): boolean {
    return performance.now() - this.#lastJobAt < busyForMs
  }

  #free(kind: JobKind): number {
    const leads = (each: JobKind) => each === 'migrate'
    const same = [...this.#active.values()].filter(job => leads(job.kind) === leads(kind)).length
    return (leads(kind) ? mostLeaders : this.options.concurrency) - same
  }

  /** How many were begun. */
  async #take(): Promise<number> {
    let taken = 0
    for (const kind of jobKinds) {
      const batchSize = this.#free(kind)
      if (batchSize <= 0 || this.options.signal.aborted) continue
      const jobs = await this.boss.fetch<JobPayload>(kind, { batchSize, includeMetadata: true })
      if (jobs.length === 0) continue
      await this.registry.query(
        'taking jobs',
        `UPDATE ${this.schema}.job SET data = data || pg_catalog.jsonb_build_object('worker', $3::text)
          WHERE name = $1 AND id = ANY($2::uuid[])`,
        [kind, jobs.map(job => job.id), this.#id],
      )
      for (const job of jobs) void this.#run(kind, job)
      taken += jobs.length
    }
    return taken
  }

  async #run(kind: JobKind, job: PgBoss.JobWithMetadata<JobPayload>): Promise<void> {
    const stop = new AbortController()
    this.#active.set(job.id, { kind, stop })
    try {
      await this.#settle(kind, job.id, () =>
        this.handlers[kind](job.data, { id: job.id, again: job.retryCount > 0, stop: stop.signal }),
      )
    } catch (error) {
      // It stays `active`, and is soon given to somebody, as those of a dead worker are.
      this.#failed(error)
    } finally {
      this.#active.delete(job.id)
      this.#lastJobAt = performance.now()
      this.#wake?.()
    }
  }

  async #settle(kind: JobKind, id: string, work: () => Promise<object>): Promise<void> {
    let output: object
    try {
      output = await work()
    } catch (error) {
      if (error instanceof PutBack) return await this.#putBack(kind, id, error)
      // Code and message are enough, and hold no row values.
      const { code, message } = asTenancyError(error)
      await this.boss.fail(kind, id, { code, message })
      return
    }
    await this.boss.complete(kind, id, output)
  }

  async #putBack(kind: JobKind, id: string, { reason, delayMs }: PutBack): Promise<void> {
    await this.registry.query(
      'putting a job back',
      `UPDATE ${this.schema}.job SET state = 'created', started_on = NULL, output = $3::jsonb,
              start_after = pg_catalog.now() + $4 * interval '1 millisecond'
        WHERE name = $1 AND id = $2 AND state = 'active'`,
      [kind, id, reason && JSON.stringify(reason), delayMs],
    )
  }

  /** Looks after others' jobs, and after requests to end own ones. */
  async #watch(): Promise<void> {
    while (!this.#ended) {
      try {
        await this.#endStopped()
        if (!this.options.signal.aborted) await this.#giveOrphansAway()
      } catch (error) {
        this.#failed(error)
      }
      for (let waited = 0; waited < watchMs && !this.#ended; waited += busyMs) await pause(busyMs)
    }
  }

  async #endStopped(): Promise<void> {
    if (this.#active.size === 0) return
    const rows = await this.registry.query<{ id: string }>(
      'looking after jobs',
      `SELECT id FROM ${this.schema}.job
        WHERE name = ANY($1::text[]) AND id = ANY($2::uuid[]) AND data ? 'stop'`,
      [jobKinds, [...this.#active.keys()]],
    )
    for (const { id } of rows) this.#active.get(id)?.stop.abort()
  }

  /** Jobs of workers that are gone, and those whose end this one could not write down. */
  async #giveOrphansAway(): Promise<void> {
    const rows = await this.registry.query<{ id: string; name: JobKind; begun: string }>(
      'looking for jobs that nobody is at',
      `SELECT j.id, j.name, j.id || ' ' || j.started_on AS begun FROM ${this.schema}.job j
        WHERE j.name = ANY($1::text[]) AND j.state = 'active' AND j.id <> ALL($2::uuid[])
          AND (j.data->>'worker' = $3 OR NOT ${isHeld('worker', "(j.data->>'worker')")})`,
      [jobKinds, [...this.#active.keys()], this.#id],
    )
    const now = performance.now()
    const seen = new Set(rows.map(row => row.begun))
    for (const begun of this.#orphans.keys()) if (!seen.has(begun)) this.#orphans.delete(begun)
    for (const { id, name, begun } of rows) {
      const since = this.#orphans.get(begun) ?? now
      this.#orphans.set(begun, since)
      if (now - since < goneMs) continue
      await this.boss.fail(name, id, { code: 'INTERNAL', message: 'the worker ended before the job did' })
    }
  }

  #failed(error: unknown): 0 {
    this.options.onError(asTenancyError(error))
    return 0
  }

  /** Shorter when something happens. */
  #sleep(milliseconds: number): Promise<void> {
    return new Promise(resolve => {
      const end = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
      const timer = setTimeout(end, milliseconds)
      this.#wake = end
    })
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}
