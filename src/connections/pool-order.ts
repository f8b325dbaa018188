import type { PooledConnection } from './pool-types.ts'
import type { Held, TenantPool, Waiter } from './tenant-pool.ts'

/**
 * Who is next, and for whom another tenant's connection is closed. To open one costs as much as dozens of queries, so
 * that strict turns between tenants would waste a busy server's time on logins. Thus: a tenant without any connection
 * comes first; a connection that its own tenant has work for stays for a while; and nobody waits for ever.
 */

/** A tenant that has a connection is likely to get it back sooner than another one can be opened. */
export const patienceMs = 25
/** What a new connection may do for its own tenant before it can be taken away. */
const tenureMs = 50

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
export function lacksRoom<Connection extends PooledConnection>(wanting: Pools<Connection>, closing: number): boolean {
  const now = performance.now()
  let wanted = 0
  for (const pool of wanting) {
    wanted += pressing(pool, now)
    if (wanted > closing) return true
  }
  return false
}

function pressing<Connection extends PooledConnection>(pool: TenantPool<Connection>, now: number): number {
  if (now - pool.waitingSince >= patienceMs) return pool.wanted
  return pool.size === 0 ? Math.min(pool.wanted, 1) : 0
}

/** A connection that came back, and that its own tenant may have work for, is to make room for another tenant. */
export function isWantedElsewhere<Connection extends PooledConnection>(
  { pool, openedAt }: Held<Connection>,
  waiter: Waiter<Connection> | undefined,
  wanting: Pools<Connection>,
  longestWaitMs: number,
): boolean {
  const now = performance.now()
  if (waiter && now - openedAt < tenureMs) return false
  for (const other of wanting) {
    if (other === pool || pressing(other, now) === 0) continue
    if (!waiter) return true
    const isPoorer = other.size === 0 || other.size + 1 < pool.size
    if (other.arrival < waiter.arrival && (isPoorer || now - other.waitingSince >= longestWaitMs)) return true
  }
  return false
}
