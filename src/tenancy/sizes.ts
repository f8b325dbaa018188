import { withAdmin } from '../postgres/connect.ts'
import { databaseSizes } from '../postgres/databases.ts'
import { sessionsOf } from '../postgres/sessions.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { Parts } from './parts.ts'

export interface SizedTenant extends Tenant {
  /** Bytes on disk; null when the database is not there. Only with `size`. */
  sizeBytes?: number | null
}

/** Bytes on disk, and sessions that are open now. */
export async function usageOf(parts: Parts, tenant: Tenant): Promise<{ size: number | null; connections: number }> {
  return withAdmin(parts.servers.admin(tenant.server), {}, async admin => {
    const sizes = await databaseSizes(admin, [tenant.database])
    const sessions = await sessionsOf(admin, { database: tenant.database })
    return { size: sizes.get(tenant.database) ?? null, connections: sessions.length }
  })
}

/** With the sizes of their databases, asked of each server once. */
export async function withSizes(parts: Parts, tenants: Tenant[]): Promise<SizedTenant[]> {
  const servers = [...new Set(tenants.map(tenant => tenant.server))]
  const sizes = await Promise.all(
    servers.map(server =>
      withAdmin(parts.servers.admin(server), {}, admin => {
        const names = tenants.filter(tenant => tenant.server === server).map(tenant => tenant.database)
        return databaseSizes(admin, names)
      }),
    ),
  )
  const byServer = new Map(servers.map((server, index) => [server, sizes[index]]))
  return tenants.map(tenant => ({ ...tenant, sizeBytes: byServer.get(tenant.server)?.get(tenant.database) ?? null }))
}
