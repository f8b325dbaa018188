import { createHash } from 'node:crypto'
import { maxIdentifierBytes } from '../postgres/identifiers.ts'
import type { Tenant } from './tenant.ts'

/** `single`: one role that owns schema public. `separate`: an owner, a migrator and an application role. */
export type RoleModel = 'single' | 'separate'

/** The roles of a tenant by what they do; with `single` all three are the same. */
interface TenantRoles {
  /** Owns schema public and what is in it. With `separate` it cannot log in. */
  owner: string
  /** Logs in for migrations and seeds, and acts as the owner. */
  migrator: string
  /** The application's login. */
  app: string
}

export function rolesOf({ username, roles }: Pick<Tenant, 'username' | 'roles'>): TenantRoles {
  if (roles === 'single') return { owner: username, migrator: username, app: username }
  return { owner: companion(username, '_owner'), migrator: companion(username, '_migrator'), app: username }
}

/** Names of all roles of a tenant, those first that others depend on. */
export function roleNames(tenant: Pick<Tenant, 'username' | 'roles'>): string[] {
  const { owner, migrator, app } = rolesOf(tenant)
  return [...new Set([owner, migrator, app])]
}

/** Names of the roles that log in. */
export function loginRoles(tenant: Pick<Tenant, 'username' | 'roles'>): string[] {
  const { migrator, app } = rolesOf(tenant)
  return [...new Set([migrator, app])]
}

/** Schema of knex's tables: with `separate` one that the application's role cannot enter. */
export function historySchema({ roles }: Pick<Tenant, 'roles'>): string {
  return roles === 'single' ? 'public' : 'tenantctl_migrations'
}

/** Cut with a hash where it would be longer than PostgreSQL keeps. */
function companion(name: string, suffix: string): string {
  if (Buffer.byteLength(name + suffix) <= maxIdentifierBytes) return name + suffix
  const hash = `_${createHash('sha256').update(name).digest('hex').slice(0, 8)}`
  let cut = name
  while (Buffer.byteLength(cut + hash + suffix) > maxIdentifierBytes) cut = Array.from(cut).slice(0, -1).join('')
  return cut + hash + suffix
}
