import type { Selection, TenantFilter } from '../fleet/selection.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { Parts } from './parts.ts'

/**
 * The tenants of a selection. Throws `TENANT_NOT_FOUND` for one that is named, `SERVER_NOT_FOUND` for a server,
 * `RUN_NOT_FOUND` for a run.
 */
export async function selectTenants(
  parts: Parts,
  selection: Selection,
): Promise<(Tenant & { migrationsHash: string | null })[]> {
  const tenants = await parts.registry.select(await lastingSelection(parts, selection))
  if (tenants.length === 0) refuseUnknownServer(parts, selection)
  return tenants
}

/** The same with the id of a run for `last`, which will be another one soon. Throws `RUN_NOT_FOUND`. */
export async function lastingSelection<T extends Selection | null>(parts: Parts, selection: T): Promise<T | Selection> {
  if (selection === null || !('failedOf' in selection)) return selection
  return { failedOf: (await parts.ledger.get(selection.failedOf)).id }
}

/** To be asked when nothing was found: a server that holds tenants need not be configured to be listed. */
export function refuseUnknownServer(parts: Parts, selection: Selection | TenantFilter): void {
  if ('server' in selection && selection.server !== undefined) parts.servers.admin(selection.server)
}
