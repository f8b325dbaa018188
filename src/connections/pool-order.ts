import type { PooledConnection } from './pool-types.ts'
import type { Held, TenantPool, Waiter } from './tenant-pool.ts'

/**
 * Who is next, and for whom another tenant's connection is closed. To open one costs as much as dozens of queries, so
 * that strict turns between tenants would waste a busy server's time on logins. Thus: a tenant without any connection
 * comes first; a connection that its own tenant has work for stays for a while; and nobody waits for ever.
 */

/** What it costs to open a connection decides what is worth waiting for. */
export class Pace {
  /** Of the last openings; 10 ms until there was one. */
  #openingMs = 10

  constructor(private readonly acquireTimeoutMs: number) {}

  /** Takes note of how long it took, and gives that back. */
  opened(durationMs: number): number {
    this.#openingMs += (durationMs - this.#openingMs) / 8
    return durationMs
  }

  /** A tenant that has a connection is likely to get it back sooner than another one can be opened. */
  get patienceMs(): number {
    return Math.min(Math.max(25, this.#openingMs), this.acquireTimeoutMs / 10)
  }

  /** What a new connection may do for its own tenant before it can be taken away. */
  get tenureMs(): number {
    return Math.min(Math.max(50, 4 * this.#openingMs), this.acquireTimeoutMs / 10)
  }

  /** After that, a request gets a connection even if its tenant has no fewer than the others. */
  get longestWaitMs(): number {
    return this.acquireTimeoutMs / 4
  }
}

type Pools<Connection extends PooledConnection> = Iterable<TenantPool<Connection>>

/** The tenant that the next free place of the budget is for. */
export function nextToOpen<Connection extends PooledConnection>(
  wanting: Pools<Connection>,
): TenantPool<Connection> | undefined {
  let next: TenantPool<Connection> | undefined
  for (const pool of wanting) if (!next || isBefore(pool, next)) next = pool
  return next
}

function isBefore<Connection extends PooledConnection>(
  one: TenantPool<Connection>,
  other: TenantPool<Connection>,
): boolean {
  const [first, second] = [one.size === 0, other.size === 0]
  return first === second ? one.arrival < other.arrival : first
}

/** More connections are wanted, and worth to make room for, than are being closed. */
export function lacksRoom<Connection extends PooledConnection>(
  wanting: Pools<Connection>,
  closing: number,
  pace: Pace,
): boolean {
  const now = performance.now()
  let wanted = 0
  for (const pool of wanting) {
    wanted += pressing(pool, now, pace)
    if (wanted > closing) return true
  }
  return false
}

function pressing<Connection extends PooledConnection>(pool: TenantPool<Connection>, now: number, pace: Pace): number {
  if (now - pool.waitingSince >= pace.patienceMs) return pool.wanted
  return pool.size === 0 ? Math.min(pool.wanted, 1) : 0
}

/** A connection that came back, and that its own tenant may have work for, is to make room for another tenant. */
export function isWantedElsewhere<Connection extends PooledConnection>(
  { pool, openedAt }: Held<Connection>,
  waiter: Waiter<Connection> | undefined,
  wanting: Pools<Connection>,
  pace: Pace,
): boolean {
  const now = performance.now()
  if (waiter && now - openedAt < pace.tenureMs) return false
  for (const other of wanting) {
    if (other === pool || pressing(other, now, pace) === 0) continue
    if (!waiter) return true
    const isPoorer = other.size === 0 || other.size + 1 < pool.size
    if (other.arrival < waiter.arrival && (isPoorer || now - other.waitingSince >= pace.longestWaitMs)) return true
  }
  return false
}
