import { setTimeout as sleep } from 'node:timers/promises'
import { asTenancyError, type TenancyError } from '../errors.ts'
import { type FleetCommand, type Listener, notify } from '../events.ts'
import type { FleetResult, TenantOutcome } from './result.ts'
import { planRollout, type RolloutOptions } from './rollout.ts'

const defaultConcurrency = 8
const firstDelayMs = 250
const longestDelayMs = 10_000

export interface FleetRun<T> {
  command: FleetCommand
  items: readonly T[]
  slugOf(item: T): string
  /** What becomes of one tenant; throwing makes it `failed`. */
  work(item: T): Promise<Omit<TenantOutcome, 'tenant' | 'durationMs'>>
  /** Whether another attempt may help. */
  isTransient(error: unknown): boolean
  options: RolloutOptions & { signal?: AbortSignal | undefined; onEvent?: Listener | undefined }
}

interface Task<T> {
  item: T
  index: number
  attempt: number
  notBefore: number
}

/**
 * Runs one function over many tenants: canary group first, then up to `concurrency` at once, transient failures again
 * at the end of the queue, until the budget of failures is used up. Returns also when tenants failed.
 */
export async function runFleet<T>(run: FleetRun<T>): Promise<FleetResult> {
  const { command, items, options } = run
  const startedAt = performance.now()
  const rollout = planRollout(items.length, options)
  const concurrency = options.concurrency ?? defaultConcurrency
  const outcomes = new Array<TenantOutcome | undefined>(items.length)
  // Of tenants that wait for another attempt, which may never come.
  const unsettled = new Array<TenantOutcome | undefined>(items.length)
  notify(options.onEvent, { event: 'fleet_started', command, total: items.length, concurrency })

  const failures = () => outcomes.filter(outcome => outcome?.status === 'failed').length
  const tasks = items.map((item, index): Task<T> => ({ item, index, attempt: 1, notBefore: 0 }))
  const group = (tasks: Task<T>[], maxFailures: number) =>
    runGroup(run, tasks, {
      concurrency,
      retries: rollout.retries,
      mayStart: () => failures() <= maxFailures,
      settle: (index, outcome) => {
        outcomes[index] = outcome
      },
      retry: (index, outcome) => {
        unsettled[index] = outcome
      },
    })

  await group(tasks.slice(0, rollout.canary), 0)
  const canaryFailed = failures() > 0
  if (!canaryFailed) await group(tasks.slice(rollout.canary), rollout.maxFailures)

  const reason = options.signal?.aborted
    ? 'interrupted'
    : canaryFailed
      ? 'a tenant of the canary group failed'
      : `more than ${rollout.maxFailures} tenants failed`
  const tenants = items.map(
    (item, index): TenantOutcome =>
      outcomes[index] ?? unsettled[index] ?? { tenant: run.slugOf(item), status: 'skipped', reason },
  )
  const count = (status: TenantOutcome['status']) => tenants.filter(outcome => outcome.status === status).length
  const [upToDate, failed, skipped] = [count('up_to_date'), count('failed'), count('skipped')]
  return {
    command,
    total: tenants.length,
    succeeded: tenants.length - upToDate - failed - skipped,
    upToDate,
    failed,
    skipped,
    durationMs: Math.round(performance.now() - startedAt),
    tenants,
  }
}

interface Group {
  concurrency: number
  retries: number
  mayStart(): boolean
  settle(index: number, outcome: TenantOutcome): void
  retry(index: number, outcome: TenantOutcome): void
}

async function runGroup<T>(run: FleetRun<T>, queue: Task<T>[], group: Group): Promise<void> {
  const { signal, onEvent } = run.options
  const worker = async () => {
    for (let task = queue.shift(); task; task = queue.shift()) {
      if (signal?.aborted || !group.mayStart()) return
      const delay = task.notBefore - Date.now()
      if (delay > 0) await sleep(delay, undefined, { signal }).catch(() => undefined)
      if (signal?.aborted) return
      const { outcome, thrown } = await attempt(run, task)
      if (thrown && task.attempt <= group.retries && !signal?.aborted && run.isTransient(thrown)) {
        const delayMs = delayAfter(task.attempt)
        const attempt = task.attempt + 1
        group.retry(task.index, outcome)
        notify(onEvent, { event: 'retrying', tenant: outcome.tenant, attempt, delayMs, error: thrown.toJSON() })
        queue.push({ ...task, attempt, notBefore: Date.now() + delayMs })
        continue
      }
      group.settle(task.index, outcome)
      const { tenant, status, durationMs = 0, error } = outcome
      notify(onEvent, { event: 'tenant_finished', tenant, status, durationMs, ...(error ? { error } : {}) })
    }
  }
  await Promise.all(Array.from({ length: Math.min(group.concurrency, queue.length) }, worker))
}

/** Grows with each attempt, and is scattered so that tenants which failed together do not come back together. */
function delayAfter(attempt: number): number {
  return Math.round(Math.min(longestDelayMs, firstDelayMs * 4 ** (attempt - 1)) * (0.5 + Math.random()))
}

interface Attempt {
  outcome: TenantOutcome
  /** Only of work that threw; work that leaves a tenant out may give its reason as an error, too. */
  thrown?: TenancyError
}

async function attempt<T>(run: FleetRun<T>, task: Task<T>): Promise<Attempt> {
  const tenant = run.slugOf(task.item)
  const startedAt = performance.now()
  const durationMs = () => Math.round(performance.now() - startedAt)
  notify(run.options.onEvent, { event: 'tenant_started', tenant })
  try {
    const outcome = await run.work(task.item)
    return { outcome: { tenant, ...outcome, durationMs: durationMs() } }
  } catch (error) {
    const thrown = asTenancyError(error).with({ tenant })
    return { outcome: { tenant, status: 'failed', durationMs: durationMs(), error: thrown.toJSON() }, thrown }
  }
}
