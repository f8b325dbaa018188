import { randomUUID } from 'node:crypto'
import { asTenancyError, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { Client } from '../postgres/connect.ts'
import { scramVerifier } from '../postgres/scram.ts'
import { type AdminFacts, adminFacts } from '../postgres/server.ts'
import type { OperationKind } from '../registry/operation.ts'
import type { StepRecord } from '../registry/operation-journal.ts'
import type { NewTenant } from '../registry/reservation.ts'
import { rolesOf } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { TenantLogin } from '../registry/tenant-registry.ts'
import type { Secret } from '../secrets/secret.ts'
import type { KnownLogin } from './as-tenant.ts'
import type { Origin } from './copy.ts'
import { withTenantLock } from './lock.ts'
import { markerOf } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import type { ProvisioningStep, StepContext, TenantOnServer } from './step.ts'
import { StepLog } from './step-log.ts'

interface OperationOptions {
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
    await conduct(kind, found, new StepLog(parts.journal, operationId), options, work)
    return { ...current, changed: true }
  })
}

/**
 * Reserves a tenant and runs the operation that makes it. Its row, the operation with its parameters, and the first of
 * `steps` are one commit: whoever finds one of them finds all. The first step is done thereby, the second is about to
 * be, and so is the third, which makes the database, once it is known of what. The tenant is locked before anybody else
 * can know its id.
 */
export async function runFirstOperation(
  parts: ProvisioningParts,
  kind: OperationKind,
  wanted: NewTenant,
  options: OperationOptions & {
    steps: readonly ProvisioningStep[]
    /**
     * Looks for what is in the way, and for what the database will be copied from: null for nothing, undefined where
     * that is to be seen.
     */
    survey: (admin: Client, facts: AdminFacts) => Promise<Origin | null | undefined>
  },
  work: (context: StepContext) => Promise<void>,
): Promise<void> {
  const logins = loginsOf(wanted)
  await withTenantLock(parts, wanted, options, async admin => {
    const facts = await adminFacts(admin)
    const origin = await options.survey(admin, facts)
    const id = randomUUID()
    const steps = options.steps.slice(0, origin === undefined ? 2 : 3).map(
      ({ name }, position): StepRecord => ({
        ...{ position, name, status: position === 0 ? 'done' : 'started' },
        ...(position === 2 && origin ? { detail: { origin } } : {}),
      }),
    )
    const operation = { id, kind, parameters: options.parameters ?? {}, run: options.run, steps }
    const tenant = await parts.registry.reserve(wanted, { operation })
    const found = { parts, tenant, admin, adminFacts: facts, marker: markerOf(parts.registryId, tenant.id) }
    await conduct(kind, found, new StepLog(parts.journal, id, steps), options, work, { logins, origin: origin ?? null })
  })
}

/** What the server stores of the passwords is worked out while the way to the server is made. */
function loginsOf({ username, password, migratorPassword }: NewTenant): Map<TenantLogin, KnownLogin> {
  const roles = rolesOf({ username, roles: migratorPassword ? 'separate' : 'single' })
  const known = (name: string, secret: Secret): KnownLogin => {
    const verifier = scramVerifier(secret)
    // Whoever needs it is told.
    verifier.catch(() => undefined)
    return { username: name, password: secret, verifier }
  }
  const app = known(roles.app, password)
  return new Map([
    ['app', app],
    ['migrator', migratorPassword ? known(roles.migrator, migratorPassword) : app],
  ])
}

/** From an operation's beginning in the journal to its end. */
async function conduct(
  kind: OperationKind,
  found: TenantOnServer,
  log: StepLog,
  { signal, onEvent, force = false }: OperationOptions,
  work: (context: StepContext) => Promise<void>,
  first?: Pick<StepContext, 'logins' | 'origin'>,
): Promise<void> {
  const { operationId } = log
  const about = { tenant: found.tenant.slug, operation: kind, operationId }
  const startedAt = performance.now()
  notify(onEvent, { event: 'operation_started', ...about })
  try {
    await work({
      ...found,
      ...{ operationId, log, logins: first?.logins ?? new Map(), force, signal, onEvent },
      ...{ position: 0, seed: false, useTemplate: false, applied: undefined, isNewCopy: false, leaving: undefined },
      ...{ fresh: first !== undefined, origin: first?.origin },
    })
  } catch (error) {
    await found.parts.journal.fail(operationId, error).catch(() => undefined)
    notify(onEvent, { event: 'operation_failed', ...about, error: asTenancyError(error).toJSON() })
    throw error
  }
  const durationMs = Math.round(performance.now() - startedAt)
  notify(onEvent, { event: 'operation_finished', ...about, durationMs })
}
