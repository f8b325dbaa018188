import { asTenancyError, type ErrorReport } from '../errors.ts'
import type { Cipher } from '../secrets/cipher.ts'
import type { RegistryConnection } from './connection.ts'
import type { RoleModel } from './roles.ts'
import type { TenantStatus } from './tenant.ts'
import { passwordContext } from './tenant-passwords.ts'

const atOnce = 16

/** A tenant's row as far as a server must agree with it; of retained tenants as well. */
export interface RegisteredTenant {
  id: string
  slug: string
  status: TenantStatus
  server: string
  database: string
  username: string
  roles: RoleModel
  /** A tombstone: dropped, and kept until then. */
  retainedUntil: string | null
  /** The time of retention has passed, by the registry's clock. */
  expired: boolean
}

/** The registry as those read it who compare it with the servers. */
export class RegistryInventory {
  constructor(
    private readonly registry: RegistryConnection,
    private readonly cipher: Cipher,
  ) {}

  /** Every row there is, by slug. */
  async tenants(): Promise<RegisteredTenant[]> {
    const rows = await this.registry.query<Omit<RegisteredTenant, 'retainedUntil'> & { retainedUntil: Date | null }>(
      'listing all tenants',
      `SELECT t.uuid AS id, t.slug, t.status, s.name AS server, t.db_name AS database, t.db_username AS username, t.roles,
              t.retained_until AS "retainedUntil", COALESCE(t.retained_until <= pg_catalog.now(), false) AS expired
         FROM tenantctl.tenants t JOIN tenantctl.servers s ON s.id = t.server_id ORDER BY t.slug, t.created_at`,
    )
    return rows.map(row => ({ ...row, retainedUntil: row.retainedUntil?.toISOString() ?? null }))
  }

  /** Whether a tenant's row is there, retained or not. */
  async has(tenantId: string): Promise<boolean> {
    const rows = await this.registry.query('looking up a tenant', 'SELECT FROM tenantctl.tenants WHERE uuid = $1', [
      tenantId,
    ])
    return rows.length > 0
  }

  /** Those of these ids that the journal has ever seen, with the slug they last had. */
  async known(ids: readonly string[]): Promise<Map<string, string>> {
    const rows = await this.registry.query<{ id: string; slug: string }>(
      'looking up former tenants',
      `SELECT DISTINCT ON (tenant_uuid) tenant_uuid AS id, tenant_slug AS slug FROM tenantctl.operations
        WHERE tenant_uuid = ANY($1::uuid[]) ORDER BY tenant_uuid, started_at DESC`,
      [ids],
    )
    return new Map(rows.map(row => [row.id, row.slug]))
  }

  /** Opens every stored password; `failures` are by tenant, and `opened` counts those where all could be opened. */
  async openPasswords(): Promise<{ opened: number; failures: Map<string, ErrorReport> }> {
    const rows = await this.registry.query<{ id: string; app: string; migrator: string | null }>(
      'reading passwords',
      'SELECT uuid AS id, db_password AS app, migrator_password AS migrator FROM tenantctl.tenants ORDER BY id',
    )
    const failures = new Map<string, ErrorReport>()
    const open = async ({ id, app, migrator }: (typeof rows)[number]) => {
      try {
        await this.cipher.open(app, passwordContext(id, 'app'))
        if (migrator !== null) await this.cipher.open(migrator, passwordContext(id, 'migrator'))
      } catch (error) {
        failures.set(id, asTenancyError(error).toJSON())
      }
    }
    // A key service is asked over the network: a few at a time.
    for (let start = 0; start < rows.length; start += atOnce) {
      await Promise.all(rows.slice(start, start + atOnce).map(open))
    }
    return { opened: rows.length - failures.size, failures }
  }
}
