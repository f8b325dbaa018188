import { TenancyError } from '../errors.ts'
import { withAdmin } from '../postgres/connect.ts'
import { listDependencies, type RoleDependency, revokeEverything } from '../postgres/dependencies.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import { findRole } from '../postgres/roles.ts'
import { roleNames } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { TenantOnServer } from './step.ts'

/*
 * A tenant's role beyond the tenant's database. Where PUBLIC may connect to another one, such as `postgres`, it can
 * leave large objects there, before PostgreSQL 15 tables too; and somebody may have granted it something.
 */

const listed = 10

/**
 * Throws `OBJECTS_ELSEWHERE` when a role could not be dropped, before anything is: it owns something, which is not ours
 * to drop, or was granted something by somebody whose grants a plain admin cannot take back. `forGood` false: the roles
 * stay for now, and what they were granted may come of use again.
 */
export async function refuseElsewhere(context: TenantOnServer, { forGood }: { forGood: boolean }): Promise<void> {
  for (const role of await rolesThere(context)) {
    const dependencies = await refuseOwner(context, role)
    if (forGood && dependencies.length > 0) await release(context, role, dependencies, { rehearsal: true })
  }
}

/** Takes back what the tenant's roles were granted elsewhere: nothing is lost with that. */
export async function releaseRoles(context: TenantOnServer): Promise<void> {
  for (const role of await rolesThere(context)) {
    const dependencies = await refuseOwner(context, role)
    if (dependencies.length > 0) await release(context, role, dependencies, { rehearsal: false })
  }
}

async function rolesThere({ admin, tenant, marker }: TenantOnServer): Promise<string[]> {
  const names: string[] = []
  for (const name of roleNames(tenant)) if ((await findRole(admin, name))?.marker === marker) names.push(name)
  return names
}

async function refuseOwner({ admin, tenant }: TenantOnServer, role: string): Promise<RoleDependency[]> {
  const dependencies = await listDependencies(admin, role, tenant.database)
  const owned = dependencies.filter(each => each.owned)
  if (owned.length > 0) throw ownsElsewhere(tenant, role, owned)
  return dependencies
}

async function release(
  { parts, tenant }: TenantOnServer,
  role: string,
  dependencies: readonly RoleDependency[],
  options: { rehearsal: boolean },
): Promise<void> {
  const address = parts.servers.admin(tenant.server)
  const databases = new Set(dependencies.map(each => each.database ?? address.database))
  for (const database of databases) {
    const doing = `entering database "${database}", in which role "${role}" was granted something`
    await withAdmin({ ...address, database }, { doing }, async client => {
      await client.query('BEGIN')
      await revokeEverything(client, role)
      // What somebody else granted is left as it is, without so much as an error.
      const all = await listDependencies(client, role, tenant.database)
      const left = all.filter(each => each.database === null || each.database === database)
      if (left.length > 0) throw grantedElsewhere(tenant, role, left)
      await client.query(options.rehearsal ? 'ROLLBACK' : 'COMMIT')
    })
  }
}

function ownsElsewhere(tenant: Tenant, role: string, owned: readonly RoleDependency[]): TenancyError {
  const where = [...new Set(owned.flatMap(({ database }) => (database === null ? [] : [`"${database}"`])))]
  return new TenancyError('OBJECTS_ELSEWHERE', `role "${role}" owns ${describe(owned)}`, {
    tenant: tenant.slug,
    hint: `look at what that is, then in ${where.join(', ') || 'any database'}: DROP OWNED BY ${quoteIdentifier(role)};`,
  })
}

function grantedElsewhere(tenant: Tenant, role: string, left: readonly RoleDependency[]): TenancyError {
  return new TenancyError('OBJECTS_ELSEWHERE', `role "${role}" has rights on ${describe(left)}`, {
    tenant: tenant.slug,
    hint: `the admin has not granted them: let their owner, or a superuser, revoke them there: DROP OWNED BY ${quoteIdentifier(role)};`,
  })
}

function describe(dependencies: readonly RoleDependency[]): string {
  const databases = [...new Set(dependencies.map(each => each.database))]
  const places = databases.map(database => {
    const objects = dependencies.filter(each => each.database === database).map(each => each.object)
    const more = objects.length > listed ? ` and ${objects.length - listed} more` : ''
    const place = database === null ? '' : ` in database "${database}"`
    return `${objects.slice(0, listed).join(', ')}${more}${place}`
  })
  return places.join('; ')
}
