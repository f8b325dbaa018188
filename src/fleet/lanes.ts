import { Limit, type LimitBounds } from './limit.ts'

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

  /** The next task that may be begun now, if any. */
  take(now: number): Task<T> | undefined {
    if (this.running >= this.limit.current) return undefined
    const fresh = this.#fresh[this.#next]
    if (fresh) {
      this.#next += 1
      return fresh
    }
    const [again] = this.#again
    return again && again.notBefore <= now ? this.#again.shift() : undefined
  }

  /** When the next further attempt is due; undefined while fresh tenants wait, or none does. */
  get dueAt(): number | undefined {
    return this.#next < this.#fresh.length ? undefined : this.#again[0]?.notBefore
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

  get dueAt(): number | undefined {
    const due = this.all.flatMap(lane => lane.dueAt ?? [])
    return due.length === 0 ? undefined : Math.min(...due)
  }
}
