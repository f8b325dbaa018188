import { TenancyError } from '../errors.ts'
import { type Client, withAdmin } from '../postgres/connect.ts'
import {
  type Database,
  dropDatabase,
  findDatabase,
  findDatabases,
  isUnpublished,
  publishDatabase,
  setAllowConnections,
} from '../postgres/databases.ts'
import { createRoles, dropRole, findRole, type NewRole, setRoleLogin } from '../postgres/roles.ts'
import { createExtensions, hasExtensions } from '../postgres/schema.ts'
import { overrule, sessionsOf } from '../postgres/sessions.ts'
import { loginRoles, roleNames, rolesOf } from '../registry/roles.ts'
import { endTheseSessions } from './access.ts'
import { verifierOf, visitAsTenant } from './as-tenant.ts'
import { connectionsOpen } from './conflicts.ts'
import { contentSteps } from './content-steps.ts'
import { chooseOrigin, createFromOrigin, isTakenOver, originOf, publishCopy, takeOverCopy } from './copy.ts'
import { releaseRoles } from './elsewhere.ts'
import { admit, handOverSchema } from './handover.ts'
import { removeTaken } from './ready.ts'
import type { ProvisioningStep, StepContext } from './step.ts'

/** The row and its password were committed together with the operation, before any step could run. */
const reserve: ProvisioningStep = {
  name: 'reserve',
  isDone: async () => true,
  apply: async () => undefined,
  async undo(context) {
    await removeTaken(context)
    await context.parts.registry.remove(context.tenant.id, context.operationId)
  },
}

const createTenantRole: ProvisioningStep = {
  name: 'createRole',
  async isDone({ fresh, admin, tenant, marker }) {
    if (fresh) return false
    const logins = loginRoles(tenant)
    let complete = true
    for (const name of roleNames(tenant)) {
      const role = await findRole(admin, name)
      if (role && role.marker !== marker) throw roleExists(name)
      // A drop that was cut off, or gave up, has taken the right to log in.
      complete &&= role !== undefined && role.canLogin === logins.includes(name)
    }
    return complete
  },
  async apply(context) {
    const { admin, adminFacts, tenant, marker, parts } = context
    const { connectionLimit } = parts.config.database
    const roles = rolesOf(tenant)
    const missing: NewRole[] = []
    for (const name of roleNames(tenant)) {
      const login = name === roles.app ? 'app' : name === roles.migrator ? 'migrator' : undefined
      if (!context.fresh && (await findRole(admin, name))) {
        if (login) await setRoleLogin(admin, name, true)
        continue
      }
      missing.push({ name, verifier: login && (await verifierOf(context, login)), marker, connectionLimit })
    }
    if (missing.length > 0) await createRoles(admin, adminFacts, missing)
  },
  async undo(context) {
    const { admin, tenant, marker } = context
    await releaseRoles(context)
    // Members first: the owner has them.
    for (const name of roleNames(tenant).reverse()) {
      const role = await findRole(admin, name)
      if (role?.marker === marker) await dropRole(admin, name)
    }
  },
}

const createTenantDatabase: ProvisioningStep = {
  name: 'createDatabase',
  async isDone({ fresh, admin, tenant, marker }) {
    if (fresh) return false
    const database = await findDatabase(admin, tenant.database)
    if (database) refuseForeign(database, { name: tenant.database, marker })
    return database?.invalid === false && database.allowConnections
  },
  async plan(context) {
    const { admin, adminFacts, tenant, marker } = context
    const name = tenant.database
    const temporary = temporaryName(tenant.id)
    const [existing, leftover] = context.fresh ? [] : await findDatabases(admin, [name, temporary])
    if (existing?.invalid === false) {
      return { note: undefined, apply: () => setAllowConnections(admin, name, true) }
    }
    if (leftover && !isUnpublished(leftover)) throw databaseExists(temporary, leftover.owner)
    const make = leftover?.invalid !== false
    return {
      note: make ? await chooseOrigin(context) : undefined,
      async apply() {
        if (existing) await dropDatabase(admin, name)
        if (leftover?.invalid) await dropDatabase(admin, temporary)
        if (make) await createFromOrigin(context, temporary)
        const origin = await originOf(context)
        if (origin) {
          await publishCopy(admin, adminFacts, temporary, { place: tenant, marker, origin })
          context.isNewCopy = make
        } else await publishDatabase(admin, temporary, { name, marker, connectionLimit: -1 })
      },
    }
  },
  async undo({ admin, tenant, marker }) {
    const temporary = temporaryName(tenant.id)
    const [database, leftover] = await findDatabases(admin, [tenant.database, temporary])
    if (leftover && isUnpublished(leftover)) await dropDatabase(admin, temporary)
    if (database?.marker === marker) await dropDatabase(admin, tenant.database)
  },
}

/** Before the tenant may log in: afterwards the admin does not enter its database any more. */
const installExtensions: ProvisioningStep = {
  name: 'installExtensions',
  async isDone(context) {
    const { extensions } = context.parts.config.database
    if (extensions.length === 0 || (await originOf(context)) || (await mayConnect(context))) return true
    return insideAsAdmin(context, client => hasExtensions(client, extensions))
  },
  async apply(context) {
    await insideAsAdmin(context, client => createExtensions(client, context.parts.config.database.extensions))
  },
  undo: async () => undefined,
}

