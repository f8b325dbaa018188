import type { TenancyError } from '../errors.ts'
import { sqlstateOf } from '../postgres/sqlstate.ts'
import { IdleConnections } from './idle-connections.ts'
import { closedError, timeoutError } from './pool-errors.ts'
import { isWantedElsewhere, lacksRoom, nextToOpen, Pace } from './pool-order.ts'
import type { CloseReason, PooledConnection, PoolLimits, PoolObserver, PoolStats, PoolTenant } from './pool-types.ts'
import { type Held, TenantPool, type Waiter } from './tenant-pool.ts'

/**
 * The connections of all tenants under one budget. A tenant's requests are served in the order in which they came; when
 * the budget is spent, the connection that was idle for longest makes room for another tenant, see `pool-order.ts`. One
 * that is in use is never closed.
 */
export class ConnectionPool<Connection extends PooledConnection> {
  readonly #tenants = new Map<string, TenantPool<Connection>>()
  readonly #held = new Map<Connection, Held<Connection>>()
  readonly #idle: IdleConnections<Connection>
  readonly #pace: Pace
  /** Tenants that want one connection more and may have it. */
  readonly #wanting = new Set<TenantPool<Connection>>()
  /** Opening, open and closing connections: the server counts one until its session has ended. */
  #size = 0
  #closing = 0
  #arrivals = 0
  #evictions = 0
  #timeouts = 0
  #later: NodeJS.Timeout | undefined
  #closed = false
  readonly #whenEmpty: (() => void)[] = []

  constructor(
    private readonly limits: PoolLimits,
    private readonly observer: PoolObserver,
  ) {
    this.#idle = new IdleConnections(limits.idleTimeoutMs, held => this.#close(held, 'idle'))
    this.#pace = new Pace(limits.acquireTimeoutMs)
  }

