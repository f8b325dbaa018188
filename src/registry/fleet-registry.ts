import type { Selection } from '../fleet/selection.ts'
import { spareConnectionsText } from '../postgres/server.ts'
import type { Cipher } from '../secrets/cipher.ts'
import type { BulkWrite, RegistryConnection } from './connection.ts'
import { selectionCondition } from './selection-sql.ts'
import type { TenantCredentials } from './tenant.ts'
import { openCredentials, passwordOf } from './tenant-passwords.ts'
import type { TenantLogin, TenantVersion } from './tenant-registry.ts'
import { fromTenants, tenantColumns } from './tenant-row.ts'

/** A tenant that has to be visited: no more than is needed to queue it, since a fleet has thousands of them. */
export interface Visited {
  id: string
  slug: string
  server: string
}

/** A whole selection at a glance. */
interface Survey {
  /** Slugs of the tenants that need nothing, by the version they are at. */
  current: { version: string | null; slugs: string[] }[]
  /** By slug. */
  others: Visited[]
}

/** A tenant as its visit needs it, with its passwords as they are stored. */
export interface LoadedTenant extends TenantVersion {
  sealed: Record<TenantLogin, string | null>
  /** Passwords on their way, see TenantPasswords. */
  sealedNext: Record<TenantLogin, string | null>
}

interface VersionRecord {
  id: string
  version: { name: string | null; hash: string }
  /** The operation that ends with it. */
  operationId: string | undefined
}

/** The registry as fleet commands use it: thousands of tenants in few statements. */
export class FleetRegistry {
  constructor(
    private readonly registry: RegistryConnection,
    private readonly cipher: Cipher,
  ) {}

  /**
   * Splits a selection into the active tenants whose applied migrations have one of these hashes, and all others: one
   * query and few rows whatever the size of the fleet.
   */
  async survey(selection: Selection, hashes: readonly string[]): Promise<Survey> {
    const { text, values } = selectionCondition(selection)
    const current = `(t.status = 'active' AND COALESCE(t.migrations_hash = ANY($${values.length + 1}::text[]), false))`
    const rows = await this.registry.query<SurveyRow>(
      'looking over the tenants',
      `SELECT current, version, server, pg_catalog.string_agg(slug, ',') AS slugs,
              CASE WHEN NOT current THEN pg_catalog.string_agg(uuid::text, ',') END AS ids
         FROM (SELECT ${current} AS current, t.slug, t.uuid, CASE WHEN ${current} THEN t.schema_version END AS version,
                      CASE WHEN NOT ${current} THEN s.name END AS server
                 ${fromTenants} WHERE ${text}) t
        GROUP BY current, version, server`,
      [...values, hashes],
    )
    const survey: Survey = { current: [], others: [] }
    for (const { current, version, server, slugs, ids } of rows) {
      const names = slugs.split(',')
      if (current) survey.current.push({ version, slugs: names })
      else {
        const uuids = (ids as string).split(',')
        for (const [index, slug] of names.entries()) {
          survey.others.push({ id: uuids[index] as string, slug, server: server as string })
        }
      }
    }
    survey.others.sort((a, b) => (a.slug < b.slug ? -1 : 1))
    return survey
  }

  /** Rows and stored passwords of some tenants, by id; those that are gone are missing. */
  async load(ids: readonly string[]): Promise<Map<string, LoadedTenant>> {
    const rows = await this.registry.query<TenantVersion & SealedColumns>(
      'reading tenants',
      `SELECT ${tenantColumns}, t.migrations_hash AS "migrationsHash", t.db_password, t.migrator_password, t.db_password_next,
              t.migrator_password_next ${fromTenants}
        WHERE t.uuid = ANY($1::uuid[]) AND t.retained_until IS NULL`,
      [ids],
    )
    return new Map(
      rows.map(({ db_password, db_password_next, migrator_password, migrator_password_next, ...tenant }) => {
        const sealed = { app: db_password, migrator: migrator_password }
        const sealedNext = { app: db_password_next, migrator: migrator_password_next }
        return [tenant.id, { ...tenant, sealed, sealedNext }]
      }),
    )
  }

  /** Hashes over the applied migrations of some tenants, by id; those that are gone are missing. */
  async versions(ids: readonly string[]): Promise<Map<string, string | null>> {
    const rows = await this.registry.query<{ uuid: string; migrations_hash: string | null }>(
      'reading versions',
      'SELECT uuid, migrations_hash FROM tenantctl.tenants WHERE uuid = ANY($1::uuid[]) AND retained_until IS NULL',
      [ids],
    )
    return new Map(rows.map(row => [row.uuid, row.migrations_hash]))
  }

  /** Opens a password that was loaded. Throws `DECRYPTION_FAILED` or `ENCRYPTION_KEY_MISSING`. */
  credentials(tenant: LoadedTenant, login: TenantLogin): Promise<TenantCredentials> {
    const of = passwordOf(tenant, login)
    return openCredentials(this.cipher, tenant, login, { current: tenant.sealed[of], next: tenant.sealedNext[of] })
  }

  /** Connections that a plain role may still take on the registry's own server. */
  async spareConnections(): Promise<number> {
    const [row] = await this.registry.query<{ spare: number }>('counting connections', spareConnectionsText)
    return row?.spare ?? 0
  }

  /** Records what is applied in a tenant's database now, and ends the operation with it. */
  recordVersion({ id, version, operationId }: VersionRecord): Promise<void> {
    return this.registry.write(recordVersions, { id, ...version, operation: operationId ?? null })
  }
}

const recordVersions: BulkWrite = {
  doing: 'recording the schema version',
  text: ({ json, count }) => `WITH new AS (
      SELECT * FROM pg_catalog.jsonb_to_recordset(${json}) AS n(id uuid, name text, hash text, operation uuid)
       LIMIT ${count}),
    finished AS (
      UPDATE tenantctl.operations o SET status = 'succeeded', finished_at = pg_catalog.clock_timestamp()
        FROM new WHERE o.id = new.operation AND o.status IN ('running', 'interrupted'))
    UPDATE tenantctl.tenants t SET schema_version = new.name, migrations_hash = new.hash, updated_at = pg_catalog.now()
      FROM new WHERE t.uuid = new.id AND (t.schema_version, t.migrations_hash) IS DISTINCT FROM (new.name, new.hash)`,
}

interface SealedColumns {
  db_password: string
  db_password_next: string | null
  migrator_password: string | null
  migrator_password_next: string | null
}

interface SurveyRow {
  current: boolean
  version: string | null
  server: string | null
  slugs: string
  ids: string | null
}
