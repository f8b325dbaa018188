import { throwIfAborted } from '../errors.ts'
import { databaseLockKey } from '../migrations/database-lock.ts'
import { heldAdvisoryLocks, lockId } from '../postgres/locks.ts'
import type { OperationKind } from '../registry/operation.ts'
import { databaseKinds } from '../registry/operation-journal.ts'
import { isRetained } from '../registry/retained-tenants.ts'
import type { Tenant, TenantStatus } from '../registry/tenant.ts'
import type { OperationProgress, UnfinishedOperation } from '../registry/unfinished.ts'
import type { RunOptions } from './create.ts'
import { withTenantLock } from './lock.ts'
import { markerStart } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import { makers, remedies } from './remedies.ts'

/** A killed run's statement goes on in the server for a moment, and holds the lock; a living run holds it for longer. */
const lockWaitMs = 5_000

/**
 * Finishes or undoes whatever a crash left half-done on a tenant. Returns what was done, nothing when all was well.
 * Throws `TENANT_LOCKED` when a living run is at work on it, and the error of what could not be finished.
 */
export async function repairTenant(
  parts: ProvisioningParts,
  tenant: Pick<Tenant, 'id' | 'slug' | 'server'>,
  options: RunOptions,
): Promise<string[]> {
  const { interrupted, unfinished, status } = await examine(parts, tenant, options)
  const done = interrupted === 0 ? [] : [`marked ${operations(interrupted)} as interrupted`]
  for (const operation of unfinished) {
    throwIfAborted(options.signal)
    const current = await findTenant(parts, tenant.id)
    if (current && isEarly(operation.kind, current.status)) continue
    if (current) push(done, await remedies[operation.kind]?.finish({ ...operation, parts, tenant: current, options }))
    if (operation.id !== undefined) await parts.unfinished.settle(operation.id)
  }
  // What was brought back may be half-made itself: it was dropped before it was finished.
  const left = await findTenant(parts, tenant.id)
  const isHalfMade = left && !isRetained(left) && makers[left.status] !== undefined && left.status !== status
  return isHalfMade ? [...done, ...(await repairTenant(parts, left, options))] : done
}

/** Whether a tenant, or what the journal says of it, gives a reason to repair it. */
export function needsRepair(
  tenant: { status: TenantStatus; retained: boolean },
  unfinished: readonly UnfinishedOperation[],
): boolean {
  const isUrgent = (operation: UnfinishedOperation) =>
    operation.status === 'running' || (isLeft(operation) && !isEarly(operation.kind, tenant.status))
  return (!tenant.retained && makers[tenant.status] !== undefined) || unfinished.some(isUrgent)
}

/** A purge is about a tenant that was dropped before. */
async function findTenant(parts: ProvisioningParts, id: string): Promise<Tenant | undefined> {
  return (await parts.registry.find(id)) ?? (await parts.retained.find(id))
}

/** A failure that was told has been dealt with, unless its kind leaves something half-done all the same. */
function isLeft({ kind, status }: UnfinishedOperation): boolean {
  return status !== 'failed' || remedies[kind]?.afterFailure === true
}

/** Its remedy waits for the tenant to come back, or to be let in again. */
function isEarly(kind: OperationKind, status: TenantStatus): boolean {
  return remedies[kind]?.statuses?.includes(status) === false
}

interface Examined {
  interrupted: number
  /** Of the tenant; undefined when there is none any more. */
  status: TenantStatus | undefined
  /** What is to be brought to an end, the one that explains the tenant's status first. */
  unfinished: OperationProgress[]
}

async function examine(
  parts: ProvisioningParts,
  tenant: Pick<Tenant, 'id' | 'slug' | 'server'>,
  options: RunOptions,
): Promise<Examined> {
  return withTenantLock(parts, tenant, { ...options, waitMs: lockWaitMs }, async admin => {
    const before = await parts.unfinished.list(tenant.id)
    const current = await findTenant(parts, tenant.id)
    // Nobody else holds the tenant's lock. The one in its database is looked for after the operations were read:
    // whoever wrote one down took its lock before.
    const locks = await heldAdvisoryLocks(admin, markerStart)
    const busy = current !== undefined && locks.has(lockId(current.database, databaseLockKey))
    const dead = before.filter(({ kind, status }) => status === 'running' && !(busy && databaseKinds.includes(kind)))
    const interrupted = await parts.unfinished.interrupt(dead.map(each => each.id))
    const left = (await parts.unfinished.list(tenant.id)).filter(each => each.status !== 'running' && isLeft(each))
    const kinds = current && !isRetained(current) && makers[current.status]
    const status = current?.status
    if (!kinds) return { interrupted, status, unfinished: left }
    const maker = (await parts.unfinished.newest(tenant.id, kinds)) ?? {
      kind: kinds[0] as OperationKind,
      parameters: {},
      steps: [],
    }
    return { interrupted, status, unfinished: [maker, ...left.filter(({ id }) => id !== maker.id)] }
  })
}

function operations(count: number): string {
  return count === 1 ? 'an operation' : `${count} operations`
}

function push<T>(list: T[], item: T | undefined): void {
  if (item !== undefined) list.push(item)
}
