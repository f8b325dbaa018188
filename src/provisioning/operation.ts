import { asTenancyError, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import { adminFacts } from '../postgres/server.ts'
import type { OperationKind } from '../registry/operation.ts'
import type { Tenant } from '../registry/tenant.ts'
import { withTenantLock } from './lock.ts'
import type { ProvisioningParts } from './parts.ts'
import type { StepContext } from './step.ts'
import { markerOf } from './steps.ts'

export interface OperationOptions {
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
  parameters?: object
  force?: boolean
}

/**
 * Runs an operation on a tenant under its lock, with its row read anew, written into the journal from its beginning
 * to its end. `work` ends it in the registry together with what it changes there.
 */
export async function runOperation(
  parts: ProvisioningParts,
  kind: OperationKind,
  tenant: Tenant,
  options: OperationOptions,
  work: (context: StepContext) => Promise<void>,
): Promise<Tenant> {
  const { signal, onEvent } = options
  return withTenantLock(parts, tenant, options, async admin => {
    const current = await parts.registry.find(tenant.id)
    if (!current) {
      throw new TenancyError('TENANT_NOT_FOUND', `tenant "${tenant.slug}" was dropped meanwhile`, {
        tenant: tenant.slug,
      })
    }
    const facts = await adminFacts(admin)
    const operationId = await parts.journal.begin(kind, current, options.parameters)
    const startedAt = performance.now()
    notify(onEvent, { event: 'operation_started', tenant: current.slug, operation: kind, operationId })
    try {
      await work({
        parts,
        tenant: current,
        admin,
        adminFacts: facts,
        marker: markerOf(parts.registryId, current.id),
        operationId,
        position: 0,
        seed: false,
        force: options.force ?? false,
        signal,
        onEvent,
      })
    } catch (error) {
      await parts.journal.fail(operationId, error).catch(() => undefined)
      const report = asTenancyError(error).toJSON()
      notify(onEvent, { event: 'operation_failed', tenant: current.slug, operation: kind, operationId, error: report })
      throw error
    }
    const durationMs = Math.round(performance.now() - startedAt)
    notify(onEvent, { event: 'operation_finished', tenant: current.slug, operation: kind, operationId, durationMs })
    return current
  })
}
