import type { Tenant } from '../registry/tenant.ts'
import type { RunOptions } from './create.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'

/**
 * Protects a tenant against being dropped, or ends that. Under the tenant's lock: a drop that has begun has looked
 * already. Returns whether there was anything to do.
 */
export async function protectTenant(
  parts: ProvisioningParts,
  tenant: Tenant,
  on: boolean,
  options: RunOptions,
): Promise<boolean> {
  const isDone = async (found: { tenant: Tenant }) => found.tenant.protected === on
  const kind = on ? 'protect' : 'unprotect'
  const { changed } = await runOperation(parts, kind, tenant, { ...options, isDone }, ({ operationId }) =>
    parts.registry.setProtected(tenant.id, on, operationId),
  )
  return changed
}
