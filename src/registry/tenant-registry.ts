import { TenancyError } from '../errors.ts'
import type { Selection } from '../fleet/selection.ts'
import type { Migration } from '../migrations/source.ts'
import { versionOf } from '../migrations/version.ts'
import { nearest } from '../nearest.ts'
import type { Cipher } from '../secrets/cipher.ts'
import type { RegistryConnection } from './connection.ts'
import { finishIn, finishText, recordSteps, type StepRecord, stepRows } from './operation-journal.ts'
import { recordChecksumsText } from './record-checksums.ts'
import { type NewTenant, type ReserveOptions, reserveTenant } from './reservation.ts'
import { selectionCondition } from './selection-sql.ts'
import type { Labels, SchemaVersion, Tenant, TenantCredentials, TenantStatus } from './tenant.ts'
import { openCredentials, passwordOf, type SealedPassword } from './tenant-passwords.ts'
import { fromTenants, tenantColumns, uuidPattern } from './tenant-row.ts'

const live = 't.retained_until IS NULL'

export interface FoundLogin {
  tenant: Tenant
  /** Of a tenant that can be used. */
  credentials: TenantCredentials | undefined
}

/** Which of a tenant's logins. */
export type TenantLogin = 'app' | 'migrator'

interface TenantQuery {
  labels?: Labels | undefined
  server?: string | undefined
  status?: TenantStatus | undefined
  sort?: 'slug' | 'created' | 'version' | undefined
  limit?: number | undefined
}

/** A tenant with the hash over its applied migrations, for the plan of a fleet. */
export interface TenantVersion extends Tenant {
  migrationsHash: string | null
}

function keyColumn(slugOrId: string): string {
  return uuidPattern.test(slugOrId) ? 't.uuid' : 't.slug'
}

/** The tenants of the registry. */
export class TenantRegistry {
  constructor(
    private readonly registry: RegistryConnection,
    private readonly cipher: Cipher,
  ) {}

  /** Throws `TENANT_NOT_FOUND`, with the slugs that look most like it. */
  async get(slugOrId: string): Promise<Tenant> {
    const tenant = await this.find(slugOrId)
    if (tenant) return tenant
    const slugs = await this.registry.query<{ slug: string }>(
      'listing slugs',
      `SELECT t.slug ${fromTenants} WHERE ${live} LIMIT 20000`,
    )
    const close = nearest(
      slugOrId,
      slugs.map(row => row.slug),
      3,
    )
    throw new TenancyError('TENANT_NOT_FOUND', `there is no tenant "${slugOrId}"`, {
      tenant: slugOrId,
      hint: close.length > 0 ? `did you mean ${close.join(', ')}?` : '`tenantctl list` shows the tenants there are',
    })
  }

  async find(slugOrId: string): Promise<Tenant | undefined> {
    const [tenant] = await this.registry.prepared<Tenant>(
      'looking up a tenant',
      `SELECT ${tenantColumns} ${fromTenants} WHERE ${live} AND ${keyColumn(slugOrId)} = $1`,
      [slugOrId],
    )
    return tenant
  }

  /** A tenant with its application's login, if it can be used: in one query, since a request waits for it. */
  async findLogin(slugOrId: string): Promise<FoundLogin | undefined> {
    const [row] = await this.registry.prepared<Tenant & SealedPassword>(
      'looking up a tenant',
      `SELECT ${tenantColumns}, t.db_password AS current, t.db_password_next AS next ${fromTenants}
        WHERE ${live} AND ${keyColumn(slugOrId)} = $1`,
      [slugOrId],
    )
    if (!row) return undefined
    const { current, next, ...tenant } = row
    if (tenant.status !== 'active') return { tenant, credentials: undefined }
    return { tenant, credentials: await openCredentials(this.cipher, tenant, 'app', { current, next }) }
  }

  async list(filter: TenantQuery = {}): Promise<Tenant[]> {
    const order = { slug: 't.slug', created: 't.created_at, t.slug', version: 't.schema_version NULLS FIRST, t.slug' }
    return this.registry.query<Tenant>(
      'listing tenants',
      `SELECT ${tenantColumns} ${fromTenants}
        WHERE ${live} AND ($1::jsonb IS NULL OR t.labels @> $1::jsonb)
          AND ($2::text IS NULL OR s.name = $2) AND ($3::text IS NULL OR t.status = $3)
        ORDER BY ${order[filter.sort ?? 'slug']} LIMIT $4`,
      [
        filter.labels ? JSON.stringify(filter.labels) : null,
        filter.server ?? null,
        filter.status ?? null,
        filter.limit ?? null,
      ],
    )
  }

  /** The tenants of a selection, by slug; one that is named and not there throws `TENANT_NOT_FOUND`. */
  async select(selection: Selection): Promise<TenantVersion[]> {
    const { text, values } = selectionCondition(selection)
    const found = await this.registry.query<TenantVersion>(
      'selecting tenants',
      `SELECT ${tenantColumns}, t.migrations_hash AS "migrationsHash" ${fromTenants} WHERE ${text} ORDER BY t.slug`,
      values,
    )
    for (const each of 'tenants' in selection ? new Set(selection.tenants) : []) {
      if (!found.some(tenant => tenant.slug === each || tenant.id === each.toLowerCase())) await this.get(each)
    }
    return found
  }

  /** See `reserveTenant`. */
  reserve(tenant: NewTenant, options?: ReserveOptions): Promise<Tenant> {
    return reserveTenant(this.registry, this.cipher, tenant, options)
  }

