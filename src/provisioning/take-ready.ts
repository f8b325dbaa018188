import type { ResolvedConfig } from '../config/config.ts'
import { notify } from '../events.ts'
import { withTransaction } from '../postgres/connect.ts'
import { findDatabase, markDatabase, setAllowConnections } from '../postgres/databases.ts'
import { findRole, markRole, openRole } from '../postgres/roles.ts'
import type { ReadyTenant } from '../registry/ready-tenants.ts'
import { roleNames, rolesOf } from '../registry/roles.ts'
import { loginsOf } from '../registry/tenant-passwords.ts'
import { hasAccess, openTenant } from './access.ts'
import { insideAsTenant, verifierOf } from './as-tenant.ts'
import { contentSteps } from './content-steps.ts'
import { isWhole, readyPlace, removeTaken } from './ready.ts'
import type { ProvisioningStep, StepContext } from './step.ts'
import { activate, provisioningSteps, refuseForeign, roleExists } from './steps.ts'
import { planTemplate } from './template.ts'
import { renamePlace } from './tombstone.ts'

/**
 * The steps of a new tenant: a few, where it can be made of a ready one of the stock, or a run before this one has taken
 * one for it; all of them otherwise.
 */
export async function stepsOfCreate(context: StepContext): Promise<readonly ProvisioningStep[]> {
  const { parts, tenant, fresh } = context
  const wanted = wantsReady(parts.config)
  if (fresh && !wanted) return provisioningSteps
  // Files that cannot be used are told by the step that runs them.
  const plan = wanted ? await planTemplate(context).catch(() => undefined) : undefined
  const ready = await parts.ready.take(tenant, plan?.name, context.operationId)
  if (!ready) {
    if (plan) tell(context, 'none is ready that fits')
    return provisioningSteps
  }
  if (await isUsable(context, ready)) return [takeReady(ready), ...contentSteps, activate]
  tell(context, `database "${readyPlace(ready).database}" is not as it was put there`)
  await parts.ready.giveUp(ready.id)
  return provisioningSteps
}

/** Whether a new tenant may be made of a ready one. */
export function wantsReady({ pool, template }: Pick<ResolvedConfig, 'pool' | 'template'>): boolean {
  return pool.size > 0 && template
}

function tell({ onEvent, tenant }: StepContext, reason: string): void {
  notify(onEvent, {
    event: 'notice',
    tenant: tenant.slug,
    message: `not taken from the stock: ${reason}`,
    verbose: true,
  })
}

/** Whole in the stock, or the tenant's already. */
async function isUsable({ parts, admin, tenant, marker }: StepContext, ready: ReadyTenant): Promise<boolean> {
  if (await isWhole(parts, admin, ready)) return true
  return (await findDatabase(admin, tenant.database))?.marker === marker
}

/** Names, markers and passwords in one transaction: it is a ready tenant that is shut, or the tenant's and open to it. */
function takeReady(ready: ReadyTenant): ProvisioningStep {
  return {
    name: 'takeReady',
    // Whoever goes on from here has to see that the tenant can log in.
    isDone: async () => false,
    async apply(context) {
      const { admin, tenant, marker } = context
      context.origin = { template: ready.template, seeds: ready.seeds }
      const database = await findDatabase(admin, tenant.database)
      if (database) refuseForeign(database, { name: tenant.database, marker })
      if (!database) await handOver(context, ready)
      // A drop that gave up, or was taken back, has shut it.
      else if (!(await hasAccess(context, true))) await openTenant(context)
      await insideAsTenant(context, async () => undefined)
    },
    undo: removeTaken,
  }
}

async function handOver(context: StepContext, ready: ReadyTenant): Promise<void> {
  const { parts, admin, adminFacts, tenant, marker } = context
  for (const name of roleNames(tenant)) if (await findRole(admin, name)) throw roleExists(name)
  const logins = await Promise.all(
    loginsOf(tenant).map(async login => {
      const verifier = await verifierOf(context, login)
      return { name: rolesOf(tenant)[login], verifier }
    }),
  )
  const { connectionLimit } = parts.config.database
  await withTransaction(admin, async () => {
    await renamePlace(admin, readyPlace(ready), tenant)
    await markDatabase(admin, tenant.database, marker)
    for (const name of roleNames(tenant)) await markRole(admin, name, marker)
    for (const login of logins) await openRole(admin, adminFacts, { ...login, connectionLimit })
    await setAllowConnections(admin, tenant.database, true)
  })
}
