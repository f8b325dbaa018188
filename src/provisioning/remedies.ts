import { isTenancyError, TenancyError } from '../errors.ts'
import { withDatabaseLock } from '../migrations/database-lock.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { versionOf } from '../migrations/version.ts'
import type { OperationKind } from '../registry/operation.ts'
import { isRetained } from '../registry/retained-tenants.ts'
import { historySchema } from '../registry/roles.ts'
import type { Tenant, TenantStatus } from '../registry/tenant.ts'
import { insideAsTenant } from './as-tenant.ts'
import { removeDumpRole } from './backup.ts'
import { finishTenant, type RunOptions } from './create.ts'
import { type DropOptions, dropTenant } from './drop.ts'
import { withTenantLock } from './lock.ts'
import { markerOf } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import { purgeTenant } from './purge.ts'
import { restoreTenant } from './restore.ts'
import { rotatePassword } from './rotate-password.ts'
import { resumeTenant, suspendTenant } from './suspend.ts'
import { undropTenant } from './undrop.ts'

interface RemedyWork {
  parts: ProvisioningParts
  /** Read anew, after the lock was seen to be free. */
  tenant: Tenant
  /** Of the operation that was cut off. */
  parameters: Record<string, unknown>
  /** Names of the steps that it did, or undid. */
  steps: readonly string[]
  options: RunOptions
}

/** How an operation that was cut off is brought to an end. */
interface Remedy {
  /** Wanted after a failure that was told as well: it too leaves something half-done. Default: after a crash alone. */
  afterFailure?: true
  /** Of the tenants that it can be applied to; with others it waits until they are so again. Default: all. */
  statuses?: readonly TenantStatus[]
  /**
   * Runs under no lock: takes the one that it needs, as an ordinary operation. Returns what it did, for the report,
   * or undefined when there was nothing left to do. Must look at the tenant itself: the operation may have ended.
   */
  finish(work: RemedyWork): Promise<string | undefined>
}

/** The logins of a tenant that is being dropped, or kept after its drop, let nobody in. */
const whole: readonly TenantStatus[] = ['active', 'suspended']

