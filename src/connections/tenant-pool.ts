import type { PooledConnection, PoolTenant } from './pool-types.ts'

/** After "too many connections" from the server, the next try for that tenant. */
const firstBackoffMs = 50
const longestBackoffMs = 1_000

/** A request for a connection. */
export interface Waiter<Connection> {
  /** Its number in the order of arrival, over all tenants. */
  arrival: number
  since: number
  resolve(connection: Connection): void
  reject(error: unknown): void
  timer?: NodeJS.Timeout
  /** No connection was being opened for it when it came. */
  queued?: boolean
}

/** A connection that the pool holds. */
export interface Held<Connection extends PooledConnection> {
  connection: Connection
  pool: TenantPool<Connection>
  /** Of the pool when it was opened: an older one is closed instead of used again. */
  generation: number
  busy: boolean
  closing: boolean
  openedAt: number
  idleSince: number
  closed: Promise<void>
  markClosed(): void
}

/** The connections and the waiting requests of one tenant: books that `ConnectionPool` keeps. */
export class TenantPool<Connection extends PooledConnection> {
  /** In the order of arrival. */
  readonly waiters = new Set<Waiter<Connection>>()
  /** Most recently used last. */
  readonly idle: Held<Connection>[] = []
  readonly all = new Set<Held<Connection>>()
  /** Opening, open and closing ones. */
  size = 0
  opening = 0
  generation = 0
  /** The server refused one more; it is asked again after a while. */
  paused = false
  lastFailure: unknown
  #backoffMs = 0

  constructor(
    public tenant: PoolTenant<Connection>,
    private readonly limit: number,
  ) {}

  /** How many more connections its requests could use, and may have. */
  get wanted(): number {
    return this.paused ? 0 : Math.max(0, Math.min(this.waiters.size - this.opening, this.limit - this.size))
  }

  /** Arrival of the first request that no connection is being opened for. */
  get arrival(): number {
    return this.#first?.arrival ?? Number.POSITIVE_INFINITY
  }

  /** Since when that request waits. */
  get waitingSince(): number {
    return this.#first?.since ?? Number.POSITIVE_INFINITY
  }

  get #first(): Waiter<Connection> | undefined {
    let skip = this.opening
    for (const waiter of this.waiters) if (skip-- === 0) return waiter
    return undefined
  }

  /** Asks for no more connections for a while, less and less often. */
  pause(failure: unknown, onResume: () => void): void {
    this.paused = true
    this.lastFailure = failure
    this.#backoffMs = Math.min(Math.max(this.#backoffMs * 2, firstBackoffMs), longestBackoffMs)
    setTimeout(() => {
      this.paused = false
      onResume()
    }, this.#backoffMs).unref()
  }

  /** The server has given one again. */
  resume(): void {
    this.#backoffMs = 0
  }

  hold(connection: Connection, generation: number): Held<Connection> {
    const { promise, resolve } = withResolvers()
    const held: Held<Connection> = {
      connection,
      pool: this,
      generation,
      busy: false,
      closing: false,
      openedAt: performance.now(),
      idleSince: 0,
      closed: promise,
      markClosed: resolve,
    }
    this.all.add(held)
    return held
  }

  /** It is being closed: nobody may get it any more. */
  drop(held: Held<Connection>): void {
    const index = this.idle.indexOf(held)
    if (index >= 0) this.idle.splice(index, 1)
  }
}

/** `Promise.withResolvers`, which Node 20 lacks. */
function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>(done => {
    resolve = done
  })
  return { promise, resolve }
}
