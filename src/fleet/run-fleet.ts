import { asTenancyError, type ErrorReport, type TenancyError } from '../errors.ts'
import { type FleetCommand, type Listener, notify } from '../events.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import { groupFailures } from './failures.ts'
import { type Lane, Lanes, type Task, type TaskNotes } from './lanes.ts'
import { planLanes, type ServerCapacity } from './plan-lanes.ts'
import type { FleetResult, TenantOutcome } from './result.ts'
import { delayAfter, planRollout, type Rollout, type RolloutOptions } from './rollout.ts'
import { StopWatch } from './stop-watch.ts'

/** How long the others wait for the tenant that goes ahead: what is wrong with a file mostly shows at once. */
const aheadMs = 2_000

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

class FleetRunner<T> {
  readonly #outcomes: (TenantOutcome | undefined)[]
  /** Of tenants that wait for another attempt, which may never come. */
  readonly #unsettled = new Map<number, TenantOutcome>()
  readonly #watch: StopWatch
  #lanes = new Lanes<T>([])
  #total = Number.POSITIVE_INFINITY
  #failed = 0
  #mayFail = 0
  /** Why no further tenant is begun. */
  #stopped: string | undefined
  /** An error that may meet every tenant: nobody is begun until those at work have shown otherwise. */
  #held: { report: ErrorReport; tenant: string } | undefined
  /** Whether the first tenant is still to go ahead of the others, or is doing so. */
  #ahead: 'coming' | 'under way' | undefined

  constructor(
    private readonly fleet: FleetRun<T>,
    private readonly rollout: Rollout,
  ) {
    this.#outcomes = new Array(fleet.items.length)
    this.#watch = new StopWatch(fleet.options)
    // Whoever gave a budget of failures wants to know of them.
    if (fleet.untried && fleet.options.maxFailures === undefined) this.#ahead = 'coming'
  }

  async run(): Promise<{ tenants: TenantOutcome[]; stopped: string | undefined }> {
    const { items, options, slugOf } = this.fleet
    const { canary, maxFailures } = this.rollout
    const tasks = items.map((item, index): Task<T> => {
      return { item, index, attempt: 1, notBefore: 0, canary: index < canary, notes: {} }
    })
    try {
      await this.#open(tasks)
      if (canary > 0)
        await this.#group(tasks.slice(0, canary), { mayFail: 0, reason: 'a tenant of the canary group failed' })
      if (canary > 0 && canary < tasks.length && !this.#stopped) await this.#bake(canary)
      const reason = `more than ${maxFailures} tenants failed`
      if (!this.#stopped) await this.#group(tasks.slice(canary), { mayFail: maxFailures, reason })
    } finally {
      this.#watch.dispose()
    }
    const reason = this.#watch.reason ?? this.#stopped ?? 'interrupted'
    let left = this.#unsettled.size > 0
    const tenants = items.map((item, index): TenantOutcome => {
      const outcome = this.#outcomes[index] ?? this.#unsettled.get(index)
      if (outcome) return outcome
      left = true
      return { tenant: slugOf(item), status: 'skipped', reason }
    })
    return { tenants, stopped: left || options.signal?.aborted ? reason : undefined }
  }

  async #open(tasks: readonly Task<T>[]): Promise<void> {
    const { fleet: run } = this
    const { lanes, total } = await planLanes<T>(tasks, run.serverOf, run.options, run.capacity, this.#tellLimit)
    this.#lanes = new Lanes(lanes)
    this.#total = total
    const concurrency = Math.min(
      total,
      lanes.reduce((sum, lane) => sum + lane.limit.current, 0),
    )
    notify(run.options.onEvent, {
      event: 'fleet_started',
      command: run.command,
      total: run.items.length + (run.settled?.length ?? 0),
      upToDate: run.settled?.length ?? 0,
      concurrency,
      ...(run.run === undefined ? {} : { run: run.run }),
    })
  }

  readonly #tellLimit = (lane: Lane<T>, reason: string | undefined): void => {
    if (reason === undefined) return
    const { server, limit } = lane
    notify(this.fleet.options.onEvent, { event: 'concurrency', server, concurrency: limit.current, reason })
  }

  /** Waits between the canary group and the others, to see what the new schema does to live traffic. */
  async #bake(canary: number): Promise<void> {
    const { bakeMs = 0, onEvent } = this.fleet.options
    if (bakeMs === 0) return
    const until = new Date(Date.now() + bakeMs).toISOString()
    notify(onEvent, { event: 'baking', tenants: canary, durationMs: bakeMs, until })
    await this.#watch.sleep(bakeMs)
  }