/** A kind that is missing needs nothing: it is one transaction, which happened or did not. */
export const remedies: Partial<Record<OperationKind, Remedy>> = {
  create: {
    async finish({ parts, tenant, parameters, options }) {
      if (tenant.status !== 'provisioning' && tenant.status !== 'failed') return undefined
      await finishTenant(parts, tenant, { seed: parameters.seed !== false }, options)
      return 'finished its creation'
    },
  },
  drop: {
    async finish({ parts, tenant, parameters, steps, options }) {
      // It died while the backup was being written, for which the tenant was suspended: nothing was removed yet.
      if (tenant.status === 'suspended' && parameters.backupDirectory && parameters.formerStatus === 'active') {
        // Unless somebody has suspended it since.
        if ((await parts.unfinished.newest(tenant.id, ['drop', 'suspend']))?.kind !== 'drop') return undefined
        await withTenantLock(parts, tenant, options, admin =>
          removeDumpRole({ admin, tenant, marker: markerOf(parts.registryId, tenant.id) }),
        )
        await resumeTenant(parts, tenant, options)
        return 'let it in again: its drop was cut off before its backup was written'
      }
      if (isRetained(tenant) || tenant.status !== 'dropping') return undefined
      // Its data goes only after the backup that was asked for.
      if (parameters.backupDirectory !== undefined && !steps.includes('backup')) throw backupMissing(tenant)
      await dropTenant(parts, tenant, { ...(parameters as DropOptions), ...options })
      return 'finished its drop'
    },
  },
  restore: {
    async finish({ parts, tenant, parameters, options }) {
      if (tenant.status !== 'provisioning' && tenant.status !== 'failed') return undefined
      const { slug, server } = tenant
      await restoreTenant(parts, { dump: String(parameters.dump), slug, server }, options)
      return 'finished its restore'
    },
  },
  undrop: {
    async finish(work) {
      const { parts, tenant, parameters, options } = work
      if (isRetained(tenant) || tenant.status !== 'dropping') return undefined
      try {
        await undropTenant(parts, tenant.id, { slug: parameters.slug as string | undefined, ...options })
        return 'brought it back whole'
      } catch (error) {
        // It came too late: what the undrop found gone can only be finished.
        if (!isTenancyError(error) || error.code !== 'TENANT_DROPPING') throw error
        const drop = await parts.unfinished.newest(tenant.id, ['drop'])
        if (!drop) throw error
        return remedies.drop?.finish({ ...work, ...drop })
      }
    },
  },
  purge: {
    async finish({ parts, tenant, options }) {
      if (!isRetained(tenant) || !(await purgeTenant(parts, tenant, options))) return undefined
      return 'finished its removal'
    },
  },
  suspend: {
    afterFailure: true,
    statuses: whole,
    async finish({ parts, tenant, options }) {
      if (tenant.status !== 'suspended' || !(await suspendTenant(parts, tenant, options))) return undefined
      return 'finished its suspension'
    },
  },
  resume: {
    afterFailure: true,
    statuses: whole,
    async finish({ parts, tenant, options }) {
      if (tenant.status !== 'suspended' || !(await resumeTenant(parts, tenant, options))) return undefined
      return 'let it in again'
    },
  },
  'rotate-password': {
    afterFailure: true,
    statuses: whole,
    async finish({ parts, tenant, parameters, options }) {
      if (!(await parts.passwords.pending(tenant))) return undefined
      await rotatePassword(parts, tenant, { keepSessions: parameters.keepSessions === true, ...options })
      return 'gave it its new password'
    },
  },
  migrate: { statuses: ['active'], finish: rereadHistory },
  rollback: { statuses: ['active'], finish: rereadHistory },
  baseline: { statuses: ['active'], finish: rereadHistory },
}

/** Of the kinds that can leave a tenant in such a state, the newest one tells how to get it out. */
export const makers: Partial<Record<TenantStatus, OperationKind[]>> = {
  provisioning: ['create', 'restore'],
  failed: ['create', 'restore'],
  dropping: ['drop', 'undrop', 'purge'],
}

/**
 * Each migration is a transaction together with its row in knex_migrations, so that only the registry's copy can be
 * behind. What was not applied yet stays so: whoever migrates decides when.
 */
export async function rereadHistory({
  parts,
  tenant,
  options,
}: Pick<RemedyWork, 'parts' | 'tenant' | 'options'>): Promise<string | undefined> {
  if (tenant.status !== 'active') return undefined
  const [before] = await parts.registry.select({ tenants: [tenant.id] })
  const wait = { tenant: tenant.slug, waitMs: 0, ...options }
  try {
    return await insideAsTenant({ parts, tenant, signal: options.signal }, client =>
      withDatabaseLock(client, wait, async () => {
        const applied = (await new MigrationHistory(client, historySchema(tenant)).read()).map(each => each.name)
        const version = versionOf(applied)
        if (before?.migrationsHash === version.hash && before.schemaVersion === version.name) return undefined
        await parts.registry.setSchemaVersion(tenant.id, version, undefined)
        const migrations = await parts.migrations()
        await parts.checksums.record(migrations.filter(each => applied.includes(each.name)))
        return `recorded that it is at ${version.name ?? 'no migration'}`
      }),
    )
  } catch (error) {
    // Somebody is migrating it right now, and will tell the registry.
    if (isTenancyError(error) && error.code === 'TENANT_LOCKED') return undefined
    throw error
  }
}

function backupMissing({ slug }: Tenant): TenancyError {
  return new TenancyError('TENANT_DROPPING', `the drop of tenant "${slug}" was cut off before its backup was written`, {
    tenant: slug,
    hint: `\`tenantctl drop ${slug} --backup <dir>\` writes it and finishes the drop; \`tenantctl undrop ${slug}\` keeps the tenant`,
  })
}
