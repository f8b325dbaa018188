import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorCode, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { JobResult } from '../queue/job-queue.ts'
import type { Run } from '../registry/run.ts'
import type { Parts } from './parts.ts'
import { giveUpRun, recordedResult } from './queued-migration.ts'

const pollMs = 250
/** Whoever waits longer for a worker wants to know what for. */
const patienceMs = 3_000

/** Waits for the end of a queued run, and tells what becomes of its tenants as the ledger learns of it. */
export async function followRun(
  parts: Parts,
  id: string,
  { signal, onEvent }: { signal?: AbortSignal | undefined; onEvent?: Listener | undefined },
): Promise<FleetResult> {
  const { id: run, jobId } = await queuedRun(parts, id)
  const follower = new Follower(parts, run, onEvent)
  for (;;) {
    if (signal?.aborted) throw interrupted(run, signal)
    const [now, job] = [await parts.ledger.get(run), (await parts.jobs.results([jobId], ['migrate'])).get(jobId)]
    await follower.tell(now, job)
    if (job?.state === 'completed') {
      const result = job.output as FleetResult | null
      return result?.tenants ? result : await recordedResult(parts, run)
    }
    if (job?.state === 'failed') {
      const { code, message } = job.error ?? { code: 'INTERNAL', message: 'the job failed' }
      throw new TenancyError(code as ErrorCode, message, { hint: `tenantctl migrate --resume ${run} takes it up` })
    }
    if (now.finishedAt !== null && job?.state !== 'active') return await recordedResult(parts, run)
    await sleep(pollMs, undefined, { signal }).catch(() => undefined)
  }
}

export async function cancelRun(parts: Parts, id: string): Promise<void> {
  const { id: run, jobId, finishedAt } = await queuedRun(parts, id)
  if (finishedAt !== null) throw new TenancyError('RUN_UNSUITABLE', `run ${run} has ended`)
  await parts.jobs.stop('migrate', [jobId])
  const job = (await parts.jobs.results([jobId], ['migrate'])).get(jobId)
  if (job?.state === 'cancelled') await giveUpRun(parts, run)
}

async function queuedRun(parts: Parts, id: string): Promise<Run & { jobId: string }> {
  const run = await parts.ledger.get(id)
  if (run.jobId !== null) return { ...run, jobId: run.jobId }
  throw new TenancyError('RUN_UNSUITABLE', `run ${run.id} was not queued: its own process does it`, {
    hint: `it is pid ${run.pid} of ${run.actor}; \`tenantctl runs show ${run.id}\` tells how far it is`,
  })
}

function interrupted(run: string, signal: AbortSignal): TenancyError {
  return new TenancyError('ABORTED', `run ${run} goes on without you`, {
    hint: `tenantctl runs wait ${run} waits for its end, tenantctl runs cancel ${run} ends it`,
    cause: signal.reason,
  })
}

/** Makes the events of a run in one process out of what the ledger and the queue say. */
class Follower {
  readonly #since = performance.now()
  #started = false
  #last: string | null = null
  #said: string | undefined

  constructor(
    private readonly parts: Parts,
    private readonly run: string,
    private readonly onEvent: Listener | undefined,
  ) {}

  async tell({ status, command, total, upToDate }: Run, job: JobResult | undefined): Promise<void> {
    if (!this.onEvent) return
    const late = performance.now() - this.#since > patienceMs
    if (status === 'queued' && job?.error) this.#say(job.error.message)
    else if (status === 'queued' && late) this.#say(`run ${this.run} waits for a worker: \`tenantctl worker\``)
    if (status === 'queued') return
    if (!this.#started) {
      this.#started = true
      notify(this.onEvent, { event: 'fleet_started', command, total, upToDate, concurrency: 0, run: this.run })
    }
    for (const { tenant, status: what, durationMs, error, at } of await this.parts.ledger.news(this.run, this.#last)) {
      this.#last = at
      const failure = error ? { error } : {}
      notify(this.onEvent, { event: 'tenant_finished', tenant, status: what, durationMs, ...failure })
    }
  }

  #say(message: string): void {
    if (this.#said === message) return
    this.#said = message
    notify(this.onEvent, { event: 'notice', message })
  }
}
