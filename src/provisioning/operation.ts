import { asTenancyError, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import { adminFacts } from '../postgres/server.ts'
import type { OperationKind } from '../registry/operation.ts'
import type { Tenant } from '../registry/tenant.ts'
import { withTenantLock } from './lock.ts'
import { markerOf } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import type { StepContext, TenantOnServer } from './step.ts'

export interface OperationOptions {
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
  parameters?: object
  force?: boolean
  /** Id of the fleet run that this is part of. */
  run?: string | undefined
  /** How the tenant's row is read anew. Default: by its id, among the tenants that are not dropped. */
  find?: (id: string) => Promise<Tenant | undefined>
  /** Nothing is left to do, and nothing is written into the journal: asked under the lock. */
  isDone?: (found: TenantOnServer) => Promise<boolean>
}

/**
 * Runs an operation on a tenant under its lock, with its row read anew, written into the journal from its beginning
 * to its end. `work` ends it in the registry together with what it changes there. `changed` is false when `isDone`
 * said so.
 */
export async function runOperation(
  parts: ProvisioningParts,
  kind: OperationKind,
  tenant: Tenant,
  options: OperationOptions,
  work: (context: StepContext) => Promise<void>,
): Promise<Tenant & { changed: boolean }> {
  const { signal, onEvent } = options
  return withTenantLock(parts, tenant, options, async admin => {
    const current = await (options.find ?? (id => parts.registry.find(id)))(tenant.id)
    if (!current) {
      throw new TenancyError('TENANT_NOT_FOUND', `tenant "${tenant.slug}" was dropped meanwhile`, {
        tenant: tenant.slug,
      })
    }
    const marker = markerOf(parts.registryId, current.id)
    const found: TenantOnServer = { parts, tenant: current, admin, adminFacts: await adminFacts(admin), marker }
    // An earlier operation that was cut off must find its end in the journal, so then a new one begins all the same.
    const settled = options.isDone && (await options.isDone(found)) && !(await parts.journal.running(current.id))
    if (settled) return { ...current, changed: false }
    const operationId = await parts.journal.begin(kind, current, options.parameters, options.run)
    const startedAt = performance.now()
    notify(onEvent, { event: 'operation_started', tenant: current.slug, operation: kind, operationId })
    try {
      await work({
        ...found,
        operationId,
        position: 0,
        seed: false,
        useTemplate: false,
        origin: undefined,
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
    return { ...current, changed: true }
  })
}
