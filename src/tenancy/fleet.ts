import { isTenancyError, TenancyError } from '../errors.ts'
import type { FleetCommand, Listener } from '../events.ts'
import type { FleetResult, TenantOutcome } from '../fleet/result.ts'
import type { RolloutOptions } from '../fleet/rollout.ts'
import { runFleet } from '../fleet/run-fleet.ts'
import type { Selection } from '../fleet/selection.ts'
import { bookkeepingTimeoutMs } from '../migrations/migrate.ts'
import { type Client, withClient } from '../postgres/connect.ts'
import { classOf } from '../postgres/sqlstate.ts'
import type { OperationKind } from '../registry/operation.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { Parts } from './parts.ts'

export interface FleetOptions extends RolloutOptions {
  /** Cancels running statements and begins no further tenant. */
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

export type Work<T> = (item: T) => Promise<Omit<TenantOutcome, 'tenant' | 'durationMs'>>

/** `runFleet` with what the configuration says where the options say nothing. */
export function runOverTenants<T extends { slug: string }>(
  parts: Parts,
  command: FleetCommand,
  items: readonly T[],
  options: FleetOptions,
  work: Work<T>,
): Promise<FleetResult> {
  const { fleet, onEvent } = parts.config
  return runFleet({
    command,
    items,
    slugOf: item => item.slug,
    work,
    classify: classOf,
    options: {
      ...options,
      concurrency: options.concurrency ?? fleet.concurrency ?? undefined,
      maxFailures: options.maxFailures ?? fleet.maxFailures ?? undefined,
      onEvent: options.onEvent ?? onEvent,
    },
  })
}

/** A connection as the tenant itself: whatever code it has planted in its database runs with its own rights. */
export async function asTenant<T>(
  parts: Parts,
  tenant: Tenant,
  options: { lockTimeoutMs?: number; signal?: AbortSignal | undefined },
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const address = parts.servers.tenant(tenant, await parts.registry.credentials(tenant, 'migrator'))
  const settings = {
    lock_timeout: options.lockTimeoutMs ?? parts.config.migrations.lockTimeoutMs,
    statement_timeout: bookkeepingTimeoutMs,
  }
  const doing = `logging in to database "${tenant.database}" as role "${address.user}"`
  return withClient(address, { settings, signal: options.signal, doing }, work)
}

/** Writes an operation that locks the tenant's database into the journal, from where it begins to change something. */
export async function journaled<T>(
  parts: Parts,
  kind: OperationKind,
  tenant: Tenant,
  work: (begin: (parameters: object) => Promise<string>) => Promise<T>,
): Promise<T> {
  let operationId: string | undefined
  try {
    return await work(async parameters => {
      operationId = await parts.journal.begin(kind, tenant, parameters)
      return operationId
    })
  } catch (error) {
    if (operationId !== undefined) await parts.journal.fail(operationId, error).catch(() => undefined)
    throw isTenancyError(error) ? error.with({ operationId }) : error
  }
}

/**
 * What becomes of a tenant that is not active: left out of a fleet, but an error for whoever named it. Undefined for
 * one that is.
 */
export function unlessActive(tenant: Tenant, selection: Selection): { status: 'skipped'; reason: string } | undefined {
  const { slug, status } = tenant
  if (status === 'active') return undefined
  const message = `tenant "${slug}" is ${status}`
  if (!('tenants' in selection)) return { status: 'skipped', reason: message }
  const codes = { suspended: 'TENANT_SUSPENDED', dropping: 'TENANT_DROPPING', failed: 'TENANT_FAILED' } as const
  const code = status === 'provisioning' ? 'TENANT_NOT_READY' : codes[status]
  const next = { suspended: 'resume', dropping: 'drop', failed: 'create', provisioning: 'create' }[status]
  throw new TenancyError(code, message, { tenant: slug, hint: `tenantctl ${next} ${slug}` })
}
