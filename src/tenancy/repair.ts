import { asTenancyError, type ErrorReport, isTenancyError } from '../errors.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { withAdmin } from '../postgres/connect.ts'
import { listDatabases, listRoles } from '../postgres/inventory.ts'
import { heldAdvisoryLocks, lockId } from '../postgres/locks.ts'
import { findLeftovers, type Leftover, removeLeftover, removeTemporaryRegistry } from '../provisioning/leftovers.ts'
import { reach, tenantLockKey } from '../provisioning/lock.ts'
import { markerStart } from '../provisioning/marker.ts'
import { readyPlace, removeReady } from '../provisioning/ready.ts'
import { needsRepair, repairTenant } from '../provisioning/repair.ts'
import { findTemplateRemains, removeTemplateRemains, type TemplateRemains } from '../provisioning/template-remains.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { UnfinishedOperation } from '../registry/unfinished.ts'
import { type FleetOptions, runOverTenants } from './fleet.ts'
import type { LazyParts, Parts } from './parts.ts'
import { selectTenants } from './select.ts'

/** A database or role of ours that belonged to no tenant any more. */
export interface RemovedLeftover {
  server: string
  kind: 'database' | 'role'
  name: string
  /** `left`: it may hold data; "tenantctl doctor" tells what to do about it. */
  status: 'removed' | 'left' | 'failed'
  error?: ErrorReport
}

export interface RepairResult extends FleetResult {
  /** Of crashed runs whose tenants are gone; looked for unless single tenants were selected. */
  leftovers: RemovedLeftover[]
  /** Servers that could not be searched for leftovers. */
  unreachable: { server: string; error: ErrorReport }[]
}

/** How a repair goes about its tenants. */
export interface RepairOptions extends FleetOptions {}

/** Finishes or undoes what crashed runs left half-done, on the tenants of a selection or on all that need it. */
export async function repair(
  lazy: LazyParts,
  selection: Selection | undefined,
  options: RepairOptions,
): Promise<RepairResult> {
  const parts = await lazy.get()
  const { onEvent = parts.config.onEvent } = options
  const tenants = await (selection ? selectTenants(parts, selection) : tenantsInNeed(parts))
  const result = await runOverTenants(parts, 'repair', tenants, options, async (tenant, { signal, run }) => {
    if (await isQueued(parts, tenant)) return { status: 'skipped', reason: 'it waits for a worker to make it' }
    try {
      const done = await repairTenant(parts, tenant, { signal, run, onEvent })
      if (done.length === 0) return { status: 'up_to_date' }
      return { status: 'repaired', reason: done.join('; ') }
    } catch (thrown) {
      // Somebody alive is at work on it, or has dropped it since: nothing is broken.
      if (!isTenancyError(thrown) || !['TENANT_LOCKED', 'TENANT_NOT_FOUND'].includes(thrown.code)) throw thrown
      return { status: 'skipped', reason: thrown.message, error: thrown.with({ tenant: tenant.slug }).toJSON() }
    }
  })
  if (selection && !('all' in selection)) return { ...result, leftovers: [], unreachable: [] }
  return { ...result, ...(await clearServers(parts, options)) }
}

async function tenantsInNeed(parts: Parts): Promise<Tenant[]> {
  const unfinished = new Map<string, UnfinishedOperation[]>()
  for (const operation of await parts.unfinished.list()) {
    unfinished.set(operation.tenantId, [...(unfinished.get(operation.tenantId) ?? []), operation])
  }
  const inNeed = (retained: boolean) => (tenant: Tenant) =>
    needsRepair({ status: tenant.status, retained }, unfinished.get(tenant.id) ?? [])
  const live: Tenant[] = await parts.registry.list()
  return [...live.filter(inNeed(false)), ...(await parts.retained.list()).filter(inNeed(true))]
}

/** Reserved and not begun: no crash, but a worker's job. */
async function isQueued(parts: Parts, tenant: Tenant): Promise<boolean> {
  if (tenant.status !== 'provisioning') return false
  if (await parts.unfinished.newest(tenant.id, ['create', 'restore'])) return false
  return (await parts.jobs.waitingTenants('create')).has(tenant.id)
}

