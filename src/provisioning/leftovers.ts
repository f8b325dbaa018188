import { type Client, withAdmin } from '../postgres/connect.ts'
import { dropDatabase, findDatabase, isUnpublished } from '../postgres/databases.ts'
import { countDependencies, type DatabaseEntry, type RoleEntry } from '../postgres/inventory.ts'
import { dropRole, findRole } from '../postgres/roles.ts'
import { sessionsOf } from '../postgres/sessions.ts'
import { temporaryRegistryName } from '../registry/install.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Tenant } from '../registry/tenant.ts'
import { connectionsOpen } from './conflicts.ts'
import type { RunOptions } from './create.ts'
import { reach, withTenantLock } from './lock.ts'
import { markerOf, readMarker } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'

/** A database or role of ours that no tenant's row speaks of. */
export interface Leftover {
  server: string
  kind: 'database' | 'role'
  name: string
  tenantId: string
  /** Slug that the tenant had, where the journal remembers it. */
  slug: string | undefined
  /**
   * `empty`: nobody can ever have put anything into it. `invalid`: its DROP was cut off, so that nobody can read it any
   * more. `data`: it may hold data, and is never removed unasked.
   */
  holds: 'empty' | 'invalid' | 'data'
}

const temporary = /^tenantctl_new_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/

/**
 * Looks for leftovers among what a server has. `rows` are the ids of all tenants of the registry, retained ones too. What
 * is in stock, or is being put there, is none.
 */
export async function findLeftovers(
  parts: ProvisioningParts,
  server: string,
  found: { databases: readonly DatabaseEntry[]; roles: readonly RoleEntry[] },
  rows: ReadonlyMap<string, Pick<Tenant, 'status'>>,
): Promise<Leftover[]> {
  const stock = new Set((await parts.ready.list(server)).map(each => each.id))
  const ours = (marker: string | null) => {
    const read = readMarker(marker)
    return read?.registryId === parts.registryId && !stock.has(read.tenantId) ? read.tenantId : undefined
  }
  const leftovers: Omit<Leftover, 'slug'>[] = []
  const suspects: { name: string; tenantId: string }[] = []
  for (const database of found.databases) {
    const { name, marker, invalid } = database
    const tenantId = ours(marker)
    if (tenantId !== undefined && !rows.has(tenantId)) {
      leftovers.push({ server, kind: 'database', name, tenantId, holds: invalid ? 'invalid' : 'data' })
    }
    const temporaryOf = temporaryTenantId(name)
    // A create or its undoing finishes it, unless there is none any more.
    if (temporaryOf && isUnpublished(database) && !isHalfMade(rows.get(temporaryOf))) {
      suspects.push({ name, tenantId: temporaryOf })
    }
  }
  for (const { name, marker } of found.roles) {
    const tenantId = ours(marker)
    if (tenantId !== undefined && !rows.has(tenantId)) {
      leftovers.push({ server, kind: 'role', name, tenantId, holds: 'data' })
    }
  }
  const slugs = await parts.inventory.known([...leftovers, ...suspects].map(each => each.tenantId))
  // A temporary database carries no marker yet: ours is one whose tenant our journal has seen.
  for (const { name, tenantId } of suspects.filter(each => slugs.has(each.tenantId))) {
    leftovers.push({ server, kind: 'database', name, tenantId, holds: 'empty' })
  }
  return leftovers.map(each => ({ ...each, slug: slugs.get(each.tenantId) }))
}

function isHalfMade(tenant: Pick<Tenant, 'status'> | undefined): boolean {
  return tenant !== undefined && tenant.status !== 'active' && tenant.status !== 'suspended'
}

/** The tenant whose database is being made under a temporary name. */
export function temporaryTenantId(name: string): string | undefined {
  return temporary.exec(name)?.slice(1).join('-')
}

/**
 * Removes a leftover, after another look under the lock of the tenant that it was. Returns false when it is gone, or
 * somebody's again. With `evenData` also a database that may hold data; never a role that still owns something. Throws
 * `TENANT_LOCKED` and `CONNECTIONS_OPEN`.
 */
export async function removeLeftover(
  parts: ProvisioningParts,
  leftover: Leftover,
  options: RunOptions & { evenData?: boolean },
): Promise<boolean> {
  const { server, kind, name, tenantId, slug = name } = leftover
  return withTenantLock(parts, { id: tenantId, slug, server }, { ...options, waitMs: 0 }, async admin => {
    if (!(await isRemovable(parts, admin, leftover, options.evenData ?? false))) return false
    if (kind === 'database') {
      const sessions = await sessionsOf(admin, { database: name })
      if (sessions.length > 0) throw connectionsOpen({ slug, database: name }, sessions, 'end them first')
    }
    const operationId = await parts.journal.begin('drop', { id: tenantId, slug }, { leftover: kind, name })
    try {
      await (kind === 'database' ? dropDatabase(admin, name) : dropRole(admin, name))
      await parts.journal.finish(operationId)
    } catch (error) {
      await parts.journal.fail(operationId, error).catch(() => undefined)
      throw error
    }
    return true
  })
}

async function isRemovable(
  parts: ProvisioningParts,
  admin: Client,
  { kind, name, tenantId, holds }: Leftover,
  evenData: boolean,
): Promise<boolean> {
  const marker = markerOf(parts.registryId, tenantId)
  if (holds !== 'empty' && (await parts.inventory.has(tenantId))) return false
  if (await parts.ready.has(tenantId)) return false
  if (kind === 'role') {
    const role = await findRole(admin, name)
    return role?.marker === marker && (await countDependencies(admin, name)) === 0
  }
  const database = await findDatabase(admin, name)
  if (!database) return false
  if (holds === 'empty') return isUnpublished(database)
  return database.marker === marker && (database.invalid || evenData)
}

/** A registry database that was never finished, because the registry came to be in another way. */
export async function removeTemporaryRegistry(
  parts: ProvisioningParts,
  options: RunOptions,
): Promise<string | undefined> {
  const { address, doing } = reach(parts, { server: defaultServer })
  const name = temporaryRegistryName(address.database)
  return withAdmin(address, { signal: options.signal, doing }, async admin => {
    const database = await findDatabase(admin, name)
    if (!database || !isUnpublished(database)) return undefined
    await dropDatabase(admin, name)
    return name
  })
}
