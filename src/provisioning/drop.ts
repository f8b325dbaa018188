import { isTenancyError, TenancyError } from '../errors.ts'
import { findDatabase, findMarked } from '../postgres/databases.ts'
import { findRole } from '../postgres/roles.ts'
import { sessionsOf } from '../postgres/sessions.ts'
import { roleNames } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { openTenant } from './access.ts'
import { type BackupTarget, backupStep, dumpRoleName, removeDumpRole } from './backup.ts'
import { connectionsOpen } from './conflicts.ts'
import type { RunOptions } from './create.ts'
import { refuseElsewhere } from './elsewhere.ts'
import { askHook } from './hooks.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { applySteps, type StepContext, undoSteps } from './step.ts'
import { provisioningSteps } from './steps.ts'
import { locate, tombstoneSteps } from './tombstone.ts'

export interface DropOptions extends RunOptions {
  /** End open connections; without it they are `CONNECTIONS_OPEN`. Default: false. */
  force?: boolean
  /** Milliseconds for which the data is kept under the name of a tombstone. Default: it is removed at once. */
  retainMs?: number | undefined
  /** Where to write a verified dump before anything is removed. Default: none is written. */
  backup?: BackupTarget | undefined
}

export interface Dropped {
  /** Until when the data is kept; undefined when it is gone. */
  retainedUntil: string | undefined
  /** Path of the dump; undefined when none was wanted, or there was nothing to dump. */
  backup: string | undefined
}

/**
 * Removes a tenant's database, roles and row by undoing the steps that made them, or turns them into a tombstone; the
 * journal stays.
 */
export async function dropTenant(
  parts: ProvisioningParts,
  tenant: Tenant,
  { retainMs, backup: target, ...options }: DropOptions,
): Promise<Dropped> {
  const parameters = {
    ...(retainMs === undefined ? {} : { retainMs }),
    ...(target === undefined ? {} : { backupDirectory: target.directory, formerStatus: tenant.status }),
  }
  let backup: string | undefined
  await runOperation(parts, 'drop', tenant, { ...options, parameters }, async found => {
    // A drop or an undrop that was cut off may have left it under the name of its tombstone.
    const context = { ...found, tenant: await locate(found) }
    await removeDumpRole(context)
    await refuseDrop(context)
    await refuseElsewhere(context, { forGood: retainMs === undefined })
    await askHook('beforeDrop', tenant.slug, () => parts.config.hooks.beforeDrop?.(found.tenant))
    if (target) {
      const step = backupStep(target, path => {
        backup = path
      })
      await applySteps([step], context)
    }
    const from = target ? 1 : 0
    try {
      if (retainMs !== undefined && (await isWhole(context))) {
        await applySteps(tombstoneSteps({ retainMs, formerStatus: found.tenant.status }), context, from)
      } else await undoSteps(provisioningSteps, context, from)
    } catch (error) {
      if (!isTenancyError(error)) throw error
      if (error.code === 'CONNECTIONS_OPEN') return await backOut(context, error)
      throw error.with({ hint: `\`tenantctl drop ${tenant.slug}\` goes on from there` })
    }
  })
  return { retainedUntil: (await parts.retained.find(tenant.id))?.retainedUntil, backup }
}

/** There is something to keep: of what a create left half-made, only a database that has its final name. */
async function isWhole({ admin, tenant, marker }: StepContext): Promise<boolean> {
  const database = await findDatabase(admin, tenant.database)
  return database?.marker === marker && !database.invalid
}

/** Somebody is in: as if nothing had been begun. A tenant that was not active before stays shut, and says so. */
async function backOut(context: StepContext, error: TenancyError): Promise<never> {
  const { parts, tenant } = context
  if (tenant.status === 'active') await openTenant(context)
  await parts.registry.setStatus(tenant.id, tenant.status)
  throw error
}

/** All that forbids a drop is looked for before anything is touched. */
async function refuseDrop(context: StepContext): Promise<void> {
  const { admin, tenant, marker, force } = context
  if (tenant.protected) {
    throw new TenancyError('TENANT_PROTECTED', `tenant "${tenant.slug}" is protected against being dropped`, {
      tenant: tenant.slug,
      hint: `tenantctl unprotect ${tenant.slug}`,
    })
  }
  const database = await findDatabase(admin, tenant.database)
  const roles: Awaited<ReturnType<typeof findRole>>[] = []
  const ownRoles: string[] = []
  for (const name of roleNames(tenant)) {
    const role = await findRole(admin, name)
    roles.push(role)
    if (role?.marker === marker) ownRoles.push(name)
  }
  // One that never got that far may well stand beside a foreign database of the name it wanted.
  const complete = tenant.status === 'active' || tenant.status === 'suspended'
  const foreign = [database, ...roles].some(each => each && each.marker !== marker)
  if (complete && foreign) {
    throw new TenancyError(
      'TENANT_MISMATCH',
      `database "${tenant.database}" or role "${tenant.username}" does not carry the marker of tenant "${tenant.slug}"`,
      {
        tenant: tenant.slug,
        hint: 'nothing was touched: the registry and the server disagree, see `tenantctl doctor`',
      },
    )
  }
  await refuseRenamed(admin, tenant, marker)
  if (force) return
  const whose = { database: database?.marker === marker ? tenant.database : '', roles: ownRoles }
  const sessions = await sessionsOf(admin, whose)
  if (sessions.length > 0) throw connectionsOpen(tenant, sessions)
}

/** Taking the registry's word would remove the row, and leave what it should have named behind. */
async function refuseRenamed(admin: StepContext['admin'], tenant: Tenant, marker: string): Promise<void> {
  const { databases, roles } = await findMarked(admin, marker)
  const expected = [...roleNames(tenant), dumpRoleName(tenant.id)]
  const renamed = [
    ...databases.filter(name => name !== tenant.database).map(name => `database "${name}"`),
    ...roles.filter(name => !expected.includes(name)).map(name => `role "${name}"`),
  ]
  if (renamed.length === 0) return
  throw new TenancyError(
    'TENANT_MISMATCH',
    `${renamed.join(', ')} belongs to tenant "${tenant.slug}", whose row names database "${tenant.database}" and role "${tenant.username}"`,
    {
      tenant: tenant.slug,
      hint: 'nothing was touched: give it the name that the registry has, or correct the registry',
    },
  )
}
