import type { RoleModel } from './roles.ts'
import type { Labels, Tenant, TenantStatus } from './tenant.ts'

export const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The columns that make a Tenant. */
export const tenantColumns = `t.uuid, t.slug, t.name, t.status, s.name AS server, t.db_name, t.db_username,
  t.schema_version, t.labels, t.roles, t.protected, t.created_at, t.updated_at`

export const fromTenants = 'FROM tenantctl.tenants t JOIN tenantctl.servers s ON s.id = t.server_id'

export interface TenantRow {
  uuid: string
  slug: string
  name: string
  status: TenantStatus
  server: string
  db_name: string
  db_username: string
  schema_version: string | null
  labels: Labels
  roles: RoleModel
  protected: boolean
  created_at: Date
  updated_at: Date
  migrations_hash?: string | null
}

export function toTenant(row: TenantRow): Tenant {
  return {
    id: row.uuid,
    slug: row.slug,
    name: row.name,
    status: row.status,
    server: row.server,
    database: row.db_name,
    username: row.db_username,
    schemaVersion: row.schema_version,
    labels: row.labels,
    roles: row.roles,
    protected: row.protected,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }
}
