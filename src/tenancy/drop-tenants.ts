import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { dropTenant } from '../provisioning/drop.ts'
import type { Tenant } from '../registry/tenant.ts'
import { planBackups } from './backups.ts'
import { refuseOthers } from './confirmed.ts'
import { readRetention } from './durations.ts'
import { runOverTenants, type Work } from './fleet.ts'
import type { Parts } from './parts.ts'
import { selectTenants } from './select.ts'
import type { DropOptions } from './tenants.ts'

/** Drops the tenants of a selection, each after its dump when one is wanted. */
export async function dropTenants(parts: Parts, selection: Selection, options: DropOptions): Promise<FleetResult> {
  const { onEvent = parts.config.onEvent, force = false } = options
  const tenants = await selectForDrop(parts, selection, options)
  refuseOthers(options.expect, tenants, 'nothing was dropped')
  const retainMs = readRetention(options.retain, parts.config.drop.retainMs)
  const backups = await planBackups(parts, tenants, selection, options)
  const work: Work<Tenant> = async (tenant, { signal, run }) => {
    await parts.letGo(tenant.id)
    const how = { signal, run, onEvent, force, retainMs, backup: backups.get(tenant.server) }
    const { retainedUntil, backup } = await dropTenant(parts, tenant, how)
    return {
      status: 'dropped',
      ...(retainedUntil === undefined ? {} : { retainedUntil }),
      ...(backup === undefined ? {} : { backup }),
    }
  }
  return runOverTenants(parts, 'drop', tenants, options, work, { parameters: { selection, retainMs } })
}

async function selectForDrop(parts: Parts, selection: Selection, options: DropOptions): Promise<Tenant[]> {
  if (!options.ifExists || !('tenants' in selection)) return selectTenants(parts, selection)
  const found = await Promise.all(selection.tenants.map(each => parts.registry.find(each)))
  return [...new Map(found.filter(each => each !== undefined).map(each => [each.id, each])).values()]
}
