import { TenancyError } from '../errors.ts'
import { type Client, withTransaction } from '../postgres/connect.ts'
import { findDatabase, renameDatabase } from '../postgres/databases.ts'
import { actAs, findRole, renameRole } from '../postgres/roles.ts'
import { roleNames, rolesOf } from '../registry/roles.ts'
import type { Tenant, TenantStatus } from '../registry/tenant.ts'
import { closeTenant, openTenant } from './access.ts'
import type { Place } from './handover.ts'
import type { ProvisioningStep, TenantOnServer } from './step.ts'

interface TombstonePlan {
  /** How long the data is kept after the drop. Unused on the way back. */
  retainMs: number
  /** What the tenant is after an undrop: one that was suspended is not let in. */
  formerStatus: TenantStatus
}

/**
 * A drop that keeps the data, from top to bottom; an undrop undoes it from bottom to top. While it is under way the
 * tenant's status is `dropping`, and its database and roles bear either its own names or those of its tombstone: drop
 * and undrop go on from wherever they find them.
 */
export function tombstoneSteps(plan: TombstonePlan): readonly ProvisioningStep[] {
  return [
    {
      name: 'recordStatus',
      isDone: async ({ tenant }) => tenant.status === 'dropping',
      apply: ({ parts, tenant }) => parts.registry.beginDrop(tenant.id),
      undo: ({ parts, tenant, operationId }) => parts.registry.settle(tenant, plan.formerStatus, operationId),
    },
    {
      name: 'closeAccess',
      isDone: async ({ tenant }) => isTombstone(tenant),
      apply: context => closeTenant(context, { endSessions: context.force }),
      undo: async context => {
        if (plan.formerStatus === 'active') await openTenant(context)
      },
    },
    {
      name: 'rename',
      isDone: async ({ tenant }) => isTombstone(tenant),
      apply: context => rename(context, context.tenant, tombstoneOf(context.tenant)),
      undo: async context => {
        const database = await findDatabase(context.admin, context.tenant.database)
        if (database?.marker !== context.marker) await rename(context, tombstoneOf(context.tenant), context.tenant)
      },
    },
    {
      name: 'retain',
      isDone: async () => false,
      apply: ({ parts, tenant, operationId }) => parts.retained.retain(tombstoneOf(tenant), plan.retainMs, operationId),
      undo: ({ parts, tenant }) => parts.retained.claim(tenant),
    },
  ]
}

/** The same tenant under the names of its tombstone: made from its id, so that they are its own. */
function tombstoneOf<T extends Pick<Tenant, 'id' | 'database' | 'username'>>(tenant: T): T {
  const name = `tenantctl_old_${tenant.id.replaceAll('-', '')}`
  return { ...tenant, database: name, username: name }
}

/** The tenant under the names that its database and roles have: those of its row, or of its tombstone. */
export async function locate(context: TenantOnServer): Promise<Tenant> {
  const tombstone = tombstoneOf(context.tenant)
  for (const candidate of [context.tenant, tombstone]) {
    const { admin, marker } = context
    if ((await findDatabase(admin, candidate.database))?.marker === marker) return candidate
    for (const name of roleNames(candidate)) {
      if ((await findRole(admin, name))?.marker === marker) return candidate
    }
  }
  return context.tenant
}

function isTombstone(tenant: Tenant): boolean {
  return tenant.database === tombstoneOf(tenant).database
}

/** Gives a database and its roles other names, within the caller's transaction. */
export async function renamePlace(admin: Client, from: Place, to: Place): Promise<void> {
  const names = roleNames(to)
  await renameDatabase(admin, from.database, to.database)
  for (const [index, name] of roleNames(from).entries()) await renameRole(admin, name, names[index] as string)
  const { owner, migrator } = rolesOf(to)
  // A role's setting holds the name of the role that it acts as.
  if (to.roles === 'separate') await actAs(admin, migrator, to.database, owner)
}

/** In one transaction: all bear the old names or all the new ones. */
async function rename({ admin }: TenantOnServer, from: Tenant, to: Tenant): Promise<void> {
  try {
    await withTransaction(admin, () => renamePlace(admin, from, to))
  } catch (error) {
    if ((error as { sqlstate?: string }).sqlstate !== '55006') throw error
    throw new TenancyError('CONNECTIONS_OPEN', `database "${from.database}" is in use: ${(error as Error).message}`, {
      sqlstate: '55006',
      tenant: from.slug,
      hint: 'a prepared transaction or a replication slot may hold it (pg_prepared_xacts, pg_replication_slots)',
      cause: error,
    })
  }
}
