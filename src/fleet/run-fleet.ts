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
  const concurrency = Math.max(1, options.concurrency ?? defaultConcurrency)
  const outcomes = new Array<TenantOutcome | undefined>(items.length)
  notify(options.onEvent, { event: 'fleet_started', command, total: items.length, concurrency })

  const failures = () => outcomes.filter(outcome => outcome?.status === 'failed').length
  const tasks = items.map((item, index): Task<T> => ({ item, index, attempt: 1, notBefore: 0 }))
  const group = (tasks: Task<T>[], maxFailures: number) =>
    runGroup(run, tasks, { concurrency, retries: rollout.retries, mayStart: () => failures() <= maxFailures }, outcomes)

  await group(tasks.slice(0, rollout.canary), 0)
  const canaryFailed = failures() > 0
  if (!canaryFailed) await group(tasks.slice(rollout.canary), rollout.maxFailures)

  const reason = options.signal?.aborted
    ? 'interrupted'
    : canaryFailed
      ? 'a tenant of the canary group failed'
      : `more than ${rollout.maxFailures} tenants failed`
  const tenants = items.map(
    (item, index): TenantOutcome => outcomes[index] ?? { tenant: run.slugOf(item), status: 'skipped', reason },
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

interface GroupLimits {
  concurrency: number
  retries: number
  mayStart(): boolean
}

async function runGroup<T>(
  run: FleetRun<T>,
  queue: Task<T>[],
  limits: GroupLimits,
  outcomes: (TenantOutcome | undefined)[],
): Promise<void> {
  const { signal, onEvent } = run.options
  const worker = async () => {
    for (let task = queue.shift(); task; task = queue.shift()) {
      if (signal?.aborted || !limits.mayStart()) return
      const delay = task.notBefore - Date.now()
      if (delay > 0) await sleep(delay, undefined, { signal }).catch(() => undefined)
      if (signal?.aborted) return
      const outcome = await attempt(run, task)
      if (outcome.error && task.attempt <= limits.retries && !signal?.aborted && run.isTransient(outcome.error)) {
        const delayMs = Math.round(
          Math.min(longestDelayMs, firstDelayMs * 4 ** (task.attempt - 1)) * (0.5 + Math.random()),
        )
        const error = outcome.error.toJSON()
        notify(onEvent, { event: 'retrying', tenant: run.slugOf(task.item), attempt: task.attempt + 1, delayMs, error })
        queue.push({ ...task, attempt: task.attempt + 1, notBefore: Date.now() + delayMs })
        continue
      }
      const finished = { ...outcome, ...(outcome.error ? { error: outcome.error.toJSON() } : {}) } as TenantOutcome
      outcomes[task.index] = finished
      const { tenant, status, durationMs = 0, error } = finished
      notify(onEvent, { event: 'tenant_finished', tenant, status, durationMs, ...(error ? { error } : {}) })
    }
  }
  await Promise.all(Array.from({ length: Math.min(limits.concurrency, queue.length) }, worker))
}

type Attempt = Omit<TenantOutcome, 'error'> & { error?: TenancyError }

async function attempt<T>(run: FleetRun<T>, task: Task<T>): Promise<Attempt> {
  const tenant = run.slugOf(task.item)
  const startedAt = performance.now()
  const durationMs = () => Math.round(performance.now() - startedAt)
  notify(run.options.onEvent, { event: 'tenant_started', tenant })
  try {
    const outcome = await run.work(task.item)
    return { tenant, ...outcome, durationMs: durationMs() } as Attempt
  } catch (thrown) {
    const error = asTenancyError(thrown).with({ tenant })
    return { tenant, status: 'failed', durationMs: durationMs(), error }
  }
}