  get stats(): PoolStats {
    let waiting = 0
    for (const tenant of this.#tenants.values()) waiting += tenant.waiters.size
    return {
      pools: this.#tenants.size,
      connections: this.#size,
      idle: this.#idle.size,
      waiting,
      evictions: this.#evictions,
      timeouts: this.#timeouts,
    }
  }

  has(tenantId: string): boolean {
    return this.#tenants.has(tenantId)
  }

  /** Throws `POOL_TIMEOUT` after `acquireTimeoutMs`, and whatever opening a connection throws. */
  acquire(tenant: PoolTenant<Connection>): Promise<Connection> {
    if (this.#closed) return Promise.reject(closedError())
    const pool = this.#poolOf(tenant)
    const held = pool.waiters.size === 0 ? pool.idle.pop() : undefined
    if (held) {
      this.#idle.delete(held)
      return Promise.resolve(this.#use(held))
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter<Connection> = { arrival: ++this.#arrivals, since: performance.now(), resolve, reject }
      waiter.timer = setTimeout(() => this.#timeOut(pool, waiter), this.limits.acquireTimeoutMs)
      pool.waiters.add(waiter)
      this.#changed(pool)
      this.#serve()
      waiter.queued = pool.waiters.size > pool.opening
    })
  }

  /** The tenant's database is another one, or elsewhere: connections to where it was are closed when they are free. */
  moved(tenantId: string, place: string): void {
    const pool = this.#tenants.get(tenantId)
    if (!pool || pool.tenant.place === place) return
    pool.tenant = { ...pool.tenant, place }
    void this.drain(tenantId)
  }

  /** Takes a connection back; one that is not clean is closed. */
  release(connection: Connection): void {
    const held = this.#held.get(connection)
    if (!held?.busy) return
    held.busy = false
    if (connection.clean) this.#returned(held)
    else void connection.settle().then(() => this.#returned(held))
  }

  /**
   * Closes a tenant's connections, the ones in use when they come back. With `refusal`, requests that wait get it.
   * Resolves when all are closed.
   */
  async drain(tenantId: string, refusal?: TenancyError): Promise<void> {
    const pool = this.#tenants.get(tenantId)
    if (!pool) return
    pool.generation += 1
    if (refusal) {
      for (const waiter of pool.waiters) this.#settle(pool, waiter).reject(refusal)
      this.#changed(pool)
    }
    for (const held of [...pool.idle]) this.#close(held, 'drained')
    await Promise.all([...pool.all].map(held => held.closed))
  }

  /** Refuses who waits, and closes every connection; the ones still in use after `acquireTimeoutMs` as well. */
  async close(): Promise<void> {
    this.#closed = true
    this.#idle.stop()
    clearTimeout(this.#later)
    const drained = Promise.all([...this.#tenants.keys()].map(id => this.drain(id, closedError())))
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, this.limits.acquireTimeoutMs)
    })
    await Promise.race([drained, late])
    clearTimeout(timer)
    for (const held of [...this.#held.values()]) this.#close(held, 'drained')
    // The ones that are being opened are closed as soon as they are there.
    if (this.#size > 0) await new Promise<void>(resolve => this.#whenEmpty.push(resolve))
  }

  #poolOf(tenant: PoolTenant<Connection>): TenantPool<Connection> {
    let pool = this.#tenants.get(tenant.id)
    if (!pool) {
      pool = new TenantPool(tenant, this.limits.perTenant)
      this.#tenants.set(tenant.id, pool)
      this.observer.poolOpened(tenant.slug)
    }
    const place = pool.tenant.place
    pool.tenant = tenant
    if (place !== tenant.place) void this.drain(tenant.id)
    return pool
  }

  /** Opens what may be opened, in the order of arrival, and makes room where there is none. */
  #serve(): void {
    if (this.#closed) return
    while (this.#wanting.size > 0) {
      if (this.#size < this.limits.max) void this.#open(nextToOpen(this.#wanting) as TenantPool<Connection>)
      else if (this.#idle.size === 0) return
      else if (lacksRoom(this.#wanting, this.#closing, this.#pace)) this.#evict()
      else break
    }
    if (this.#wanting.size > 0) this.#serveLater()
  }

  /** Who can be patient for the moment may lose his patience. */
  #serveLater(): void {
    this.#later ??= setTimeout(() => {
      this.#later = undefined
      this.#serve()
    }, this.#pace.patienceMs)
  }

  /** Closes the connection that was idle for longest. */
  #evict(): void {
    const { oldest } = this.#idle
    if (!oldest) return
    this.#evictions += 1
    this.#close(oldest, 'evicted')
  }

  async #open(pool: TenantPool<Connection>): Promise<void> {
    const { generation, tenant } = pool
    const started = performance.now()
    this.#size += 1
    pool.size += 1
    pool.opening += 1
    this.#changed(pool)
    let connection: Connection | undefined
    let failure: unknown
    try {
      connection = await tenant.open()
    } catch (error) {
      failure = error
    }
    pool.opening -= 1
    if (!connection) {
      this.#size -= 1
      pool.size -= 1
      this.#openingFailed(pool, failure)
    } else {
      pool.resume()
      this.observer.connectionOpened(tenant.slug, this.#pace.opened(performance.now() - started))
      this.#returned(this.#hold(pool, connection, generation))
    }
    this.#changed(pool)
    this.#serve()
  }

  #openingFailed(pool: TenantPool<Connection>, failure: unknown): void {
    if (sqlstateOf(failure) === tooManyConnections && !this.#closed) {
      // The server, or the role, has no slot left. Ours may be the idle ones; somebody else's come free as well.
      this.#evict()
      pool.pause(failure, () => {
        this.#changed(pool)
        this.#serve()
      })
      return
    }
    const [waiter] = pool.waiters
    if (waiter) this.#settle(pool, waiter).reject(failure)
  }

  #hold(pool: TenantPool<Connection>, connection: Connection, generation: number): Held<Connection> {
    const held = pool.hold(connection, generation)
    this.#held.set(connection, held)
    connection.onLost(() => {
      // Whoever uses it learns of it from his own query, and gives it back.
      if (this.#idle.has(held)) this.#close(held, 'lost')
    })
    return held
  }

  /** A connection that nobody uses any more: to the next one who waits, to make room, or to the idle ones. */
  #returned(held: Held<Connection>): void {
    const { pool, connection } = held
    if (held.closing) return
    const [waiter] = pool.waiters
    if (this.#closed || held.generation !== pool.generation) this.#close(held, 'drained')
    else if (!connection.clean) this.#close(held, 'unclean')
    else if (this.#isWantedElsewhere(held, waiter)) {
      this.#evictions += 1
      this.#close(held, 'evicted')
    } else if (waiter) {
      this.#settle(pool, waiter).resolve(this.#use(held))
      this.#changed(pool)
    } else this.#keepIdle(held)
  }

  #isWantedElsewhere(held: Held<Connection>, waiter: Waiter<Connection> | undefined): boolean {
    if (this.#size < this.limits.max || !lacksRoom(this.#wanting, this.#closing, this.#pace)) return false
    return isWantedElsewhere(held, waiter, this.#wanting, this.#pace)
  }

  #keepIdle(held: Held<Connection>): void {
    held.pool.idle.push(held)
    this.#idle.add(held)
  }

  #use(held: Held<Connection>): Connection {
    held.busy = true
    held.connection.setBusy(true)
    return held.connection
  }

  #close(held: Held<Connection>, reason: CloseReason): void {
    const { pool, connection } = held
    if (held.closing) return
    held.closing = true
    held.busy = false
    this.#closing += 1
    this.#idle.delete(held)
    this.#held.delete(connection)
    pool.drop(held)
    void connection.close().then(() => {
      this.#closing -= 1
      this.#size -= 1
      pool.size -= 1
      pool.all.delete(held)
      this.observer.connectionClosed(pool.tenant.slug, reason)
      this.#changed(pool)
      held.markClosed()
      this.#serve()
    })
  }

  #timeOut(pool: TenantPool<Connection>, waiter: Waiter<Connection>): void {
    this.#timeouts += 1
    const waitedMs = performance.now() - waiter.since
    const error = timeoutError(pool, this.limits)
    this.#settle(pool, waiter).reject(error)
    this.#changed(pool)
    this.observer.timedOut(pool.tenant.slug, waitedMs)
  }

  /** Takes a request out of the queue; the caller answers it. */
  #settle(pool: TenantPool<Connection>, waiter: Waiter<Connection>): Waiter<Connection> {
    clearTimeout(waiter.timer)
    pool.waiters.delete(waiter)
    if (waiter.queued) this.observer.waited(pool.tenant.slug, performance.now() - waiter.since)
    return waiter
  }

  /** Keeps the books after a tenant's requests or connections have changed. */
  #changed(pool: TenantPool<Connection>): void {
    if (pool.wanted > 0) this.#wanting.add(pool)
    else this.#wanting.delete(pool)
    if (this.#size === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve()
    if (pool.size > 0 || pool.waiters.size > 0 || this.#tenants.get(pool.tenant.id) !== pool) return
    this.#tenants.delete(pool.tenant.id)
    this.observer.poolClosed(pool.tenant.slug, pool.tenant.id)
  }
}

const tooManyConnections = '53300'
