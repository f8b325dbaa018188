import { withAdmin } from '../postgres/connect.ts'
import { restrictDatabase } from '../postgres/harden.ts'
import type { DatabaseEntry, RoleEntry } from '../postgres/inventory.ts'
import { remedyText } from '../postgres/remedy-text.ts'
import { markerOf } from '../provisioning/marker.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { suspendTenant } from '../provisioning/suspend.ts'
import type { RegisteredTenant } from '../registry/inventory.ts'
import { loginRoles, roleNames } from '../registry/roles.ts'
import type { Finding } from './finding.ts'
import { checkRole, strayRoles } from './role-checks.ts'
import { isLocked, type ServerSnapshot } from './snapshot.ts'

/** A tenant, and what its server has of it. */
export interface Subject {
  parts: ProvisioningParts
  server: ServerSnapshot
  tenant: RegisteredTenant
  marker: string
  /** Names of the roles that it must have. */
  roleNames: readonly string[]
  /** Roles that bear its marker, whatever their name. */
  marked: readonly RoleEntry[]
}

export type Found = Omit<Finding, 'server' | 'tenant'>

/** Compares whole tenants with what their server has of them. */
export function checkTenants(
  parts: ProvisioningParts,
  server: ServerSnapshot,
  tenants: readonly RegisteredTenant[],
): Finding[] {
  const here = tenants.filter(tenant => tenant.server === server.server)
  // What is being worked on is not whole yet, and what is half-made is told as such.
  const whole = here.filter(({ id, status, retainedUntil }) => {
    const settled = status === 'active' || status === 'suspended' || retainedUntil !== null
    return settled && !isLocked(parts, server, id)
  })
  const marked = new Map<string, RoleEntry[]>()
  for (const role of server.roles.values()) {
    if (role.marker !== null) marked.set(role.marker, [...(marked.get(role.marker) ?? []), role])
  }
  let healthy = 0
  const findings = whole.flatMap(tenant => {
    const marker = markerOf(parts.registryId, tenant.id)
    const names = roleNames(tenant)
    const found = checkTenant({ parts, server, tenant, marker, roleNames: names, marked: marked.get(marker) ?? [] })
    if (!found.some(({ status }) => status !== 'ok')) healthy += 1
    return found.map(each => ({ ...each, server: server.server, tenant: tenant.slug }))
  })
  if (here.length === 0) return [{ check: 'tenants', status: 'ok', server: server.server, message: 'no tenants yet' }]
  if (healthy === 0) return findings
  const message = `${healthy} of ${here.length} tenants: databases, roles, markers and privileges are as they should be`
  return [{ check: 'tenants', status: 'ok', server: server.server, message }, ...findings]
}

function checkTenant(subject: Subject): Found[] {
  const { server, tenant, marker } = subject
  const database = server.databases.get(tenant.database)
  const noRoles = missingRoles(subject)
  // One that was renamed is told as missing.
  const strays = noRoles.length === 0 ? strayRoles(subject) : []
  const missing = [...(database ? [] : [missingDatabase(subject)]), ...noRoles, ...strays]
  const roles = subject.roleNames.flatMap(name => server.roles.get(name) ?? [])
  const foreign = [
    ...(database && database.marker !== marker ? [foreignDatabase(database, marker)] : []),
    ...roles.filter(role => role.marker !== marker).map(role => foreignRole(role, marker)),
  ]
  const found = [...missing, ...foreign]
  // Nothing is said, and nothing done, about what is not the tenant's own.
  if (database?.marker === marker) {
    found.push(...(database.invalid ? [invalid(subject)] : checkDatabase(subject, database)))
  }
  for (const role of roles.filter(each => each.marker === marker)) found.push(...checkRole(subject, role))
  return found
}

function missingDatabase({ server, tenant, marker }: Subject): Found {
  const other = [...server.databases.values()].find(each => each.marker === marker)
  if (other) {
    return {
      check: 'database',
      status: 'problem',
      message: `database "${tenant.database}" is missing, but "${other.name}" carries its marker: it was renamed`,
      fix: remedyText.renameDatabase(other.name, tenant.database),
    }
  }
  return {
    check: 'database',
    status: 'problem',
    message: `database "${tenant.database}" is missing: restore it from a backup, or give the tenant up`,
    fix: `tenantctl drop ${tenant.slug}`,
  }
}

function missingRoles({ server, tenant, marked, roleNames }: Subject): Found[] {
  return roleNames
    .filter(name => !server.roles.has(name))
    .map(name => {
      const others = marked.filter(each => !roleNames.includes(each.name))
      const renamed = others.length === 1 ? others[0] : undefined
      return {
        check: 'role',
        status: 'problem',
        message: renamed
          ? `role "${name}" is missing, but "${renamed.name}" carries its marker: it was renamed`
          : `role "${name}" is missing: nobody can log in to database "${tenant.database}"`,
        ...(renamed ? { fix: remedyText.renameRole(renamed.name, name) } : {}),
      }
    })
}

function foreignDatabase({ name, marker: found }: DatabaseEntry, marker: string): Found {
  const what = found === null ? 'carries no marker' : `carries the comment of another (${shorten(found)})`
  return {
    check: 'marker',
    status: 'problem',
    message: `database "${name}" ${what}, so it is left alone; if it is this tenant's, mark it`,
    fix: remedyText.markDatabase(name, marker),
  }
}

