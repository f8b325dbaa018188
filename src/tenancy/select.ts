import type { Selection, TenantFilter } from '../fleet/selection.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { Parts } from './parts.ts'

/** The tenants of a selection. Throws `TENANT_NOT_FOUND` for one that is named, `SERVER_NOT_FOUND` for a server. */
export async function selectTenants(
  parts: Parts,
  selection: Selection,
): Promise<(Tenant & { migrationsHash: string | null })[]> {
  const tenants = await parts.registry.select(selection)
  if (tenants.length === 0) refuseUnknownServer(parts, selection)
  return tenants
}

/** To be asked when nothing was found: a server that holds tenants need not be configured to be listed. */
export function refuseUnknownServer(parts: Parts, selection: Selection | TenantFilter): void {
  if ('server' in selection && selection.server !== undefined) parts.servers.admin(selection.server)
}
