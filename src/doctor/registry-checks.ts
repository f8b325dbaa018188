import type { DatabaseEntry } from '../postgres/inventory.ts'
import { markerOf } from '../provisioning/marker.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { makers } from '../provisioning/remedies.ts'
import { needsRepair, repairTenant } from '../provisioning/repair.ts'
import type { RegisteredTenant } from '../registry/inventory.ts'
import { databaseKinds } from '../registry/operation-journal.ts'
import type { UnfinishedOperation } from '../registry/unfinished.ts'
import type { Finding } from './finding.ts'
import { isDatabaseBusy, isLocked, type ServerSnapshot, type Snapshot } from './snapshot.ts'

/** What runs that were cut off have left in the registry; `queued` are tenants that a worker will make. */
export function checkOperations(parts: ProvisioningParts, snapshot: Snapshot, queued: ReadonlySet<string>): Finding[] {
  const byTenant = new Map<string, UnfinishedOperation[]>()
  for (const operation of snapshot.unfinished) {
    byTenant.set(operation.tenantId, [...(byTenant.get(operation.tenantId) ?? []), operation])
  }
  const findings = snapshot.tenants.flatMap(tenant => {
    const server = snapshot.servers.find(each => each.server === tenant.server)
    if (!server || queued.has(tenant.id)) return []
    const left = withoutLiving(server, tenant, byTenant.get(tenant.id) ?? [])
    if (
      isLocked(parts, server, tenant.id) ||
      !needsRepair({ status: tenant.status, retained: tenant.retainedUntil !== null }, left)
    )
      return []
    return [{ ...unfinished(parts, server, tenant, left), server: tenant.server, tenant: tenant.slug }]
  })
  return [...findings, ...checkFormerTenants(parts, snapshot)]
}

/** A migrate or a seed holds the lock in the tenant's database. */
function withoutLiving(
  server: ServerSnapshot,
  tenant: RegisteredTenant,
  operations: UnfinishedOperation[],
): UnfinishedOperation[] {
  const busy = isDatabaseBusy(server, tenant.database)
  return operations.filter(({ kind, status }) => !(busy && status === 'running' && databaseKinds.includes(kind)))
}

function unfinished(
  parts: ProvisioningParts,
  server: ServerSnapshot,
  tenant: RegisteredTenant,
  left: readonly UnfinishedOperation[],
): Omit<Finding, 'server' | 'tenant'> {
  const database = server.databases.get(tenant.database)
  const ours = database?.marker === markerOf(parts.registryId, tenant.id) ? database : undefined
  const halfMade = tenant.retainedUntil === null && makers[tenant.status] !== undefined
  const last = left.at(-1)
  const since = last ? ` (${last.kind} of ${last.actor}, begun ${last.startedAt.replace(/\.\d+Z$/, 'Z')})` : ''
  const message = halfMade
    ? `it is ${tenant.status}, and nobody is at work on it${since}`
    : `a run was cut off, and has left something half-done${since}`
  return {
    check: halfMade ? 'half-made' : 'operation',
    status: 'problem',
    message,
    fix: `tenantctl repair ${tenant.retainedUntil === null ? tenant.slug : ''}`.trim(),
    ...(removesData(tenant, left, ours) ? {} : { mend: () => repair(parts, tenant) }),
  }
}

/** To finish a drop removes data: only a command that says so does that. */
function removesData(
  tenant: RegisteredTenant,
  left: readonly UnfinishedOperation[],
  database: DatabaseEntry | undefined,
): boolean {
  const removes = tenant.status === 'dropping' || left.some(({ kind }) => kind === 'drop' || kind === 'purge')
  return removes && database !== undefined && !database.invalid
}

async function repair(parts: ProvisioningParts, tenant: RegisteredTenant): Promise<void> {
  await repairTenant(parts, tenant, {})
}

/** Running operations of tenants that are gone. */
function checkFormerTenants(
  parts: ProvisioningParts,
  { servers, unreachable, tenants, unfinished }: Snapshot,
): Finding[] {
  if (unreachable.length > 0 || servers.length < parts.servers.names.length) return []
  const rows = new Set(tenants.map(tenant => tenant.id))
  return unfinished
    .filter(({ status, tenantId }) => status === 'running' && !rows.has(tenantId))
    .filter(({ tenantId }) => !servers.some(server => isLocked(parts, server, tenantId)))
    .map(({ id, kind, tenant, actor, startedAt }) => ({
      check: 'operation',
      status: 'problem',
      tenant,
      message: `the journal counts a ${kind} of ${actor} as running since ${startedAt}, but the tenant and its lock are gone`,
      fix: 'tenantctl repair',
      mend: async () => void (await parts.unfinished.interrupt([id])),
    }))
}

/** Tenants on servers that the configuration does not name any more. */
export function checkConfiguredServers(parts: ProvisioningParts, tenants: readonly RegisteredTenant[]): Finding[] {
  const counts = new Map<string, number>()
  for (const { server } of tenants) counts.set(server, (counts.get(server) ?? 0) + 1)
  return [...counts]
    .filter(([server]) => !parts.servers.names.includes(server))
    .map(([server, count]) => ({
      check: 'server',
      status: 'problem',
      server,
      message: `${count === 1 ? '1 tenant lives' : `${count} tenants live`} on server "${server}", which is not configured: add it to servers`,
    }))
}

/** Passwords that the configured keys do not open. */
export async function checkPasswords(
  parts: ProvisioningParts,
  tenants: readonly RegisteredTenant[],
): Promise<Finding[]> {
  const { opened, failures } = await parts.inventory.openPasswords()
  const byId = new Map(tenants.map(tenant => [tenant.id, tenant]))
  // One missing key is one problem, however many tenants it concerns.
  const [first] = failures.values()
  if (first && opened === 0) {
    return [
      {
        check: 'passwords',
        status: 'problem',
        message: `no stored password can be read: ${first.message}`,
        ...(first.hint ? { fix: first.hint } : {}),
      },
    ]
  }
  if (failures.size === 0) {
    if (opened === 0) return []
    return [{ check: 'passwords', status: 'ok', message: `the stored passwords of ${opened} tenants can be read` }]
  }
  return [...failures].flatMap(([id, { message }]) => {
    const tenant = byId.get(id)
    if (!tenant) return []
    const { slug, server } = tenant
    return [
      {
        check: 'passwords',
        status: 'problem' as const,
        server,
        tenant: slug,
        message: `its password cannot be read: ${message}`,
        fix: `tenantctl rotate-password ${slug}`,
      },
    ]
  })
}