  /** The login of the application, or of the migrator; with `roles: 'single'` they are one. */
  async credentials(
    tenant: Pick<Tenant, 'id' | 'slug' | 'username' | 'roles'>,
    login: TenantLogin = 'app',
  ): Promise<TenantCredentials> {
    const column = passwordOf(tenant, login) === 'app' ? 'db_password' : 'migrator_password'
    const [row] = await this.registry.query<SealedPassword>(
      'reading credentials',
      `SELECT ${column} AS current, ${column}_next AS next FROM tenantctl.tenants WHERE uuid = $1`,
      [tenant.id],
    )
    if (!row) throw new TenancyError('TENANT_NOT_FOUND', `there is no tenant "${tenant.slug}"`, { tenant: tenant.slug })
    return openCredentials(this.cipher, tenant, login, row)
  }

  async setStatus(id: string, status: TenantStatus): Promise<void> {
    await this.registry.query(
      'setting the status',
      'UPDATE tenantctl.tenants SET status = $2, updated_at = pg_catalog.now() WHERE uuid = $1',
      [id, status],
    )
  }

  /**
   * Says that a drop has begun, and keeps in mind what the tenant was until then: `former` when the drop itself has
   * suspended it.
   */
  async beginDrop(id: string, former?: TenantStatus): Promise<void> {
    await this.registry.query(
      'recording that a drop begins',
      `UPDATE tenantctl.tenants SET status = 'dropping', updated_at = pg_catalog.now(),
              former_status = CASE status WHEN 'dropping' THEN former_status ELSE COALESCE($2, status) END
        WHERE uuid = $1`,
      [id, former ?? null],
    )
  }

  /** Protection against being dropped, and the end of the operation if there is one. */
  async setProtected(id: string, on: boolean, operationId?: string): Promise<void> {
    await this.registry.transaction('setting the protection', async query => {
      await query('UPDATE tenantctl.tenants SET protected = $2, updated_at = pg_catalog.now() WHERE uuid = $1', [
        id,
        on,
      ])
      if (operationId !== undefined) await finishIn(query, operationId)
    })
  }

  /** A create that stopped half-way; one that another run has finished meanwhile is left alone. */
  async markFailed(id: string): Promise<void> {
    await this.registry.query(
      'recording the failure',
      `UPDATE tenantctl.tenants SET status = 'failed', updated_at = pg_catalog.now()
        WHERE uuid = $1 AND status = 'provisioning'`,
      [id],
    )
  }

  /** Records what is applied now, and ends the operation with it. */
  async setSchemaVersion(id: string, version: SchemaVersion, operationId: string | undefined): Promise<void> {
    await this.registry.query(
      'recording the schema version',
      `WITH finished AS (
         UPDATE tenantctl.operations SET status = 'succeeded', finished_at = pg_catalog.clock_timestamp()
          WHERE id = $4::uuid AND status IN ('running', 'interrupted'))
       UPDATE tenantctl.tenants SET schema_version = $2, migrations_hash = $3, updated_at = pg_catalog.now()
        WHERE uuid = $1 AND (schema_version, migrations_hash) IS DISTINCT FROM ($2::text, $3::text)`,
      [id, version.name, version.hash, operationId ?? null],
    )
  }

  /**
   * The status, the end of the operation, and whatever else is known by then, in one: steps, and the migrations that
   * came with a copy. Of an active tenant the stock does not know any more. Returns the tenant.
   */
  async settle(
    tenant: Pick<Tenant, 'id' | 'slug'>,
    status: TenantStatus,
    operationId: string,
    more: { steps?: readonly StepRecord[]; applied?: readonly Migration[] | undefined } = {},
  ): Promise<Tenant> {
    const { steps = [], applied } = more
    const version = applied && versionOf(applied.map(each => each.name))
    const [settled] = await this.registry.prepared<Tenant>(
      'settling the tenant',
      `WITH finished AS (${finishText('$3')}),
            recorded AS (${recordSteps.text({ json: '$4::jsonb', count: steps.length })}),
            checked AS (${recordChecksumsText('$8', '$9')}),
            taken AS (DELETE FROM tenantctl.ready_tenants WHERE tenant_uuid = $1 AND $2 = 'active')
       UPDATE tenantctl.tenants t
          SET status = $2, updated_at = pg_catalog.now(),
              schema_version = CASE WHEN $5 THEN $6 ELSE t.schema_version END, migrations_hash = COALESCE($7, t.migrations_hash)
         FROM tenantctl.servers s WHERE s.id = t.server_id AND t.uuid = $1 RETURNING ${tenantColumns}`,
      [
        ...[tenant.id, status, operationId, JSON.stringify(stepRows(operationId, steps))],
        ...[version !== undefined, version?.name ?? null, version?.hash ?? null],
        ...[applied?.map(each => each.name) ?? [], applied?.map(each => each.checksum) ?? []],
      ],
    )
    if (!settled) {
      throw new TenancyError('TENANT_NOT_FOUND', `there is no tenant "${tenant.slug}"`, { tenant: tenant.slug })
    }
    return settled
  }

  /** Removes the row and ends the operation in one. */
  async remove(id: string, operationId: string): Promise<void> {
    await this.registry.transaction('removing the tenant', async query => {
      await query('DELETE FROM tenantctl.tenants WHERE uuid = $1', [id])
      await finishIn(query, operationId)
    })
  }
}
