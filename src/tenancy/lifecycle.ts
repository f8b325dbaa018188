import { TenancyError } from '../errors.ts'
import type { FleetCommand } from '../events.ts'
import type { ChangedStatus, FleetResult, TenantOutcome } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import type { RunOptions } from '../provisioning/create.ts'
import { protectTenant } from '../provisioning/protect.ts'
import { purgeTenant } from '../provisioning/purge.ts'
import { rotatePassword } from '../provisioning/rotate-password.ts'
import { resumeTenant, suspendTenant } from '../provisioning/suspend.ts'
import type { RetainedTenant } from '../registry/retained-tenants.ts'
import type { Tenant } from '../registry/tenant.ts'
import { type ConfirmedOptions, refuseOthers } from './confirmed.ts'
import { type FleetOptions, runOverTenants, type Work } from './fleet.ts'
import type { Parts } from './parts.ts'
import { selectTenants } from './select.ts'

/** How tenants get new passwords. */
export interface RotatePasswordOptions extends ConfirmedOptions {
  /** Leave the sessions alone that logged in with the old password. Default: false, they are ended. */
  keepSessions?: boolean | undefined
}

/** How dropped tenants whose time is over are removed for good. */
export interface PurgeOptions extends FleetOptions {
  /** Only tell what would be removed: each is `skipped`, with the reason. Default: false. */
  dryRun?: boolean | undefined
  /** More than that at once are `LIMIT_EXCEEDED`, and none is removed. Default: 10. */
  max?: number | undefined
}

export async function suspendTenants(parts: Parts, selection: Selection, options: FleetOptions): Promise<FleetResult> {
  return change(parts, 'suspend', selection, options, async (tenant, run) => {
    const changed = await suspendTenant(parts, tenant, run)
    await parts.letGo(tenant.id)
    return changed && 'suspended'
  })
}

export async function resumeTenants(parts: Parts, selection: Selection, options: FleetOptions): Promise<FleetResult> {
  return change(parts, 'resume', selection, options, async (tenant, run) => {
    return (await resumeTenant(parts, tenant, run)) && 'resumed'
  })
}

export async function protectTenants(
  parts: Parts,
  selection: Selection,
  on: boolean,
  options: FleetOptions,
): Promise<FleetResult> {
  return change(parts, on ? 'protect' : 'unprotect', selection, options, async (tenant, run) => {
    return (await protectTenant(parts, tenant, on, run)) && (on ? 'protected' : 'unprotected')
  })
}

export async function rotatePasswords(
  parts: Parts,
  selection: Selection,
  options: RotatePasswordOptions,
): Promise<FleetResult> {
  return change(parts, 'rotate-password', selection, options, async (tenant, run) => {
    await rotatePassword(parts, tenant, { ...run, keepSessions: options.keepSessions })
    await parts.letGo(tenant.id)
    return 'rotated'
  })
}

const defaultMax = 10

export async function purgeTenants(parts: Parts, options: PurgeOptions): Promise<FleetResult> {
  const { max = defaultMax, dryRun = false, onEvent = parts.config.onEvent } = options
  if (!Number.isInteger(max) || max < 1) throw new TenancyError('USAGE', 'max: expected a whole number from 1 on')
  const expired = (await parts.retained.list()).filter(tenant => tenant.expired)
  if (!dryRun && expired.length > max) {
    throw new TenancyError('LIMIT_EXCEEDED', `${expired.length} dropped tenants have expired, more than ${max}`, {
      hint: `nothing was removed: look at them with \`tenantctl purge --dry-run\`, then say --max ${expired.length}`,
    })
  }
  const work: Work<RetainedTenant> = async (tenant, { signal, run }) => {
    if (dryRun) return { id: tenant.id, status: 'skipped', reason: `would be removed: ${told(tenant)}` }
    const purged = await purgeTenant(parts, tenant, { signal, run, onEvent })
    return { id: tenant.id, status: purged ? 'purged' : 'up_to_date', ...(purged ? { reason: told(tenant) } : {}) }
  }
  return runOverTenants(parts, 'purge', expired, options, work, { recorded: !dryRun })
}

function told({ droppedAt, retainedUntil, formerDatabase }: RetainedTenant): string {
  return `database ${formerDatabase}, dropped ${droppedAt}, kept until ${retainedUntil}`
}

async function change(
  parts: Parts,
  command: FleetCommand,
  selection: Selection,
  options: ConfirmedOptions,
  work: (tenant: Tenant, run: RunOptions) => Promise<ChangedStatus | false>,
): Promise<FleetResult> {
  const { onEvent = parts.config.onEvent } = options
  const tenants = await selectTenants(parts, selection)
  refuseOthers(options.expect, tenants, 'nothing was changed')
  return runOverTenants(
    parts,
    command,
    tenants,
    options,
    async (tenant, visit): Promise<Pick<TenantOutcome, 'status'>> => {
      return { status: (await work(tenant, { signal: visit.signal, run: visit.run, onEvent })) || 'up_to_date' }
    },
    { parameters: { selection } },
  )
}
