import { TenancyError } from '../errors.ts'
import type { Selection } from '../fleet/selection.ts'
import { nearest } from '../nearest.ts'
import { sqlstate, sqlstateOf } from '../postgres/sqlstate.ts'
import type { Cipher } from '../secrets/cipher.ts'
import type { Secret } from '../secrets/secret.ts'
import type { RegistryConnection } from './connection.ts'
import { finishIn } from './operation-journal.ts'
import { selectionCondition } from './selection-sql.ts'
import type { Labels, Tenant, TenantCredentials, TenantStatus } from './tenant.ts'
import { openCredentials, passwordContext, passwordOf, type SealedPassword } from './tenant-passwords.ts'
import { fromTenants, type TenantRow, tenantColumns, toTenant, uuidPattern } from './tenant-row.ts'

const live = 't.retained_until IS NULL'

export interface NewTenant {
  id: string
  slug: string
  name: string
  server: string
  database: string
  username: string
  password: Secret
  /** Of the migrator, with `roles: 'separate'`. */
  migratorPassword: Secret | undefined
  labels: Labels
  protected: boolean
}

export interface FoundLogin {
  tenant: Tenant
  /** Of a tenant that can be used. */
  credentials: TenantCredentials | undefined
}

/** Which of a tenant's logins. */
export type TenantLogin = 'app' | 'migrator'

export interface TenantQuery {
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
    const [row] = await this.registry.query<TenantRow>(
      'looking up a tenant',
      `SELECT ${tenantColumns} ${fromTenants} WHERE ${live} AND ${keyColumn(slugOrId)} = $1`,
      [slugOrId],
    )
    return row && toTenant(row)
  }

  /** A tenant with its application's login, if it can be used: in one query, since a request waits for it. */
  async findLogin(slugOrId: string): Promise<FoundLogin | undefined> {
    const [row] = await this.registry.query<TenantRow & SealedPassword>(
      'looking up a tenant',
      `SELECT ${tenantColumns}, t.db_password AS current, t.db_password_next AS next ${fromTenants}
        WHERE ${live} AND ${keyColumn(slugOrId)} = $1`,
      [slugOrId],
    )
    if (!row) return undefined
    const tenant = toTenant(row)
    const isUsable = tenant.status === 'active'
    return { tenant, credentials: isUsable ? await openCredentials(this.cipher, tenant, 'app', row) : undefined }
  }

  async list(filter: TenantQuery = {}): Promise<Tenant[]> {
    const order = { slug: 't.slug', created: 't.created_at, t.slug', version: 't.schema_version NULLS FIRST, t.slug' }
    const rows = await this.registry.query<TenantRow>(
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
    return rows.map(toTenant)
  }

  /** The tenants of a selection, by slug; one that is named and not there throws `TENANT_NOT_FOUND`. */
  async select(selection: Selection): Promise<TenantVersion[]> {
    const { text, values } = selectionCondition(selection)
    const rows = await this.registry.query<TenantRow>(
      'selecting tenants',
      `SELECT ${tenantColumns}, t.migrations_hash ${fromTenants} WHERE ${text} ORDER BY t.slug`,
      values,
    )
    const found = rows.map(row => ({ ...toTenant(row), migrationsHash: row.migrations_hash ?? null }))
    for (const each of 'tenants' in selection ? new Set(selection.tenants) : []) {
      if (!found.some(tenant => tenant.slug === each || tenant.id === each.toLowerCase())) await this.get(each)
    }
    return found
  }

  /** Rows that would clash with a new tenant. */
  async reserve(tenant: NewTenant): Promise<Tenant> {
    const { password, migratorPassword } = tenant
    const sealed = await this.cipher.seal(password, passwordContext(tenant.id, 'app'))
    const sealedMigrator =
      migratorPassword && (await this.cipher.seal(migratorPassword, passwordContext(tenant.id, 'migrator')))
    try {
      await this.registry.query(
        'reserving the tenant',
        `WITH server AS (
           INSERT INTO tenantctl.servers (name) VALUES ($4)
           ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING id)
         INSERT INTO tenantctl.tenants (uuid, slug, name, server_id, db_name, db_username, db_password, labels, roles,
           migrator_password, protected)
         SELECT $1, $2, $3, server.id, $5, $6, $7, $8, $9, $10, $11 FROM server`,
        [
          tenant.id,
          tenant.slug,
          tenant.name,
          tenant.server,
          tenant.database,
          tenant.username,
          sealed,
          JSON.stringify(tenant.labels),
          sealedMigrator ? 'separate' : 'single',
          sealedMigrator ?? null,
          tenant.protected,
        ],
      )
    } catch (error) {
      if (sqlstateOf(error) === sqlstate.uniqueViolation) throw clash(error, tenant)
      throw error
    }
    return this.get(tenant.id)
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
  async setSchemaVersion(
    id: string,
    version: { name: string | null; hash: string },
    operationId: string | undefined,
  ): Promise<void> {
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

  /** Status and end of the operation in one. */
  async settle(id: string, status: TenantStatus, operationId: string): Promise<void> {
    await this.registry.transaction('settling the tenant', async query => {
      await query('UPDATE tenantctl.tenants SET status = $2, updated_at = pg_catalog.now() WHERE uuid = $1', [
        id,
        status,
      ])
      await finishIn(query, operationId)
    })
  }

  /** Removes the row and ends the operation in one. */
  async remove(id: string, operationId: string): Promise<void> {
    await this.registry.transaction('removing the tenant', async query => {
      await query('DELETE FROM tenantctl.tenants WHERE uuid = $1', [id])
      await finishIn(query, operationId)
    })
  }
}

function clash(error: unknown, tenant: NewTenant): TenancyError {
  const { constraint } = (error as TenancyError).cause as { constraint?: string }
  if (constraint === 'tenants_slug_key') {
    return new TenancyError('TENANT_EXISTS', `there is a tenant "${tenant.slug}" already`, {
      tenant: tenant.slug,
      cause: error,
    })
  }
  return new TenancyError('DATABASE_EXISTS', `another tenant has database or role "${tenant.database}" already`, {
    tenant: tenant.slug,
    hint: 'choose another name with --database',
    cause: error,
  })
}
