import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { validate as isUuid } from 'uuid'
import { asTenancyError, type ErrorCode, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { type CreateInput, finishTenant, type RunOptions, reserveTenant } from '../provisioning/create.ts'
import type { Job, JobFilter, JobPayload } from '../queue/job.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { LazyParts, Parts } from './parts.ts'
import { keepFilled } from './pool.ts'
import { giveUpRun, leadMigration, type QueuedMigrateOptions, queueMigration } from './queued-migration.ts'
import { cancelRun, followRun } from './queued-run.ts'
import { QueuedVisits } from './visit-queued.ts'

/** How a worker works, and how it is ended. */
export interface WorkOptions {
  /** Jobs at once: tenants that are made or migrated. Default: 2. */
  concurrency?: number | undefined
  /** Takes no further job, and waits for those that have been begun; a rollout that it leads goes to another worker. */
  signal: AbortSignal
  onEvent?: Listener | undefined
}

/** A rollout that workers will do. */
export interface QueuedRun {
  /** Id in the ledger, for `runs.get` and `queue.result`. */
  run: string
  jobId: string
  /** Tenants of the selection, and how many of them need nothing by what the registry knows. */
  total: number
  upToDate: number
}

const pollMs = 250
/** Whoever waits longer for a worker wants to know what for. */
const patienceMs = 3_000
const sweepMs = 30_000
/** A run that is younger may still be about to get its job. */
const sweepAfterMs = 60_000

/** Work in the background: any number of workers, on any number of machines, share one queue. */
export class TenantQueue {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /**
   * Reserves a tenant and returns at once, with the tenant in `provisioning`; a worker makes it. The tenant and its job
   * are committed together. Throws what `tenants.create` throws before its first step.
   */
  async create(input: CreateInput, options: RunOptions = {}): Promise<{ tenant: Tenant; jobId: string }> {
    const parts = await this.parts.get()
    const jobId = randomUUID()
    const job = (tenant: Tenant) => payload(tenant, { seed: input.seed ?? true })
    const tenant = await reserveTenant(parts, input, {
      ...options,
      within: insert => parts.jobs.sendWith('create', jobId, insert, job),
    })
    return { tenant, jobId }
  }

  /**
   * Spreads a rollout over the workers and returns at once: with the promises of `migrations.run`, and the same result
   * from `result`. Workers that have other migration files leave it alone. Throws what `migrations.run` throws before
   * its first tenant. The selection is left out with `resume`.
   */
  async migrate(selection: Selection | null, options: QueuedMigrateOptions = {}): Promise<QueuedRun> {
    return queueMigration(await this.parts.get(), selection, options)
  }

  /**
   * Waits for the end of a rollout, by its id in the ledger, and returns what `migrations.run` would have. Ending the
   * wait (`ABORTED`) leaves the rollout alone. Throws `RUN_NOT_FOUND`, `RUN_UNSUITABLE` for a run that was not queued,
   * and the error of one that could not go.
   */
  async result(run: string, options: RunOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    return followRun(parts, run, { ...options, onEvent: options.onEvent ?? parts.config.onEvent })
  }

  /**
   * Ends a rollout: no further tenant is begun, those that workers are at finish. Returns when that is asked for. Throws
   * `RUN_NOT_FOUND`, and `RUN_UNSUITABLE` for a run that was not queued or has ended.
   */
  async cancel(run: string): Promise<void> {
    await cancelRun(await this.parts.get(), run)
  }

  /**
   * Waits for a job's end. Throws the error of its last attempt, or `ABORTED` when the wait is ended, which leaves the
   * job alone.
   */
  async wait(jobId: string, options: RunOptions = {}): Promise<Job> {
    const parts = await this.parts.get()
    const onEvent = options.onEvent ?? parts.config.onEvent
    let patience = patienceMs
    for (;;) {
      if (options.signal?.aborted) throw goesOn(jobId, options.signal)
      const job = await jobOf(parts, jobId)
      if (job.state === 'completed') return job
      if (job.state === 'failed' || job.state === 'cancelled') {
        const { code = 'ABORTED', message = 'the job was cancelled' } = job.error ?? {}
        const first = job.tenant === null ? '' : `tenantctl create ${job.tenant} finishes it, `
        const hint = `${first}tenantctl jobs --retry ${jobId} queues it anew`
        throw new TenancyError(code as ErrorCode, message, { tenant: job.tenant ?? undefined, hint })
      }
      await sleep(pollMs, undefined, { signal: options.signal }).catch(() => undefined)
      patience -= pollMs
      if (job.state !== 'created' || patience > 0) continue
      patience = Number.POSITIVE_INFINITY
      notify(onEvent, { event: 'notice', message: 'the job waits for a worker: `tenantctl worker`' })
    }
  }

  /** Newest first, 50 unless `limit` says otherwise; parts of a rollout only for a tenant. */
  async jobs(filter: JobFilter = {}): Promise<Job[]> {
    return (await this.parts.get()).jobs.list(filter)
  }

  /**
   * Queues a job anew whose attempts are used up; another one is left as it is. Throws `JOB_NOT_FOUND`, and
   * `RUN_UNSUITABLE` for a job of a rollout that has ended.
   */
  async retry(jobId: string): Promise<Job> {
    const parts = await this.parts.get()
    const { kind, run } = await jobOf(parts, jobId)
    if (run !== null && (await parts.ledger.get(run)).finishedAt !== null) {
      const hint = `tenantctl migrate --resume ${run} takes it up`
      throw new TenancyError('RUN_UNSUITABLE', `the job is of run ${run}, which has ended`, { hint })
    }
    await parts.jobs.retry(kind, jobId)
    return await jobOf(parts, jobId)
  }

  /**
   * Does the work of the queue, and keeps the stock of ready tenants filled, until the signal fires. The journal and the
   * locks are those of `tenants.create` and `migrations.run`: what a worker that was killed has begun, another finishes.
   */
  async work(options: WorkOptions): Promise<void> {
    const parts = await this.parts.get()
    const onEvent = options.onEvent ?? parts.config.onEvent
    const visits = new QueuedVisits(parts, onEvent)
    const failed = new AbortController()
    const signal = AbortSignal.any([options.signal, failed.signal])
    const concurrency = options.concurrency ?? 2
    const disallow = parts.admins.turns.allow(concurrency)
    const beside = [sweep(parts, signal, onEvent), keepFilled(parts, { signal, onEvent })]
    try {
      await parts.jobs.work(
        {
          create: work => create(parts, work, onEvent),
          migrate: (work, job) => leadMigration(parts, work, job, { ending: signal, onEvent }),
          'migrate-tenant': (work, job) => visits.visit(work, job),
        },
        {
          concurrency,
          signal,
          onReady: () => notify(onEvent, { event: 'notice', message: 'waiting for jobs' }),
          onError: error => notify(onEvent, { event: 'notice', message: error.message }),
        },
      )
    } finally {
      failed.abort()
      await Promise.all(beside)
      disallow()
    }
  }
}

async function jobOf({ jobs }: Parts, id: string): Promise<Job> {
  // The queue's ids are of the type uuid, which takes nothing else.
  const found = isUuid(id) ? (await jobs.results([id])).get(id.toLowerCase()) : undefined
  if (!found) throw new TenancyError('JOB_NOT_FOUND', `there is no job ${id}`, { hint: 'tenantctl jobs' })
  const { payload: _, output: __, ...job } = found
  return job
}

function goesOn(jobId: string, { reason }: AbortSignal): TenancyError {
  const hint = 'tenantctl jobs shows what becomes of it'
  return new TenancyError('ABORTED', `job ${jobId} goes on without you`, { hint, cause: reason })
}

function payload(tenant: Tenant, options: object): JobPayload {
  return { tenantId: tenant.id, tenant: tenant.slug, options }
}

async function create(parts: Parts, work: JobPayload, onEvent: Listener | undefined): Promise<object> {
  const tenant = await parts.registry.find(work.tenantId as string)
  if (!tenant) return { status: 'gone' }
  if (tenant.status === 'active') return { status: 'up_to_date' }
  await finishTenant(parts, tenant, { seed: (work.options as { seed?: boolean }).seed ?? true }, { onEvent })
  return { status: 'created' }
}

/** Between a run and its job a process can die; what it left is ended by whoever works. */
async function sweep(parts: Parts, signal: AbortSignal, onEvent: Listener | undefined): Promise<void> {
  while (!signal.aborted) {
    try {
      await endLostRuns(parts)
    } catch (error) {
      notify(onEvent, { event: 'notice', message: asTenancyError(error).message })
    }
    await sleep(sweepMs, undefined, { signal }).catch(() => undefined)
  }
}

/** Runs whose job has failed for good, or was never queued. */
async function endLostRuns(parts: Parts): Promise<void> {
  const runs = await parts.ledger.queued()
  const jobs = await parts.jobs.results(
    runs.map(({ jobId }) => jobId),
    ['migrate'],
  )
  const old = Date.now() - sweepAfterMs
  for (const { id, jobId, startedAt } of runs) {
    const state = jobs.get(jobId)?.state
    const lost = state === undefined ? Date.parse(startedAt) < old : state === 'failed' || state === 'cancelled'
    if (lost) await giveUpRun(parts, id)
  }
}
