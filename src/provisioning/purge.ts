import type { RetainedTenant } from '../registry/retained-tenants.ts'
import type { RunOptions } from './create.ts'
import { refuseElsewhere } from './elsewhere.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { undoSteps } from './step.ts'
import { provisioningSteps } from './steps.ts'

/** Removes a dropped tenant for good. Returns false when it was brought back, or removed, in the meantime. */
export async function purgeTenant(
  parts: ProvisioningParts,
  tenant: RetainedTenant,
  options: RunOptions,
): Promise<boolean> {
  const find = (id: string) => parts.retained.find(id)
  // Looked at before the operation is begun as well as under the lock: who comes second has nothing to do.
  if (!(await find(tenant.id))?.expired) return false
  await runOperation(parts, 'purge', tenant, { ...options, find, force: true }, async context => {
    await refuseElsewhere(context, { forGood: true })
    await undoSteps(provisioningSteps, context)
  })
  return true
}
