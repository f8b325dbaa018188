import { isTenancyError, TenancyError } from '../errors.ts'
import { findDatabase, listSessions } from '../postgres/databases.ts'
import { findRole } from '../postgres/roles.ts'
import { roleNames } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { connectionsOpen } from './conflicts.ts'
import type { RunOptions } from './create.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { type StepContext, undoSteps } from './step.ts'
import { provisioningSteps } from './steps.ts'

export interface DropOptions extends RunOptions {
  /** End open connections; without it they are `CONNECTIONS_OPEN`. Default: false. */
  force?: boolean
}

/** Removes a tenant's database, role and row by undoing the steps that made them; the journal stays. */
export async function dropTenant(parts: ProvisioningParts, tenant: Tenant, options: DropOptions): Promise<void> {
  await runOperation(parts, 'drop', tenant, options, async context => {
    await refuseDrop(context)
    try {
      await undoSteps(provisioningSteps, context)
    } catch (error) {
      if (isTenancyError(error) && error.code === 'CONNECTIONS_OPEN') {
        await parts.registry.setStatus(context.tenant.id, context.tenant.status)
        throw error
      }
      throw isTenancyError(error) ? error.with({ hint: `"tenantctl drop ${tenant.slug}" goes on from there` }) : error
    }
  })
}

/** All that forbids a drop is looked for before anything is touched. */
async function refuseDrop({ admin, tenant, marker, force }: StepContext): Promise<void> {
  if (tenant.protected) {
    throw new TenancyError('TENANT_PROTECTED', `tenant "${tenant.slug}" is protected against being dropped`, {
      tenant: tenant.slug,
      hint: `tenantctl unprotect ${tenant.slug}`,
    })
  }
  const database = await findDatabase(admin, tenant.database)
  const roles: Awaited<ReturnType<typeof findRole>>[] = []
  for (const name of roleNames(tenant)) roles.push(await findRole(admin, name))
  // One that never got that far may well stand beside a foreign database of the name it wanted.
  const complete = tenant.status === 'active' || tenant.status === 'suspended'
  const foreign = [database, ...roles].some(each => each && each.marker !== marker)
  if (complete && foreign) {
    throw new TenancyError(
      'TENANT_MISMATCH',
      `database "${tenant.database}" or role "${tenant.username}" does not carry the marker of tenant "${tenant.slug}"`,
      {
        tenant: tenant.slug,
        hint: 'nothing was touched: the registry and the server disagree, see "tenantctl doctor"',
      },
    )
  }
  if (force || database?.marker !== marker) return
  const sessions = await listSessions(admin, tenant.database)
  if (sessions.length > 0) throw connectionsOpen(tenant, sessions)
}
