import { TenancyError } from '../errors.ts'
import type { PooledConnection, PoolLimits } from './pool-types.ts'
import type { TenantPool } from './tenant-pool.ts'

export function closedError(): TenancyError {
  return new TenancyError('CLOSED', 'the tenancy was closed')
}

/** Says what stood in the way: the server, the tenant's share, or the budget. */
export function timeoutError<Connection extends PooledConnection>(
  pool: TenantPool<Connection>,
  { max, perTenant, acquireTimeoutMs }: PoolLimits,
): TenancyError {
  const { slug } = pool.tenant
  const message = (why: string) => `no connection within ${acquireTimeoutMs} ms: ${why}`
  if (pool.paused) {
    return new TenancyError('POOL_TIMEOUT', message(`the server has none left for tenant "${slug}"`), {
      tenant: slug,
      hint: 'raise max_connections of the server or the connection limit of the role, or lower connections.perTenant',
      cause: pool.lastFailure,
    })
  }
  if (pool.opening > 0 && pool.opening === pool.size) {
    return new TenancyError('POOL_TIMEOUT', message(`the first one for tenant "${slug}" is still being opened`), {
      tenant: slug,
      hint: 'the server is slow to log in: look at its load, or raise connections.acquireTimeout',
    })
  }
  const usesItsShare = pool.size >= perTenant
  const why = usesItsShare
    ? `tenant "${slug}" has all of its ${perTenant} connections in use`
    : `all ${max} connections are in use`
  return new TenancyError('POOL_TIMEOUT', message(why), {
    tenant: slug,
    hint: `raise connections.${usesItsShare ? 'perTenant' : 'max'}, or look for transactions that stay open and for queries inside of a transaction that were not given it`,
  })
}
