import { withAdmin } from '../postgres/connect.ts'
import { restrictDatabase } from '../postgres/harden.ts'
import type { DatabaseEntry, RoleEntry } from '../postgres/inventory.ts'
import { remedyText } from '../postgres/remedy-text.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { markerOf } from '../provisioning/steps.ts'
import { suspendTenant } from '../provisioning/suspend.ts'
import type { RegisteredTenant } from '../registry/inventory.ts'
import { loginRoles, roleNames } from '../registry/roles.ts'
import type { Finding } from './finding.ts'
import { isLocked, type ServerSnapshot } from './snapshot.ts'

interface Subject {
  parts: ProvisioningParts
  server: ServerSnapshot
  tenant: RegisteredTenant
  marker: string
  roleNames: readonly string[]
}

type Found = Omit<Finding, 'server' | 'tenant'>

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
  let healthy = 0
  const findings = whole.flatMap(tenant => {
    const found = checkTenant({
      parts,
      server,
      tenant,
      marker: markerOf(parts.registryId, tenant.id),
      roleNames: roleNames(tenant),
    })
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
  const missing = [...(database ? [] : [missingDatabase(subject)]), ...missingRoles(subject)]
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

function missingRoles({ server, tenant, marker, roleNames }: Subject): Found[] {
  return roleNames
    .filter(name => !server.roles.has(name))
    .map(name => {
      const others = [...server.roles.values()].filter(each => each.marker === marker && !roleNames.includes(each.name))
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

function checkRole(subject: Subject, role: RoleEntry): Found[] {
  return [...checkAttributes(role), ...checkMemberships(subject, role), ...checkAdminRights(subject, role)]
}

function checkAttributes({
  name,
  superuser,
  createdb,
  createrole,
  replication,
  bypassrls,
  expired,
}: RoleEntry): Found[] {
  const has = Object.entries({ superuser, createdb, createrole, replication, bypassrls }).filter(([, on]) => on)
  const found: Found[] = []
  if (has.length > 0) {
    const attributes = has.map(([attribute]) => attribute.toUpperCase())
    found.push({
      check: 'attributes',
      status: 'problem',
      message: `role "${name}" has ${attributes.join(', ')}: it can leave its database`,
      fix: remedyText.roleAttributes(
        name,
        attributes.map(each => `NO${each}`),
      ),
    })
  }
  if (expired) {
    found.push({
      check: 'attributes',
      status: 'problem',
      message: `the password of role "${name}" has expired (VALID UNTIL): nobody can log in`,
      fix: remedyText.roleAttributes(name, ["VALID UNTIL 'infinity'"]),
    })
  }
  return found
}

function checkMemberships({ server, roleNames }: Subject, { name, memberOf, members }: RoleEntry): Found[] {
  const outward = memberOf
    .filter(group => !roleNames.includes(group))
    .map(group => ({
      check: 'membership',
      status: 'problem' as const,
      message: `role "${name}" is a member of role "${group}", and has its rights`,
      fix: remedyText.revokeRole(group, name),
    }))
  const inward = members
    .filter(member => !roleNames.includes(member) && server.roles.get(member)?.superuser !== true)
    .map(member => ({
      check: 'membership',
      status: server.roles.get(member)?.marker?.startsWith('tenantctl ') ? ('problem' as const) : ('warning' as const),
      message: `role "${member}" is a member of role "${name}", and can read and change the tenant's data`,
      fix: remedyText.revokeRole(name, member),
    }))
  return [...outward, ...inward]
}

/** From PostgreSQL 16 on, who made a role has ADMIN on it only; another admin has nothing. */
function checkAdminRights({ server: { facts } }: Subject, { name, admin }: RoleEntry): Found[] {
  const missing = [
    ...(admin.admin ? [] : ['ADMIN']),
    ...(admin.inherit ? [] : ['INHERIT']),
    ...(admin.set ? [] : ['SET']),
  ]
  if (missing.length === 0) return []
  return [
    {
      check: 'admin-rights',
      status: 'problem',
      message: `the admin "${facts.user}" lacks ${missing.join(', ')} on role "${name}": it cannot end its sessions, alter or drop it`,
      fix: remedyText.grantRole(name, facts.user, facts.version),
    },
  ]
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
