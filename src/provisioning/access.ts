import { TenancyError } from '../errors.ts'
import { findDatabase, setAllowConnections } from '../postgres/databases.ts'
import { findRole, setRoleLogin } from '../postgres/roles.ts'
import { endAllSessions, overrule, sessionsOf } from '../postgres/sessions.ts'
import { loginRoles } from '../registry/roles.ts'
import { connectionsOpen } from './conflicts.ts'
import type { TenantOnServer } from './step.ts'

/*
 * Letting a tenant in and shutting it out: its database takes connections or not, its roles may log in or not. One of
 * them alone would do for most; both, because a database has also other visitors, and a role other databases.
 */

/**
 * Nobody comes in any more, then whoever is in goes: revoked rights do not end a session. With `endSessions` false,
 * open sessions are `CONNECTIONS_OPEN`, and everybody may come in as before.
 */
export async function closeTenant(context: TenantOnServer, options: { endSessions: boolean }): Promise<void> {
  const { admin, adminFacts, tenant } = context
  const roles = loginRoles(tenant)
  await requirePresent(context)
  if (options.endSessions) {
    await overrule(admin, adminFacts, roles, () => setAccess(context, false))
    return endTenantSessions(context)
  }
  const refuseVisitors = async () => {
    const sessions = await sessionsOf(admin, { database: tenant.database, roles })
    if (sessions.length > 0) throw connectionsOpen(tenant, sessions)
  }
  // Whoever is in may hold the very rows that are to be changed.
  await refuseVisitors()
  const wasOpen = await hasAccess(context, true)
  await setAccess(context, false)
  await refuseVisitors().catch(async error => {
    if (wasOpen) await setAccess(context, true)
    throw error
  })
}

/** Ends all sessions of a tenant. Throws `CONNECTIONS_OPEN` with those that the admin may not end. */
export async function endTenantSessions(context: TenantOnServer): Promise<void> {
  await endTheseSessions(context, { database: context.tenant.database, roles: loginRoles(context.tenant) })
}

/** Of the tenant's database and roles those that are provably its own. */
export async function endTheseSessions(
  { admin, adminFacts, tenant }: TenantOnServer,
  whose: { database: string; roles: readonly string[] },
): Promise<void> {
  const { sessions, reason } = await endAllSessions(admin, adminFacts, whose)
  if (sessions.length === 0) return
  throw connectionsOpen(tenant, sessions, reason ?? 'they did not end in time; run the command again')
}

export async function openTenant(context: TenantOnServer): Promise<void> {
  await requirePresent(context)
  await setAccess(context, true)
}

/** Whether it is `open` (or shut) as a whole; shut also means that nobody is in. */
export async function hasAccess({ admin, tenant, marker }: TenantOnServer, open: boolean): Promise<boolean> {
  const database = await findDatabase(admin, tenant.database)
  if (database?.marker !== marker || database.allowConnections !== open) return false
  for (const name of loginRoles(tenant)) {
    const role = await findRole(admin, name)
    if (role?.marker !== marker || role.canLogin !== open) return false
  }
  return open || (await sessionsOf(admin, { database: tenant.database, roles: loginRoles(tenant) })).length === 0
}

/** Throws `TENANT_MISMATCH` unless database and roles are there and are the tenant's. */
export async function requirePresent({ admin, tenant, marker }: TenantOnServer): Promise<void> {
  const database = await findDatabase(admin, tenant.database)
  const wrong = database?.marker === marker && !database.invalid ? [] : [`database "${tenant.database}"`]
  for (const name of loginRoles(tenant)) {
    if ((await findRole(admin, name))?.marker !== marker) wrong.push(`role "${name}"`)
  }
  if (wrong.length === 0) return
  throw new TenancyError('TENANT_MISMATCH', `${wrong.join(', ')}: missing, or without the marker of "${tenant.slug}"`, {
    tenant: tenant.slug,
    hint: 'nothing was touched: the registry and the server disagree, see `tenantctl doctor`',
  })
}

async function setAccess({ admin, tenant }: TenantOnServer, allow: boolean): Promise<void> {
  // Roles first: a session of theirs in another database is ended as well, and must not come back.
  for (const name of loginRoles(tenant)) await setRoleLogin(admin, name, allow)
  await setAllowConnections(admin, tenant.database, allow)
}
