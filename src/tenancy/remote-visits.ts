import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorReport, TenancyError } from '../errors.ts'
import type { Visit } from '../fleet/run-fleet.ts'
import type { JobPayload } from '../queue/job.ts'
import type { JobQueue, JobResult } from '../queue/job-queue.ts'
import type { Outcome } from './migrate-tenant.ts'

/** What a worker says of a tenant. `notes` as in the visit, for the attempt after this one. */
export type Answer = { notes: Visit['notes'] } & ({ outcome: Outcome } | { error: ErrorReport })

const pollMs = 50
const afterFailureMs = 1_000

interface Waiting {
  visit: Visit
  resolve(answer: Answer | undefined): void
  reject(error: unknown): void
}

/**
 * Hands tenants to whichever workers are there, and waits for what they say. Each visit has an id of its own, so that
 * who takes up a run after a crash asks for the same visits again and is given the answers that are there.
 */
export class RemoteVisits {
  readonly #answered: Map<string, JobResult>
  readonly #waiting = new Map<string, Waiting>()
  #polling = false
  #closed = false

  constructor(
    private readonly jobs: JobQueue,
    /** Of earlier leaders of the run. */
    earlier: readonly JobResult[],
    private readonly tell: (error: unknown) => void,
  ) {
    this.#answered = new Map(earlier.map(job => [job.id, job]))
  }

  /** Undefined when nobody had begun it before it was not wanted any more. */
  async ask(id: string, payload: JobPayload, visit: Visit): Promise<Answer | undefined> {
    const known = this.#answered.get(id)
    if (known?.state === 'completed') return known.output as Answer
    await this.jobs.put('migrate-tenant', id, payload)
    if (this.#closed) return undefined
    return await new Promise((resolve, reject) => {
      this.#waiting.set(id, { visit, resolve, reject })
      if (!this.#polling) void this.#poll()
    })
  }

  /** Ends the waiting, with no answer; no visit is withdrawn. */
  close(): void {
    this.#closed = true
    for (const { resolve } of this.#waiting.values()) resolve(undefined)
    this.#waiting.clear()
  }

  async #poll(): Promise<void> {
    this.#polling = true
    while (this.#waiting.size > 0 && !this.#closed) {
      try {
        await this.#look()
        await sleep(pollMs)
      } catch (error) {
        // What the workers do goes on meanwhile.
        this.tell(error)
        await sleep(afterFailureMs)
      }
    }
    this.#polling = false
  }

  async #look(): Promise<void> {
    const found = await this.jobs.results([...this.#waiting.keys()], ['migrate-tenant'])
    // Another leader waits for them now.
    if (this.#closed) return
    const unwanted: string[] = []
    const cutOff: string[] = []
    for (const [id, waiting] of this.#waiting) {
      const job = found.get(id)
      if (!job || this.#settle(id, waiting, job)) continue
      if (waiting.visit.signal.aborted) cutOff.push(id)
      else if (!waiting.visit.wanted() && job.state !== 'active') unwanted.push(id)
    }
    await this.jobs.withdraw('migrate-tenant', unwanted)
    await this.jobs.stop('migrate-tenant', cutOff)
  }

  #settle(id: string, { resolve, reject }: Waiting, job: JobResult): boolean {
    if (job.state === 'completed') resolve(job.output as Answer)
    else if (job.state === 'cancelled') resolve(undefined)
    else if (job.state === 'failed') reject(new TenancyError('INTERNAL', job.error?.message ?? 'the job failed'))
    else return false
    this.#waiting.delete(id)
    return true
  }
}
