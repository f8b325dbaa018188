import { TenancyError } from '../errors.ts'
import { constraintOf, sqlstate, sqlstateOf } from '../postgres/sqlstate.ts'
import type { RegistryConnection } from './connection.ts'
import { finishIn } from './operation-journal.ts'
import type { Tenant, TenantStatus } from './tenant.ts'
import { fromTenants, isoTime, tenantColumns, uuidPattern } from './tenant-row.ts'

/** A tenant that was dropped but is kept for a while; `database` and `username` are the names of its tombstone. */
export interface RetainedTenant extends Tenant {
  droppedAt: string
  /** Until then `undrop` brings it back; afterwards `purge` removes it. */
  retainedUntil: string
  /** Whether that time is over. */
  expired: boolean
  formerDatabase: string
  formerUsername: string
  /** What it was, and what it is again after an `undrop`. */
  formerStatus: TenantStatus
}

export function isRetained(tenant: Tenant): tenant is RetainedTenant {
  return 'retainedUntil' in tenant
}

const columns = `${tenantColumns}, ${isoTime('t.dropped_at')} AS "droppedAt",
  ${isoTime('t.retained_until')} AS "retainedUntil", t.retained_until <= pg_catalog.now() AS expired,
  t.former_db_name AS "formerDatabase", t.former_db_username AS "formerUsername", t.former_status AS "formerStatus"`
const retained = 't.retained_until IS NOT NULL'

/** The tombstones of the registry: dropped tenants whose data is still there. */
export class RetainedTenants {
  constructor(private readonly registry: RegistryConnection) {}

  async find(id: string): Promise<RetainedTenant | undefined> {
    return (await this.#select('t.uuid = $1', [id]))[0]
  }

  /** The newest first; several may have had the same slug. */
  async named(slugOrId: string): Promise<RetainedTenant[]> {
    return this.#select(uuidPattern.test(slugOrId) ? 't.uuid = $1' : 't.slug = $1', [slugOrId])
  }

  /** All of them, the newest first. */
  async list(): Promise<RetainedTenant[]> {
    return this.#select('true')
  }

  /** Turns a tenant into a tombstone and ends the operation: from now on its slug and its names are free. */
  async retain(
    tenant: Pick<Tenant, 'id' | 'database' | 'username'>,
    retainMs: number,
    operationId: string,
  ): Promise<void> {
    await this.registry.transaction('keeping a dropped tenant', async query => {
      await query(
        `UPDATE tenantctl.tenants
            SET former_db_name = db_name, former_db_username = db_username, db_name = $2, db_username = $3,
                former_status = COALESCE(former_status, 'active'), dropped_at = pg_catalog.now(),
                retained_until = pg_catalog.now() + pg_catalog.make_interval(secs => $4), updated_at = pg_catalog.now()
          WHERE uuid = $1 AND retained_until IS NULL`,
        [tenant.id, tenant.database, tenant.username, retainMs / 1000],
      )
      await finishIn(query, operationId)
    })
  }

  /**
   * Claims slug and names for a tenant that is on its way back; until it is, it counts as one whose drop has begun.
   * Throws `TENANT_EXISTS` or `DATABASE_EXISTS` when another tenant has them.
   */
  async claim(tenant: Pick<Tenant, 'id' | 'slug' | 'database' | 'username'>): Promise<void> {
    try {
      await this.registry.query(
        'claiming slug and names',
        `UPDATE tenantctl.tenants SET status = 'dropping', slug = $2, db_name = $3, db_username = $4, dropped_at = NULL,
                retained_until = NULL, former_db_name = NULL, former_db_username = NULL, updated_at = pg_catalog.now()
          WHERE uuid = $1`,
        [tenant.id, tenant.slug, tenant.database, tenant.username],
      )
    } catch (error) {
      if (sqlstateOf(error) !== sqlstate.uniqueViolation) throw error
      throw constraintOf(error) === 'tenants_slug_key' ? slugTaken(tenant.slug, error) : namesTaken(tenant, error)
    }
  }

  /** What a tenant was before its drop began. */
  async formerStatus(id: string): Promise<TenantStatus> {
    const [row] = await this.registry.query<{ former_status: TenantStatus | null }>(
      'reading the former status',
      'SELECT former_status FROM tenantctl.tenants WHERE uuid = $1',
      [id],
    )
    return row?.former_status ?? 'active'
  }

  async #select(condition: string, values: unknown[] = []): Promise<RetainedTenant[]> {
    return this.registry.query<RetainedTenant>(
      'looking up dropped tenants',
      `SELECT ${columns} ${fromTenants} WHERE ${retained} AND ${condition} ORDER BY t.dropped_at DESC, t.id`,
      values,
    )
  }
}

export function slugTaken(slug: string, cause?: unknown): TenancyError {
  return new TenancyError('TENANT_EXISTS', `another tenant has the slug "${slug}" by now`, {
    tenant: slug,
    hint: `bring it back under another one: --slug ${slug}-2`,
    cause,
  })
}

function namesTaken(tenant: Pick<Tenant, 'slug' | 'database'>, cause: unknown): TenancyError {
  return new TenancyError('DATABASE_EXISTS', `another tenant has database or role "${tenant.database}" by now`, {
    tenant: tenant.slug,
    hint: 'bring it back under another slug, with --slug',
    cause,
  })
}