function foreignRole({ name, marker: found }: RoleEntry, marker: string): Found {
  const what = found === null ? 'carries no marker' : `carries the comment of another (${shorten(found)})`
  return {
    check: 'marker',
    status: 'problem',
    message: `role "${name}" ${what}, so it is left alone; if it is this tenant's, mark it`,
    fix: remedyText.markRole(name, marker),
  }
}

function invalid({ tenant }: Subject): Found {
  return {
    check: 'database',
    status: 'problem',
    message: `the removal of database "${tenant.database}" was cut off: nobody can enter it, and its data is lost. Restore it from a backup`,
    fix: `tenantctl drop ${tenant.slug}`,
  }
}

function checkDatabase(subject: Subject, database: DatabaseEntry): Found[] {
  return [...checkOwner(subject, database), ...checkPrivileges(subject, database), ...checkDoor(subject, database)]
}

function checkOwner({ server, roleNames }: Subject, { name, owner, mine, ownerIsSuperuser }: DatabaseEntry): Found[] {
  const { user, superuser } = server.facts
  if (roleNames.includes(owner)) {
    const message = `database "${name}" belongs to its tenant's role, which can open it to others and lift its limits`
    return [{ check: 'owner', status: 'problem', message, fix: remedyText.ownDatabase(name, user) }]
  }
  if (owner === user || (superuser && ownerIsSuperuser)) return []
  if (!superuser && mine) return []
  const status = superuser ? 'warning' : 'problem'
  const message = `database "${name}" belongs to role "${owner}", not to the admin "${user}"`
  return [{ check: 'owner', status, message, fix: remedyText.ownDatabase(name, user) }]
}

function checkPrivileges(
  { server, tenant, marker, roleNames }: Subject,
  { name, privileges, mine }: DatabaseEntry,
): Found[] {
  const found: Found[] = []
  for (const [grantee, granted] of Object.entries(privileges)) {
    const role = server.roles.get(grantee)
    // Its own role may have been renamed.
    if (roleNames.includes(grantee) || role?.marker === marker) continue
    const isTenant = role?.marker?.startsWith('tenantctl ') ?? false
    const may = granted.map(each => each.toLowerCase()).join(', ')
    const who = grantee === 'PUBLIC' ? 'everybody' : isTenant ? `tenant role "${grantee}"` : `role "${grantee}"`
    const harmful = grantee === 'PUBLIC' || isTenant
    found.push({
      check: 'privileges',
      status: harmful ? 'problem' : 'warning',
      message: `${who} may enter database "${name}" (${may})`,
      fix: remedyText.revokeDatabase(name, grantee),
      ...(harmful && mine ? { mend: () => shutOut(server, name, grantee, roleNames) } : {}),
    })
  }
  const { status, username } = tenant
  if (status === 'active' && server.roles.has(username) && !privileges[username]?.includes('CONNECT')) {
    found.push({
      check: 'privileges',
      status: 'problem',
      message: `role "${username}" may not connect to its own database "${name}"`,
      fix: remedyText.grantDatabase(name, [username], ['CONNECT']),
    })
  }
  return found
}

async function shutOut(
  server: ServerSnapshot,
  database: string,
  grantee: string,
  own: readonly string[],
): Promise<void> {
  // Whoever has got in by the right that goes now; superusers and the owner need none.
  const visitors = [...server.roles.values()].filter(role => !own.includes(role.name) && !role.superuser)
  const names = visitors.map(role => role.name).filter(name => name !== server.facts.user)
  await withAdmin(server.address, {}, client =>
    restrictDatabase(client, database, { revokeFrom: [grantee], keep: [], endSessionsOf: names }),
  )
}

/** Whether it lets the tenant in just when the registry says so. */
function checkDoor({ parts, server, tenant }: Subject, { name, allowConnections }: DatabaseEntry): Found[] {
  const open = tenant.status === 'active' && tenant.retainedUntil === null
  const logins = loginRoles(tenant).flatMap(each => server.roles.get(each) ?? [])
  const ajar = [
    ...(allowConnections === open ? [] : [`database "${name}" takes ${open ? 'no ' : ''}connections`]),
    ...logins.filter(role => role.canLogin !== open).map(role => `role "${role.name}" may ${open ? 'not ' : ''}log in`),
  ]
  if (ajar.length === 0) return []
  if (open) {
    const fix = `tenantctl resume ${tenant.slug}`
    return [{ check: 'access', status: 'problem', message: `it is active, but ${ajar.join(', ')}`, fix }]
  }
  const state = tenant.retainedUntil === null ? 'suspended' : 'dropped'
  const message = `it is ${state}, but ${ajar.join(', ')}`
  if (state === 'dropped') return [{ check: 'access', status: 'problem', message }]
  const mend = async () => {
    const found = await parts.registry.find(tenant.id)
    if (found?.status === 'suspended') await suspendTenant(parts, found, {})
  }
  return [{ check: 'access', status: 'problem', message, fix: `tenantctl suspend ${tenant.slug}`, mend }]
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