/** Hands schema public over and lets the tenant in. */
const grantAccess: ProvisioningStep = {
  name: 'grantAccess',
  isDone: async context => context.isNewCopy || mayConnect(context),
  async apply(context) {
    const { admin, adminFacts, tenant } = context
    // In a copy of a template, other people's code is there already: the tenant itself takes over.
    if (!(await originOf(context))) await insideAsAdmin(context, client => handOverSchema(client, adminFacts, tenant))
    await admit(admin, adminFacts, tenant)
  },
  /** Nobody comes in any more, and who is in goes. Without `force` that is taken back when somebody is in. */
  async undo(context) {
    const { admin, adminFacts, tenant, marker, force } = context
    const database = await findDatabase(admin, tenant.database)
    const isOurs = database?.marker === marker && !database.invalid
    const roles: string[] = []
    for (const name of loginRoles(tenant)) if ((await findRole(admin, name))?.marker === marker) roles.push(name)
    // A role that is dropped leaves its sessions in other databases behind.
    const whose = { database: isOurs ? tenant.database : '', roles }
    const refuseVisitors = async () => {
      const sessions = await sessionsOf(admin, whose)
      if (sessions.length > 0 && !force) throw connectionsOpen(tenant, sessions)
    }
    // Whoever is in may hold the very rows that are to be changed.
    await refuseVisitors()
    if (isOurs) {
      await overrule(admin, adminFacts, roles, () => setAllowConnections(admin, tenant.database, false))
      await refuseVisitors().catch(async error => {
        await setAllowConnections(admin, tenant.database, true)
        throw error
      })
    }
    await overrule(admin, adminFacts, roles, async () => {
      for (const name of roles) await setRoleLogin(admin, name, false)
    })
    await endTheseSessions(context, whose)
  },
}

/** A copy of a template belongs to the template's roles: on its own login the tenant makes all of it its own. */
const takeOwnership: ProvisioningStep = {
  name: 'takeOwnership',
  async isDone(context) {
    const origin = await originOf(context)
    return !origin || (!context.isNewCopy && (await isTakenOver(context, origin)))
  },
  async applyOnce(context, begun) {
    const { isNewCopy } = context
    const origin = await originOf(context)
    if (origin) await takeOverCopy(context, origin, { isNewCopy, begun, inside: work => visitAsTenant(context, work) })
  },
  undo: async () => undefined,
}

export const activate: ProvisioningStep = {
  name: 'activate',
  isDone: async () => false,
  records: true,
  async apply(context) {
    const { parts, tenant, operationId, log, position, applied } = context
    context.tenant = await log.writeWith(position, 'activate', steps =>
      parts.registry.settle(tenant, 'active', operationId, { steps, applied }),
    )
  },
  undo: ({ parts, tenant }) => parts.registry.beginDrop(tenant.id),
}

/** A tenant with an empty database, from top to bottom. */
export const emptyTenantSteps: readonly ProvisioningStep[] = [
  reserve,
  createTenantRole,
  createTenantDatabase,
  installExtensions,
  grantAccess,
]

/** A new tenant, from top to bottom; a drop undoes the same list from bottom to top. */
export const provisioningSteps: readonly ProvisioningStep[] = [
  ...emptyTenantSteps,
  takeOwnership,
  ...contentSteps,
  activate,
]

/**
 * What a tenant is to live in must bear its marker, and be the admin's: ids are public, and whoever may create databases
 * can write the same on his own. Throws `DATABASE_EXISTS`.
 */
export function refuseForeign(database: Database, wanted: { name: string; marker: string }): void {
  if (database.marker !== wanted.marker || !database.ownerIsAdmin) throw databaseExists(wanted.name, database.owner)
}

export function databaseExists(name: string, owner: string): TenancyError {
  return new TenancyError(
    'DATABASE_EXISTS',
    `database "${name}" exists, belongs to "${owner}" and is not this tenant's`,
    {
      hint: 'choose another name with --database, or rename that database',
    },
  )
}

export function roleExists(name: string): TenancyError {
  return new TenancyError('ROLE_EXISTS', `role "${name}" exists and is not this tenant's`, {
    hint: 'choose another name with --database, or rename that role',
  })
}

/** A database's name until it is restricted. */
export function temporaryName(tenantId: string): string {
  return `tenantctl_new_${tenantId.replaceAll('-', '')}`
}

async function mayConnect({ admin, tenant }: StepContext): Promise<boolean> {
  const database = await findDatabase(admin, tenant.database)
  return database?.privileges[tenant.username]?.includes('CONNECT') ?? false
}

/** Only while the tenant has never been able to log in. */
function insideAsAdmin<T>(context: StepContext, work: (client: Client) => Promise<T>): Promise<T> {
  const { parts, tenant, signal } = context
  const address = { ...parts.servers.admin(tenant.server), database: tenant.database }
  return withAdmin(address, { signal, doing: `entering database "${tenant.database}"` }, work)
}
