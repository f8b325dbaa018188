import { isTenancyError } from '../errors.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { withDatabaseLock } from '../migrations/migrate.ts'
import { versionOf } from '../migrations/version.ts'
import type { OperationKind } from '../registry/operation.ts'
import { historySchema } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { finishTenant, type RunOptions } from './create.ts'
import { type DropOptions, dropTenant } from './drop.ts'
import type { ProvisioningParts } from './parts.ts'
import { insideAsTenant } from './steps.ts'

export interface RemedyWork {
  parts: ProvisioningParts
  /** Read anew, after the lock was seen to be free. */
  tenant: Tenant
  /** Of the operation that was cut off. */
  parameters: Record<string, unknown>
  options: RunOptions
}

/** How an operation that was cut off is brought to an end. */
export interface Remedy {
  /** Wanted after a failure that was told as well: it too leaves something half-done. Default: after a crash alone. */
  afterFailure?: true
  /**
   * Runs under no lock: takes the one that it needs, as an ordinary operation. Returns what it did, for the report,
   * or undefined when there was nothing left to do. Must look at the tenant itself: the operation may have ended.
   */
  finish(work: RemedyWork): Promise<string | undefined>
}

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
    async finish({ parts, tenant, parameters, options }) {
      if (tenant.status !== 'dropping') return undefined
      await dropTenant(parts, tenant, { ...(parameters as DropOptions), ...options })
      return 'finished its drop'
    },
  },
  migrate: { finish: rereadHistory },
  rollback: { finish: rereadHistory },
  baseline: { finish: rereadHistory },
}

/** Of the kinds that can leave a tenant in such a state, the newest one tells how to get it out. */
export const makers: Partial<Record<Tenant['status'], OperationKind[]>> = {
  provisioning: ['create', 'restore'],
  failed: ['create', 'restore'],
  dropping: ['drop', 'undrop', 'purge'],
}

/**
 * Each migration is a transaction together with its row in knex_migrations, so that only the registry's copy can be
 * behind. What was not applied yet stays so: whoever migrates decides when.
 */
async function rereadHistory({ parts, tenant, options }: RemedyWork): Promise<string | undefined> {
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
        await parts.registry.recordChecksums(migrations.filter(each => applied.includes(each.name)))
        return `recorded that it is at ${version.name ?? 'no migration'}`
      }),
    )
  } catch (error) {
    // Somebody is migrating it right now, and will tell the registry.
    if (isTenancyError(error) && error.code === 'TENANT_LOCKED') return undefined
    throw error
  }
}
