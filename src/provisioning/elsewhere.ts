import { isTenancyError, TenancyError, throwIfAborted } from '../errors.ts'
import { type Client, withAdmin } from '../postgres/connect.ts'
import { findDatabase } from '../postgres/databases.ts'
import { listDependencies, type RoleDependency, revokeEverything, revokeGrants } from '../postgres/dependencies.ts'
import { quoteIdentifier } from '../postgres/identifiers.ts'
import { query } from '../postgres/query.ts'
import { ensureMembership, findRole } from '../postgres/roles.ts'
import { roleNames } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { insideAsTenant } from './as-tenant.ts'
import type { Place } from './handover.ts'
import { readMarker, type TenantMarker } from './marker.ts'
import type { TenantOnServer } from './step.ts'

/*
 * A tenant's role beyond the tenant's database. Where PUBLIC may connect to another one, such as `postgres`, it can
 * leave large objects there, before PostgreSQL 15 tables too; and somebody may have granted it something.
 */

const listed = 10

/** A tenant, or one in stock. */
type Subject = Pick<TenantOnServer, 'parts' | 'admin' | 'adminFacts' | 'marker'> & {
  tenant: Place & Pick<Tenant, 'slug' | 'server'>
  signal?: AbortSignal | undefined
}

/**
 * Throws `OBJECTS_ELSEWHERE` when a role could not be dropped, before anything is: it owns something, which is not ours
 * to drop, or was granted something by somebody whose grants a plain admin cannot take back. `forGood` false: the roles
 * stay for now, and what they were granted may come of use again.
 */
export async function refuseElsewhere(context: Subject, { forGood }: { forGood: boolean }): Promise<void> {
  for (const role of await rolesThere(context)) {
    const dependencies = await refuseOwner(context, role)
    if (forGood && dependencies.length > 0) await release(context, role, dependencies, { rehearsal: true })
  }
}

/** Takes back what the tenant's roles were granted elsewhere: nothing is lost with that. */
export async function releaseRoles(context: Subject): Promise<void> {
  for (const role of await rolesThere(context)) {
    const dependencies = await refuseOwner(context, role)
    if (dependencies.length > 0) await release(context, role, dependencies, { rehearsal: false })
  }
}

async function rolesThere({ admin, tenant, marker }: Subject): Promise<string[]> {
  const names: string[] = []
  for (const name of roleNames(tenant)) if ((await findRole(admin, name))?.marker === marker) names.push(name)
  return names
}

async function refuseOwner({ admin, tenant }: Subject, role: string): Promise<RoleDependency[]> {
  const dependencies = await listDependencies(admin, role, tenant.database)
  const owned = dependencies.filter(each => each.owned)
  if (owned.length > 0) throw ownsElsewhere(tenant, role, owned)
  return dependencies
}

async function release(
  context: Subject,
  role: string,
  dependencies: readonly RoleDependency[],
  options: { rehearsal: boolean },
): Promise<void> {
  const { parts, tenant, admin, adminFacts } = context
  const address = parts.servers.admin(tenant.server)
  const databases = new Set(dependencies.map(each => each.database ?? address.database))
  for (const database of databases) {
    const undo = async (client: Client, revoke: (client: Client, role: string) => Promise<void>) => {
      await query(client, `revoking the rights of role "${role}"`, 'BEGIN')
      await revoke(client, role)
      // What somebody else granted is left as it is, without so much as an error.
      const all = await listDependencies(client, role, tenant.database)
      const left = all.filter(
        each => each.database === database || (each.database === null && database === address.database),
      )
      if (left.length > 0) throw grantedElsewhere(tenant, role, left)
      await query(client, `revoking the rights of role "${role}"`, options.rehearsal ? 'ROLLBACK' : 'COMMIT')
    }
    const owner = readMarker((await findDatabase(admin, database))?.marker ?? null)
    if (owner) {
      await insideGrantor(context, role, { database, owner, dependencies }, client => undo(client, revokeGrants))
      continue
    }
    const doing = `entering database "${database}", in which role "${role}" was granted something`
    await withAdmin({ ...address, database }, { doing }, async client => {
      await ensureMembership(client, adminFacts, role)
      await undo(client, revokeEverything)
    })
  }
}

/** In another tenant's database, its own login takes back what it has granted: the admin does not enter there. */
async function insideGrantor(
  { parts, tenant, signal }: Subject,
  role: string,
  { database, owner, dependencies }: { database: string; owner: TenantMarker; dependencies: readonly RoleDependency[] },
  work: (client: Client) => Promise<void>,
): Promise<void> {
  const grantor = owner.registryId === parts.registryId ? await parts.registry.find(owner.tenantId) : undefined
  try {
    if (grantor?.database !== database) throw new Error('it is not known whose database that is')
    await insideAsTenant({ parts, tenant: grantor, signal }, work)
  } catch (error) {
    throwIfAborted(signal)
    if (isTenancyError(error) && error.code === 'OBJECTS_ELSEWHERE') throw error
    const there = dependencies.filter(each => each.database === database)
    throw grantedElsewhere(tenant, role, there).with({ cause: error })
  }
}

function ownsElsewhere(tenant: Subject['tenant'], role: string, owned: readonly RoleDependency[]): TenancyError {
  const where = [...new Set(owned.flatMap(({ database }) => (database === null ? [] : [`"${database}"`])))]
  return new TenancyError('OBJECTS_ELSEWHERE', `role "${role}" owns ${describe(owned)}`, {
    tenant: tenant.slug,
    hint: `look at what that is, then in ${where.join(', ') || 'any database'}: DROP OWNED BY ${quoteIdentifier(role)};`,
  })
}

function grantedElsewhere(tenant: Subject['tenant'], role: string, left: readonly RoleDependency[]): TenancyError {
  return new TenancyError('OBJECTS_ELSEWHERE', `role "${role}" has rights on ${describe(left)}`, {
    tenant: tenant.slug,
    hint: `the admin has not granted them: let their owner revoke them there, or a superuser: DROP OWNED BY ${quoteIdentifier(role)};`,
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
