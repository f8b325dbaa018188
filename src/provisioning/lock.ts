import { TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { ServerAddress } from '../postgres/address.ts'
import type { Client } from '../postgres/connect.ts'
import { findLockHolder, type LockHolder, lockKey, withAdvisoryLock } from '../postgres/locks.ts'
import type { RunningOperation } from '../registry/operation-journal.ts'
import type { Tenant } from '../registry/tenant.ts'
import { markerStart } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'

const lockWaitMs = 30_000

export interface LockOptions {
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
  /** How long to wait for another holder. Default: 30 s. 0: not at all. */
  waitMs?: number | undefined
}

/**
 * Runs `work` with an admin session that holds the tenant's lock. The lock is held by the very session that runs the
 * statements: a CREATE DATABASE that goes on in the server after our death keeps the lock until it has ended, so that
 * whoever comes to recover waits for it. Throws `TENANT_LOCKED`.
 */
export async function withTenantLock<T>(
  parts: ProvisioningParts,
  tenant: Pick<Tenant, 'id' | 'slug' | 'server'>,
  options: LockOptions,
  work: (admin: Client) => Promise<T>,
): Promise<T> {
  const { address, doing } = reach(parts, tenant)
  return parts.admins.use(address, { signal: options.signal, doing }, admin => {
    const key = tenantLockKey(parts, tenant.id)
    const holder = async () =>
      describeHolder(await parts.journal.running(tenant.id), await findLockHolder(admin, key).catch(() => undefined))
    const wait = {
      timeoutMs: options.waitMs ?? lockWaitMs,
      signal: options.signal,
      evict: markerStart,
      onWait: async () => notify(options.onEvent, { event: 'waiting', tenant: tenant.slug, reason: await holder() }),
      onTimeout: async () =>
        new TenancyError('TENANT_LOCKED', await holder(), {
          tenant: tenant.slug,
          hint: 'wait for it to finish, then run the same command again; the lock ends with its holder',
        }),
    }
    return withAdvisoryLock(admin, key, wait, () => work(admin))
  })
}

/** The admin's way to a tenant's server, and what to call it in an error. */
export function reach(
  parts: Pick<ProvisioningParts, 'servers'>,
  { server }: Pick<Tenant, 'server'>,
): { address: ServerAddress; doing: string } {
  const address = parts.servers.admin(server)
  return { address, doing: `connecting to server "${server}" as ${address.user}` }
}

/** Of the lock that whoever changes a tenant holds, in the maintenance database of its server. */
export function tenantLockKey(parts: Pick<ProvisioningParts, 'registryId'>, tenantId: string): string {
  return lockKey('tenant', parts.registryId, tenantId)
}

function describeHolder(operation: RunningOperation | undefined, session: LockHolder | undefined): string {
  if (!operation && session) return `locked by pid ${session.pid} (${session.role}) since ${session.since}`
  if (!operation) return 'locked by another run'
  return `locked by "${operation.kind}" of ${operation.actor} (pid ${operation.pid}) since ${operation.startedAt}`
}
