import { TenancyError } from '../errors.ts'
import { type Client, withAdmin } from '../postgres/connect.ts'
import { findDatabase, isUnpublished } from '../postgres/databases.ts'
import type { DatabaseEntry, RoleEntry } from '../postgres/inventory.ts'
import { withAdvisoryLock } from '../postgres/locks.ts'
import { removeRemains } from './build-template.ts'
import type { RunOptions } from './create.ts'
import { markerStart } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import { templateLock, templateMarker } from './template.ts'

/** What was being built into a template: databases and roles that share the hash in their names. */
export interface TemplateRemains {
  server: string
  /** Name that the template would have got. */
  name: string
  databases: string[]
  roles: string[]
}

const part = /^tenantctl_(?:closed_)?(?:template|building|checking|trial)_([0-9a-f]{24})(?:_owner|_migrator)?$/

/** Looks for templates that have not come to their end; whether somebody is at work on one, its lock tells. */
export function findTemplateRemains(
  parts: ProvisioningParts,
  server: string,
  found: { databases: readonly DatabaseEntry[]; roles: readonly RoleEntry[] },
): TemplateRemains[] {
  const marker = templateMarker(parts.registryId)
  const remains = new Map<string, TemplateRemains>()
  const of = (name: string) => {
    const hash = part.exec(name)?.[1]
    if (hash === undefined) return undefined
    const template = `tenantctl_template_${hash}`
    const known = remains.get(template) ?? { server, name: template, databases: [], roles: [] }
    remains.set(template, known)
    return known
  }
  for (const role of found.roles) if (role.marker === marker) of(role.name)?.roles.push(role.name)
  for (const database of found.databases) {
    const hash = part.exec(database.name)?.[1]
    // Its role, which is there before it, shows that it is this registry's.
    const ours = database.marker === marker || (isUnpublished(database) && remains.has(`tenantctl_template_${hash}`))
    if (ours) of(database.name)?.databases.push(database.name)
  }
  // The last step gives the database its name: one that bears it is whole.
  return [...remains.values()].filter(({ name, databases }) => !databases.includes(name))
}

/** Removes them, unless somebody is building that template right now. Throws `TENANT_LOCKED`. */
export async function removeTemplateRemains(
  parts: ProvisioningParts,
  remains: TemplateRemains,
  options: RunOptions,
): Promise<void> {
  await whileNobodyBuilds(parts, remains, options, async (admin, { name, marker }) => {
    if ((await findDatabase(admin, name))?.marker === marker) return
    // Its names are among those of separate roles.
    await removeRemains(admin, { name, roles: 'separate' }, marker)
  })
}

/** Under the lock that a template's builder holds. Throws `TENANT_LOCKED` at once when somebody has it. */
export async function whileNobodyBuilds(
  parts: ProvisioningParts,
  { server, name }: { server: string; name: string },
  { signal }: RunOptions,
  work: (admin: Client, template: { name: string; marker: string }) => Promise<void>,
): Promise<void> {
  const marker = templateMarker(parts.registryId)
  await withAdmin(parts.servers.admin(server), { signal }, admin => {
    const onTimeout = () => new TenancyError('TENANT_LOCKED', `template ${name} is being built right now`)
    const wait = { timeoutMs: 0, signal, evict: markerStart, onTimeout }
    return withAdvisoryLock(admin, templateLock(parts.registryId, name), wait, () => work(admin, { name, marker }))
  })
}
