import { asTenancyError, type ErrorReport, type TenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import { type Lane, Lanes, type Task } from './lanes.ts'
import { planLanes } from './plan-lanes.ts'
import type { TenantOutcome } from './result.ts'
import { delayAfter, type Rollout } from './rollout.ts'
import type { FleetRun } from './run-fleet.ts'
import { StopWatch } from './stop-watch.ts'

/** How long the others wait for the tenant that goes ahead: what is wrong with a file mostly shows at once. */
const aheadMs = 2_000

/** One run: which tenant is begun when, what comes of it, and when to stop. */
export class FleetRunner<T> {
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
  /** Servers that were given up, since they do not answer. */
  readonly #silent: string[] = []
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
      const reason =
        maxFailures === 0
          ? 'a tenant failed'
          : `more than ${maxFailures} ${maxFailures === 1 ? 'tenant' : 'tenants'} failed`
      if (!this.#stopped) await this.#group(tasks.slice(canary), { mayFail: maxFailures, reason })
    } finally {
      this.#watch.dispose()
    }
    const reason =
      this.#watch.reason ?? this.#stopped ?? (this.#silent.length > 0 ? unreached(this.#silent) : 'interrupted')
    let left = this.#unsettled.size + this.#silent.length > 0
    // They have failed for this run, and the ledger has to know.
    if (!options.abandon?.aborted)
      for (const [index, outcome] of this.#unsettled) this.fleet.onOutcome?.(items[index] as T, outcome, 'transient')
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
        const now = performance.now()
        while (this.#mayStart()) {
          const next = this.#lanes.running < this.#total ? this.#lanes.take(now) : undefined
          if (!next) break
          next.lane.running += 1
          if (this.#ahead) this.#ahead = 'under way'
          this.#visit(next.lane, next.task).then(follow, reject)
        }
        if (this.#ahead === 'under way') timer = setTimeout(follow, aheadMs)
        const dueAt = this.#mayStart() ? this.#lanes.dueAfter(now) : undefined
        if (dueAt !== undefined) timer = setTimeout(pump, dueAt - now)
        if (this.#lanes.running > 0 || dueAt !== undefined) return
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
    const inVain = thrown?.code === 'CONNECTION_FAILED' ? lane.lost(performance.now()) : undefined
    if (inVain === undefined) lane.answered()
    if (thrown?.sqlstate === '53300') this.#tellLimit(lane, lane.limit.refused())
    else this.#tellLimit(lane, lane.limit.finished(lane.waiting > 0))
    if (thrown && errorClass === 'transient' && task.attempt <= this.rollout.retries && !this.#watch.stopped) {
      this.#again(lane, task, outcome, thrown)
    } else {
      if (outcome.status === 'failed') this.#failed += 1
      this.#hold(outcome, errorClass)
      this.#settle(task, outcome, errorClass)
    }
    if (inVain !== undefined && inVain > this.rollout.retries) this.#leave(lane)
  }

  #settle(task: Task<T>, outcome: TenantOutcome, errorClass: ErrorClass | undefined): void {
    const { fleet: run } = this
    this.#outcomes[task.index] = outcome
    this.#unsettled.delete(task.index)
    run.onOutcome?.(task.item, outcome, errorClass)
    const { tenant, status, durationMs = 0, error } = outcome
    notify(run.options.onEvent, { event: 'tenant_finished', tenant, status, durationMs, ...(error ? { error } : {}) })
  }

  /** A server that does not answer is one failure, whatever is on it; the others go on. */
  #leave(lane: Lane<T>): void {
    const tasks = lane.close()
    if (tasks.length === 0) return
    const reason = unreached([lane.server])
    this.#failed += 1
    this.#silent.push(lane.server)
    const message = `${reason}: what is left to do there is left out`
    notify(this.fleet.options.onEvent, { event: 'notice', message })
    for (const task of tasks) {
      const failed = this.#unsettled.get(task.index)
      this.#settle(
        task,
        failed ?? { tenant: this.fleet.slugOf(task.item), status: 'skipped', reason },
        failed && 'transient',
      )
    }
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

function unreached(servers: readonly string[]): string {
  return `${servers.map(server => (server === '' ? 'the server' : `server "${server}"`)).join(', ')} could not be reached`
}

function reasonOf({ report, tenant }: { report: ErrorReport; tenant: string }): string {
  const what = [report.sqlstate, report.migration && `in ${report.migration}`].filter(Boolean).join(' ')
  return `"${tenant}" failed with an error that would meet every tenant (${what || report.code})`
}
