import { dropDumpRole } from '../postgres/dump-role.ts'
import type { RoleEntry } from '../postgres/inventory.ts'
import { remedyText } from '../postgres/remedy-text.ts'
import { dumpRoleName } from '../provisioning/backup.ts'
import { withTenantLock } from '../provisioning/lock.ts'
import type { Found, Subject } from './tenant-checks.ts'

/** What a tenant's role may do beyond its database, and who may act as it. */
export function checkRole(subject: Subject, role: RoleEntry): Found[] {
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

/** Roles that were made for it and are none of its own: a backup makes one, and a crash leaves it. */
export function strayRoles({ parts, tenant, marker, marked, roleNames }: Subject): Found[] {
  return marked
    .filter(({ name }) => !roleNames.includes(name))
    .map(({ name }) => {
      const { database } = tenant
      if (name !== dumpRoleName(tenant.id)) {
        const message = `role "${name}" carries the marker of this tenant, but is none of its roles`
        return { check: 'role', status: 'problem' as const, message, fix: remedyText.dropRole(name) }
      }
      return {
        check: 'role',
        status: 'problem' as const,
        message: `role "${name}" is the login of a backup that was cut off`,
        fix: `${remedyText.revokeDatabase(database, name)} ${remedyText.dropRole(name)}`,
        mend: () =>
          withTenantLock(parts, tenant, { waitMs: 0 }, admin => dropDumpRole(admin, { name, marker, database })),
      }
    })
}