  /** Ends when every task has its outcome, or none may be begun any more and those at work are done. */
  #group(tasks: readonly Task<T>[], budget: { mayFail: number; reason: string }): Promise<void> {
    this.#mayFail = budget.mayFail
    const byServer = new Map(this.#lanes.all.map(lane => [lane.server, lane]))
    for (const task of tasks) byServer.get(this.fleet.serverOf?.(task.item) ?? '')?.add(task)
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const follow = (): void => {
        this.#ahead = undefined
        pump()
      }
      const pump = (): void => {
        clearTimeout(timer)
        while (this.#mayStart()) {
          const next = this.#lanes.running < this.#total ? this.#lanes.take(performance.now()) : undefined
          if (!next) break
          next.lane.running += 1
          if (this.#ahead) this.#ahead = 'under way'
          this.#visit(next.lane, next.task).then(follow, reject)
        }
        if (this.#ahead === 'under way') timer = setTimeout(follow, aheadMs)
        if (this.#lanes.running > 0) return
        const { dueAt } = this.#lanes
        if (this.#mayStart() && dueAt !== undefined) {
          timer = setTimeout(pump, Math.max(0, dueAt - performance.now()))
          return
        }
        if (this.#held) this.#stopped ??= reasonOf(this.#held)
        else if (this.#failed > budget.mayFail) this.#stopped ??= budget.reason
        this.#watch.onStop = undefined
        resolve()
      }
      this.#watch.onStop = pump
      pump()
    })
  }

  #mayStart(): boolean {
    return this.#mayGoOn() && !this.#held && this.#ahead !== 'under way'
  }

  #mayGoOn(): boolean {
    return !this.#watch.stopped && this.#stopped === undefined && this.#failed <= this.#mayFail
  }

  async #visit(lane: Lane<T>, task: Task<T>): Promise<void> {
    const { fleet: run } = this
    const { outcome, thrown } = await this.#attempt(task)
    lane.running -= 1
    if (!outcome) return
    const errorClass = thrown && run.classify(thrown)
    if (thrown?.sqlstate === '53300') this.#tellLimit(lane, lane.limit.refused())
    else this.#tellLimit(lane, lane.limit.finished(lane.waiting > 0))
    if (thrown && errorClass === 'transient' && task.attempt <= this.rollout.retries && !this.#watch.stopped) {
      this.#again(lane, task, outcome, thrown)
      return
    }
    this.#outcomes[task.index] = outcome
    this.#unsettled.delete(task.index)
    if (outcome.status === 'failed') this.#failed += 1
    this.#hold(outcome, errorClass)
    run.onOutcome?.(task.item, outcome, errorClass)
    const { tenant, status, durationMs = 0, error } = outcome
    notify(run.options.onEvent, { event: 'tenant_finished', tenant, status, durationMs, ...(error ? { error } : {}) })
  }

  #again(lane: Lane<T>, task: Task<T>, outcome: TenantOutcome, thrown: TenancyError): void {
    const delayMs = delayAfter(task.attempt)
    const attempt = task.attempt + 1
    this.#unsettled.set(task.index, outcome)
    const error = thrown.toJSON()
    notify(this.fleet.options.onEvent, { event: 'retrying', tenant: outcome.tenant, attempt, delayMs, error })
    lane.addAgain({ ...task, attempt, notBefore: performance.now() + delayMs })
  }

  /** Somebody who gave a budget of failures has decided about that already. */
  #hold(outcome: TenantOutcome, errorClass: ErrorClass | undefined): void {
    const { hasWorked = () => false, options } = this.fleet
    if (errorClass === 'deterministic' && outcome.error && options.maxFailures === undefined) {
      this.#held ??= { report: outcome.error, tenant: outcome.tenant }
    }
    if (this.#held && hasWorked(this.#held.report)) this.#held = undefined
  }

  async #attempt(task: Task<T>): Promise<{ outcome?: TenantOutcome; thrown?: TenancyError }> {
    const { fleet: run } = this
    const tenant = run.slugOf(task.item)
    const startedAt = performance.now()
    const { attempt, canary, notes } = task
    const again = attempt > 1 ? { attempts: attempt } : {}
    const durationMs = () => Math.round(performance.now() - startedAt)
    notify(run.options.onEvent, { event: 'tenant_started', tenant, ...(attempt > 1 ? { attempt } : {}) })
    const visit = this.#watch.begin()
    const wanted = () => this.#mayGoOn()
    try {
      const outcome = await run.work(task.item, { signal: visit.signal, attempt, canary, notes, wanted })
      if (outcome === undefined) return {}
      return { outcome: { tenant, ...outcome, ...again, durationMs: outcome.durationMs ?? durationMs() } }
    } catch (error) {
      const thrown = (visit.error(error) ?? asTenancyError(error)).with({ tenant })
      const report = thrown.toJSON()
      return {
        outcome: { tenant, status: 'failed', ...notes, ...again, durationMs: durationMs(), error: report },
        thrown,
      }
    } finally {
      visit.end()
    }
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

function reasonOf({ report, tenant }: { report: ErrorReport; tenant: string }): string {
  const what = [report.sqlstate, report.migration && `in ${report.migration}`].filter(Boolean).join(' ')
  return `"${tenant}" failed with an error that would meet every tenant (${what || report.code})`
}
