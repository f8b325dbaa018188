import { findLeftovers, type Leftover, removeLeftover, temporaryTenantId } from '../provisioning/leftovers.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { findTemplateRemains } from '../provisioning/template-remains.ts'
import { temporaryRegistryName } from '../registry/install.ts'
import type { RegisteredTenant } from '../registry/inventory.ts'
import type { Finding } from './finding.ts'
import { sizeOf } from './size.ts'
import type { ServerSnapshot } from './snapshot.ts'

/** Databases and roles that carry this registry's marker, and are no tenant's. */
export async function checkLeftovers(
  parts: ProvisioningParts,
  server: ServerSnapshot,
  tenants: readonly RegisteredTenant[],
): Promise<Finding[]> {
  const rows = new Map(tenants.map(tenant => [tenant.id, tenant]))
  const databases = [...server.databases.values()]
  const roles = [...server.roles.values()]
  const leftovers = await findLeftovers(parts, server.server, { databases, roles }, rows)
  // Databases first: a role goes when it owns nothing any more.
  leftovers.sort((a, b) => a.kind.localeCompare(b.kind))
  return Promise.all(leftovers.map(leftover => describe(parts, server, leftover, leftovers)))
}

async function describe(
  parts: ProvisioningParts,
  server: ServerSnapshot,
  leftover: Leftover,
  all: readonly Leftover[],
): Promise<Finding> {
  const { kind, name, slug, holds, tenantId } = leftover
  const whose = slug === undefined ? `tenant ${tenantId}` : `tenant "${slug}"`
  const base = { check: 'orphan', status: 'problem' as const, server: server.server, leftover }
  const mend = async () => {
    if (!(await removeLeftover(parts, leftover, {}))) throw new Error('it is in use again, or owns something')
  }
  if (kind === 'database' && holds === 'data') {
    const message = `database "${name}" (${await sizeOf(server, name)}) was made for ${whose}, which the registry does not know`
    return { ...base, message, fix: `tenantctl doctor --fix --drop-orphan ${name}` }
  }
  if (kind === 'database') {
    const why = holds === 'empty' ? 'was never finished, and is empty' : 'is invalid: its removal was cut off'
    return { ...base, message: `database "${name}" of ${whose} ${why}`, fix: 'tenantctl repair', mend }
  }
  const message = `role "${name}" was made for ${whose}, which the registry does not know`
  const database = all.find(each => each.kind === 'database' && each.tenantId === tenantId && each.holds === 'data')
  if (database) return { ...base, message: `${message}; it goes with database "${database.name}"` }
  return { ...base, message, fix: 'tenantctl repair', mend }
}

/** What looks like ours and is not provably so: never touched, but somebody may wonder. */
export function checkForeign(
  parts: ProvisioningParts,
  server: ServerSnapshot,
  tenants: readonly RegisteredTenant[],
  stock: readonly { id: string }[],
): Finding[] {
  const { prefix } = parts.config.naming
  const known = new Set(tenants.filter(each => each.server === server.server).map(each => each.database))
  const halfMade = new Set([...tenants, ...stock].map(each => each.id))
  const isOwnTemporary = (name: string) => {
    const tenantId = temporaryTenantId(name)
    return (tenantId !== undefined && halfMade.has(tenantId)) || name === temporaryRegistryName(server.address.database)
  }
  const all = { databases: [...server.databases.values()], roles: [...server.roles.values()] }
  const building = new Set(findTemplateRemains(parts, server.server, all).flatMap(each => each.databases))
  return all.databases
    .filter(({ name, marker }) => marker === null && !known.has(name) && name !== server.address.database)
    .filter(({ name }) => (prefix !== '' && name.startsWith(prefix)) || name.startsWith('tenantctl_'))
    .filter(({ name }) => !isOwnTemporary(name) && !building.has(name))
    .map(({ name, owner }) => ({
      check: 'foreign',
      status: 'warning',
      server: server.server,
      message: `database "${name}" of role "${owner}" is named like a tenant's but carries no marker: it is foreign, and never touched`,
    }))
}

/** Dropped tenants whose time of retention is over. */
export function checkTombstones(server: ServerSnapshot, tenants: readonly RegisteredTenant[]): Finding[] {
  const expired = tenants.filter(tenant => tenant.server === server.server && tenant.expired)
  if (expired.length === 0) return []
  const slugs = expired.slice(0, 5).map(tenant => tenant.slug)
  const more = expired.length > 5 ? `, and ${expired.length - 5} more` : ''
  return [
    {
      check: 'tombstone',
      status: 'warning',
      server: server.server,
      message: `${expired.length} dropped ${expired.length === 1 ? 'tenant is' : 'tenants are'} kept longer than was asked for: ${slugs.join(', ')}${more}`,
      fix: 'tenantctl purge',
    },
  ]
}
