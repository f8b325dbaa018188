import type { ErrorReport } from '../errors.ts'
import type { FleetCommand, Listener } from '../events.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import { groupFailures } from './failures.ts'
import { FleetRunner } from './fleet-runner.ts'
import type { TaskNotes } from './lanes.ts'
import type { ServerCapacity } from './plan-lanes.ts'
import type { FleetResult, TenantOutcome } from './result.ts'
import { planRollout, type RolloutOptions } from './rollout.ts'

export interface FleetRunOptions extends RolloutOptions {
  /** Cancels what runs, and begins no further tenant. */
  signal?: AbortSignal | undefined
  /** Begins no further tenant; those at work end as they end. */
  drain?: AbortSignal | undefined
  /** Leaves the run as it stands, for somebody else to take up: `runFleet` rejects with the signal's reason. */
  abandon?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

/** What the work on one tenant gets to know. */
export interface Visit {
  /** Fires when the work has to end: by the caller, by the tenant's time limit or by the run's. */
  signal: AbortSignal
  /** From 1 on. */
  attempt: number
  /** One of the first group, which has to pass before the others. */
  canary: boolean
  /** Kept over the attempts, and part of the outcome should the work fail: what was applied stays applied. */
  notes: TaskNotes
  /** False once no further tenant may be begun: for work that waits for somebody to begin it. */
  wanted(): boolean
}

export interface FleetRun<T> {
  command: FleetCommand
  /** Id in the ledger. */
  run?: string | undefined
  items: readonly T[]
  slugOf(item: T): string
  /** Default: all on one server. */
  serverOf?: ((item: T) => string) | undefined
  /** Outcomes of tenants that need no visit. */
  settled?: readonly TenantOutcome[] | undefined
  /** What becomes of one tenant; throwing makes it `failed`. Undefined for one that was not begun after all. */
  work(item: T, visit: Visit): Promise<Omit<TenantOutcome, 'tenant'> | undefined>
  classify(error: unknown): ErrorClass
  /** Whether what failed has worked for another tenant, so that an error cannot be everyone's. */
  hasWorked?: ((error: ErrorReport) => boolean) | undefined
  /** Whether nobody knows yet that the work can be done at all: the first tenant goes ahead then. Default: false. */
  untried?: boolean | undefined
  /** Connections that a server has to spare; asked once, when no concurrency is given. */
  capacity?: ServerCapacity | undefined
  /** Told of each outcome with the tenant it belongs to, as it is decided. */
  onOutcome?: ((item: T, outcome: TenantOutcome, errorClass: ErrorClass | undefined) => void) | undefined
  options: FleetRunOptions
}

/**
 * Runs one function over many tenants: canary group first, servers in turn, transient failures again at the end of
 * the queue, until the budget of failures is used up. Returns also when tenants failed.
 */
export async function runFleet<T>(run: FleetRun<T>): Promise<FleetResult> {
  const startedAt = performance.now()
  const rollout = planRollout(run.items.length, run.options)
  const outcomes = await unlessAbandoned(new FleetRunner(run, rollout).run(), run.options.abandon)
  const tenants = [...(run.settled ?? []), ...outcomes.tenants]
  if (run.settled && run.settled.length > 0) tenants.sort((a, b) => (a.tenant < b.tenant ? -1 : 1))
  const counts = { up_to_date: 0, failed: 0, skipped: 0 }
  for (const { status } of tenants) if (status in counts) counts[status as keyof typeof counts] += 1
  const failures = groupFailures(tenants.filter(({ status }) => status === 'failed'))
  return {
    command: run.command,
    total: tenants.length,
    succeeded: tenants.length - counts.up_to_date - counts.failed - counts.skipped,
    upToDate: counts.up_to_date,
    failed: counts.failed,
    skipped: counts.skipped,
    durationMs: Math.round(performance.now() - startedAt),
    ...(run.run === undefined ? {} : { run: run.run }),
    ...(outcomes.stopped === undefined ? {} : { stopped: outcomes.stopped }),
    ...(failures.length > 0 ? { failures } : {}),
    tenants,
  }
}

async function unlessAbandoned<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await work
  return await new Promise<T>((resolve, reject) => {
    const abandon = () => reject(signal.reason)
    signal.addEventListener('abort', abandon, { once: true })
    if (signal.aborted) abandon()
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abandon))
  })
}
