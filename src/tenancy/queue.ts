import { setTimeout as sleep } from 'node:timers/promises'
import { asTenancyError, type ErrorCode, TenancyError, throwIfAborted } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import { type CreateInput, finishTenant, type RunOptions, reserveTenant } from '../provisioning/create.ts'
import type { Job, JobFilter, JobPayload } from '../queue/job-queue.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { LazyParts, Parts } from './parts.ts'
import { keepFilled } from './pool.ts'

export interface WorkOptions {
  /** Jobs at once. Default: 2. */
  concurrency?: number | undefined
  /** Takes no further job, and waits for those that have been begun. */
  signal: AbortSignal
  onEvent?: Listener | undefined
}

const pollMs = 250
const sweepMs = 30_000
/** A reservation that is younger may still be about to get its job. */
const sweepAfterMs = 60_000

/** Tenants made in the background: any number of workers, on any number of machines, share one queue. */
export class TenantQueue {
  constructor(private readonly parts: LazyParts) {}

  /**
   * Reserves a tenant and returns at once, with the tenant in `provisioning`; a worker makes it. Throws what
   * `tenants.create` throws before its first step.
   */
  async create(input: CreateInput, options: RunOptions = {}): Promise<{ tenant: Tenant; jobId: string }> {
    const parts = await this.parts.get()
    const tenant = await reserveTenant(parts, input, options)
    const jobId = await parts.jobs.send('create', payload(tenant, { seed: input.seed ?? true }))
    return { tenant, jobId }
  }

  /** Waits for a job's end. Throws the error of its last attempt, or `ABORTED` when the wait is ended. */
  async wait(jobId: string, options: { signal?: AbortSignal | undefined } = {}): Promise<Job> {
    const parts = await this.parts.get()
    for (;;) {
      throwIfAborted(options.signal)
      const job = (await parts.jobs.results([jobId])).get(jobId)
      if (!job) throw new TenancyError('JOB_NOT_FOUND', `there is no job ${jobId}`, { hint: 'tenantctl jobs' })
      if (job.state === 'completed') return job
      if (job.state === 'failed' || job.state === 'cancelled') {
        const { code = 'ABORTED', message = 'the job was cancelled' } = job.error ?? {}
        const hint = `tenantctl create ${job.tenant} finishes it, tenantctl jobs --retry ${jobId} queues it anew`
        throw new TenancyError(code as ErrorCode, message, { tenant: job.tenant, hint })
      }
      await sleep(pollMs)
    }
  }

  /** Newest first, 50 unless `limit` says otherwise. */
  async jobs(filter: JobFilter = {}): Promise<Job[]> {
    return (await this.parts.get()).jobs.list(filter)
  }

  /** Queues a job anew whose attempts are used up. Throws `JOB_NOT_FOUND`. */
  async retry(jobId: string): Promise<Job> {
    const parts = await this.parts.get()
    const job = (await parts.jobs.results([jobId])).get(jobId)
    if (!job) throw new TenancyError('JOB_NOT_FOUND', `there is no job ${jobId}`, { hint: 'tenantctl jobs' })
    await parts.jobs.retry(job.kind, jobId)
    return { ...job, state: 'retry' }
  }

  /**
   * Does the work of the queue, and keeps the stock of ready tenants filled, until the signal fires. The journal and the locks are those of `tenants.create`: what a
   * worker that was killed has begun, another one finishes.
   */
  async work(options: WorkOptions): Promise<void> {
    const parts = await this.parts.get()
    const onEvent = options.onEvent ?? parts.config.onEvent
    const sweeping = this.#sweep(parts, options.signal, onEvent)
    const filling = keepFilled(parts, { signal: options.signal, onEvent })
    await parts.jobs.work(
      { create: work => attempt(() => create(parts, work, onEvent)) },
      {
        concurrency: options.concurrency ?? 2,
        signal: options.signal,
        onReady: () => notify(onEvent, { event: 'notice', message: 'waiting for jobs' }),
        onError: error => notify(onEvent, { event: 'notice', message: error.message }),
      },
    )
    await sweeping
    await filling
  }

  /** Between a reservation and its job a process can die; what it left is queued by whoever works. */
  async #sweep(parts: Parts, signal: AbortSignal, onEvent: Listener | undefined): Promise<void> {
    while (!signal.aborted) {
      try {
        const waiting = await parts.jobs.waitingTenants('create')
        const old = Date.now() - sweepAfterMs
        for (const tenant of await parts.registry.list({ status: 'provisioning' })) {
          if (waiting.has(tenant.id) || Date.parse(tenant.createdAt) > old) continue
          notify(onEvent, { event: 'notice', tenant: tenant.slug, message: 'was reserved without a job, queued now' })
          await parts.jobs.send('create', payload(tenant, { seed: true }))
        }
      } catch (error) {
        notify(onEvent, { event: 'notice', message: asTenancyError(error).message })
      }
      await sleep(sweepMs, undefined, { signal }).catch(() => undefined)
    }
  }
}

function payload(tenant: Tenant, options: object): JobPayload {
  return { tenantId: tenant.id, tenant: tenant.slug, options }
}

async function create(parts: Parts, work: JobPayload, onEvent: Listener | undefined): Promise<object> {
  const tenant = await parts.registry.find(work.tenantId)
  if (!tenant) return { status: 'gone' }
  if (tenant.status === 'active') return { status: 'up_to_date' }
  await finishTenant(parts, tenant, { seed: (work.options as { seed?: boolean }).seed ?? true }, { onEvent })
  return { status: 'created' }
}

/** The queue stores what is thrown: code and message are enough, and hold no row values. */
async function attempt(work: () => Promise<object>): Promise<object> {
  try {
    return await work()
  } catch (error) {
    const { code, message } = asTenancyError(error)
    throw Object.assign(new Error(message), { code, stack: undefined })
  }
}