/** What belongs to no tenant of the registry: on the servers, and in the journal. */
async function clearServers(
  parts: Parts,
  options: RepairOptions,
): Promise<Pick<RepairResult, 'leftovers' | 'unreachable'>> {
  const { signal, onEvent = parts.config.onEvent } = options
  const removed: RemovedLeftover[] = []
  const unreachable: RepairResult['unreachable'] = []
  const held = new Set<string>()
  // Operations stand in the journal while their locks are held, so they are read before the locks.
  const running = (await parts.unfinished.list()).filter(({ status }) => status === 'running')
  for (const server of parts.servers.names) {
    try {
      removed.push(...(await clearStock(parts, server, { signal, onEvent })))
      const { leftovers, templates, locks } = await searchServer(parts, server, signal)
      for (const lock of locks) held.add(lock)
      for (const leftover of leftovers) removed.push(await remove(parts, leftover, { signal, onEvent }))
      for (const each of templates) removed.push(...(await removeTemplate(parts, each, { signal, onEvent })))
    } catch (error) {
      unreachable.push({ server, error: asTenancyError(error).toJSON() })
    }
  }
  const registry = await removeTemporaryRegistry(parts, { signal }).catch(() => undefined)
  if (registry) removed.push({ server: defaultServer, kind: 'database', name: registry, status: 'removed' })
  if (unreachable.length === 0) await interruptOrphans(parts, running, held)
  return { leftovers: removed, unreachable }
}

/** Ready tenants whose making or removing was cut off are removed. */
async function clearStock(
  parts: Parts,
  server: string,
  options: Pick<RepairOptions, 'signal' | 'onEvent'>,
): Promise<RemovedLeftover[]> {
  const removed: RemovedLeftover[] = []
  for (const ready of await parts.ready.list(server)) {
    if (ready.status === 'ready' || ready.status === 'taken') continue
    const base = { server, kind: 'database' as const, name: readyPlace(ready).database }
    try {
      if (await removeReady(parts, ready, options)) removed.push({ ...base, status: 'removed' })
    } catch (error) {
      // Somebody alive is at work on it.
      if (isTenancyError(error) && error.code === 'TENANT_LOCKED') continue
      removed.push({ ...base, status: 'failed', error: asTenancyError(error).toJSON() })
    }
  }
  return removed
}

async function searchServer(
  parts: Parts,
  server: string,
  signal: AbortSignal | undefined,
): Promise<{ leftovers: Leftover[]; templates: TemplateRemains[]; locks: Set<string> }> {
  const { address, doing } = reach(parts, { server })
  return withAdmin(address, { signal, doing }, async admin => {
    // A row comes before its database and goes after it: what has none after this was never a tenant's, or is one no more.
    const [databases, roles] = [await listDatabases(admin), await listRoles(admin)]
    const rows = new Map((await parts.inventory.tenants()).map(row => [row.id, row]))
    const leftovers = await findLeftovers(parts, server, { databases, roles }, rows)
    // Databases first: a role goes when it owns nothing any more.
    leftovers.sort((a, b) => a.kind.localeCompare(b.kind))
    const templates = findTemplateRemains(parts, server, { databases, roles })
    return { leftovers, templates, locks: await heldAdvisoryLocks(admin, markerStart) }
  })
}

async function remove(
  parts: Parts,
  leftover: Leftover,
  options: Pick<RepairOptions, 'signal' | 'onEvent'>,
): Promise<RemovedLeftover> {
  const { server, kind, name } = leftover
  try {
    const gone = await removeLeftover(parts, leftover, options)
    return { server, kind, name, status: gone ? 'removed' : 'left' }
  } catch (error) {
    return { server, kind, name, status: 'failed', error: asTenancyError(error).toJSON() }
  }
}

async function removeTemplate(
  parts: Parts,
  remains: TemplateRemains,
  options: Pick<RepairOptions, 'signal' | 'onEvent'>,
): Promise<RemovedLeftover[]> {
  const { server } = remains
  const told = (result: Pick<RemovedLeftover, 'status' | 'error'>): RemovedLeftover[] => [
    ...remains.databases.map(name => ({ server, kind: 'database' as const, name, ...result })),
    ...remains.roles.map(name => ({ server, kind: 'role' as const, name, ...result })),
  ]
  try {
    await removeTemplateRemains(parts, remains, options)
    return told({ status: 'removed' })
  } catch (error) {
    // Somebody is building it.
    if (isTenancyError(error) && error.code === 'TENANT_LOCKED') return []
    return told({ status: 'failed', error: asTenancyError(error).toJSON() })
  }
}

/** Operations that still count as running, of tenants without a row: nobody will ever lock these again. */
async function interruptOrphans(
  parts: Parts,
  running: readonly UnfinishedOperation[],
  held: ReadonlySet<string>,
): Promise<void> {
  const rows = new Set((await parts.inventory.tenants()).map(row => row.id))
  const locked = (tenantId: string) =>
    parts.servers.names.some(server =>
      held.has(lockId(parts.servers.admin(server).database, tenantLockKey(parts, tenantId))),
    )
  const orphans = running.filter(({ tenantId }) => !rows.has(tenantId) && !locked(tenantId))
  await parts.unfinished.interrupt(orphans.map(each => each.id))
}
