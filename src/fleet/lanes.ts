import { Limit, type LimitBounds } from './limit.ts'
import { delayOfServer } from './rollout.ts'

/** A tenant on its way through a run. */
export interface Task<T> {
  item: T
  index: number
  attempt: number
  /** By performance.now(). */
  notBefore: number
  canary: boolean
  /** What is known of it whatever comes: see Visit. */
  notes: TaskNotes
}

export interface TaskNotes {
  from?: string | null
  to?: string | null
  applied?: string[]
}

/** The queue of one server, and how many of it may run at once. */
export class Lane<T> {
  running = 0
  readonly limit: Limit
  #fresh: Task<T>[] = []
  #next = 0
  /** Further attempts, soonest first; they come when no fresh tenant is left. */
  #again: Task<T>[] = []
  /** Set from a lost connection to the next answer: how often the server was tried since, and when it is tried next. */
  #silence: { tries: number; trying: boolean; notBefore: number } | undefined

  constructor(
    readonly server: string,
    bounds: LimitBounds,
  ) {
    this.limit = new Limit(bounds)
  }

  get waiting(): number {
    return this.#fresh.length - this.#next + this.#again.length
  }

  add(task: Task<T>): void {
    this.#fresh.push(task)
  }

  addAgain(task: Task<T>): void {
    this.#again.push(task)
    this.#again.sort((a, b) => a.notBefore - b.notBefore)
  }

  /** The next task that may be begun now, if any; of a server that does not answer, one at a time. */
  take(now: number): Task<T> | undefined {
    if (this.running >= this.limit.current) return undefined
    if (this.#silence && (this.running > 0 || this.#silence.notBefore > now)) return undefined
    const task = this.#pick(now)
    if (task && this.#silence) this.#silence.trying = true
    return task
  }

  #pick(now: number): Task<T> | undefined {
    const fresh = this.#fresh[this.#next]
    if (fresh) {
      this.#next += 1
      return fresh
    }
    const [again] = this.#again
    return again && again.notBefore <= now ? this.#again.shift() : undefined
  }

  answered(): void {
    this.#silence = undefined
  }

  /** A connection failed. Returns how often the server was tried in vain since it fell silent. */
  lost(now: number): number {
    const { tries = 0, trying = false } = this.#silence ?? {}
    const inVain = trying ? tries + 1 : tries
    this.#silence = { tries: inVain, trying: false, notBefore: now + delayOfServer(inVain) }
    return inVain
  }

  /** Gives up those that wait. */
  close(): Task<T>[] {
    const waiting = [...this.#fresh.slice(this.#next), ...this.#again]
    this.#next = this.#fresh.length
    this.#again = []
    return waiting
  }

  /** When the next task is due; undefined while one could be begun at once, or none waits. */
  get dueAt(): number | undefined {
    const due = this.#next < this.#fresh.length ? 0 : this.#again[0]?.notBefore
    if (due === undefined || !this.#silence) return due === 0 ? undefined : due
    return Math.max(due, this.#silence.notBefore)
  }
}

/** The lanes in turn, so that no server waits for another's tenants. */
export class Lanes<T> {
  #turn = 0

  constructor(readonly all: readonly Lane<T>[]) {}

  take(now: number): { lane: Lane<T>; task: Task<T> } | undefined {
    for (let step = 0; step < this.all.length; step += 1) {
      const index = (this.#turn + step) % this.all.length
      const lane = this.all[index] as Lane<T>
      const task = lane.take(now)
      if (!task) continue
      this.#turn = index + 1
      return { lane, task }
    }
    return undefined
  }

  get running(): number {
    return this.all.reduce((sum, lane) => sum + lane.running, 0)
  }

  get waiting(): number {
    return this.all.reduce((sum, lane) => sum + lane.waiting, 0)
  }

  /** What is due by now and was not begun waits for one of those at work. */
  dueAfter(now: number): number | undefined {
    const due = this.all.flatMap(lane => lane.dueAt ?? []).filter(at => at > now)
    return due.length === 0 ? undefined : Math.min(...due)
  }
}
