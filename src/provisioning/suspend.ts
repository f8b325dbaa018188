import { TenancyError } from '../errors.ts'
import { inactiveCodes, type Tenant } from '../registry/tenant.ts'
import { closeTenant, hasAccess, openTenant } from './access.ts'
import { removeDumpRole } from './backup.ts'
import type { RunOptions } from './create.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { applySteps, type ProvisioningStep, undoSteps } from './step.ts'

/** First of all, so that nobody hands out connections while they are being ended; last of all on the way back. */
const recordStatus: ProvisioningStep = {
  name: 'recordStatus',
  isDone: async ({ tenant }) => tenant.status === 'suspended',
  apply: ({ parts, tenant }) => parts.registry.setStatus(tenant.id, 'suspended'),
  undo: ({ parts, tenant, operationId }) => parts.registry.settle(tenant, 'active', operationId),
}

const closeAccess: ProvisioningStep = {
  name: 'closeAccess',
  isDone: context => hasAccess(context, false),
  apply: context => closeTenant(context, { endSessions: true }),
  async undo(context) {
    // A drop that was cut off in its backup suspends as well, and leaves its login behind.
    await removeDumpRole(context)
    await openTenant(context)
  },
}

/** A suspension, from top to bottom; to resume undoes it from bottom to top. */
const suspensionSteps: readonly ProvisioningStep[] = [recordStatus, closeAccess]

/**
 * Shuts a tenant out and ends its sessions; its data stays. Returns whether there was anything to do: what the server
 * says counts, not the recorded status alone, so that a run that was cut off is finished by the next.
 */
export async function suspendTenant(parts: ProvisioningParts, tenant: Tenant, options: RunOptions): Promise<boolean> {
  const { changed } = await runOperation(
    parts,
    'suspend',
    tenant,
    { ...options, isDone: async found => found.tenant.status === 'suspended' && (await hasAccess(found, false)) },
    async context => {
      refuseHalfMade(context.tenant)
      await applySteps(suspensionSteps, context)
      await parts.journal.finish(context.operationId)
    },
  )
  return changed
}

/** Lets a suspended tenant in again. Returns whether there was anything to do. */
export async function resumeTenant(parts: ProvisioningParts, tenant: Tenant, options: RunOptions): Promise<boolean> {
  const { changed } = await runOperation(
    parts,
    'resume',
    tenant,
    { ...options, isDone: async found => found.tenant.status === 'active' && (await hasAccess(found, true)) },
    async context => {
      refuseHalfMade(context.tenant)
      await undoSteps(suspensionSteps, context)
    },
  )
  return changed
}

/** Only a tenant that is whole can be suspended, resumed or given a new password. */
export function refuseHalfMade({ slug, status }: Tenant): void {
  if (status === 'active' || status === 'suspended') return
  const next = status === 'dropping' ? 'drop' : 'create'
  throw new TenancyError(inactiveCodes[status], `tenant "${slug}" is ${status}`, {
    tenant: slug,
    hint: `finish that first: tenantctl ${next} ${slug}`,
  })
}
