import { TenancyError } from '../errors.ts'
import { bindKnex } from '../migrations/knex-binding.ts'
import { migrateDatabase, withDatabaseLock } from '../migrations/migrate.ts'
import { versionOf } from '../migrations/version.ts'
import { type Client, withAdmin } from '../postgres/connect.ts'
import { dropDatabase, findDatabase, publishDatabase, setAllowConnections } from '../postgres/databases.ts'
import { createRole, dropRole, findRole, setRoleLogin } from '../postgres/roles.ts'
import { createExtensions, hasExtensions } from '../postgres/schema.ts'
import { scramVerifier } from '../postgres/scram.ts'
import { overrule, sessionsOf } from '../postgres/sessions.ts'
import { historySchema, loginRoles, roleNames, rolesOf } from '../registry/roles.ts'
import { seedDatabase, wasCommitted } from '../seeds.ts'
import { endTheseSessions } from './access.ts'
import { insideAsTenant } from './as-tenant.ts'
import { connectionsOpen } from './conflicts.ts'
import { createFromTemplate, isAtHead, isTakenOver, originOf, takeOverCopy } from './copy.ts'
import { releaseRoles } from './elsewhere.ts'
import { admit, handOverSchema } from './handover.ts'
import { askHook } from './hooks.ts'
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
  async isDone({ admin, tenant, marker }) {
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
  async apply({ admin, adminFacts, tenant, marker, parts }) {
    const { connectionLimit } = parts.config.database
    const roles = rolesOf(tenant)
    for (const name of roleNames(tenant)) {
      const login = name === roles.app ? 'app' : name === roles.migrator ? 'migrator' : undefined
      if (await findRole(admin, name)) {
        if (login) await setRoleLogin(admin, name, true)
        continue
      }
      const verifier = login && (await scramVerifier((await parts.registry.credentials(tenant, login)).password))
      await createRole(admin, adminFacts, { name, verifier, marker, connectionLimit })
    }
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
  async isDone({ admin, tenant, marker }) {
    const database = await findDatabase(admin, tenant.database)
    if (database && database.marker !== marker) throw databaseExists(tenant.database, database.owner)
    return database?.invalid === false && database.allowConnections
  },
  async apply(context) {
    const { admin, tenant, marker } = context
    const existing = await findDatabase(admin, tenant.database)
    if (existing?.invalid) await dropDatabase(admin, tenant.database)
    else if (existing) return setAllowConnections(admin, tenant.database, true)
    // A name that nobody can guess: what a crash leaves behind under it is ours.
    const temporary = temporaryName(tenant.id)
    const leftover = await findDatabase(admin, temporary)
    if (leftover?.invalid) await dropDatabase(admin, temporary)
    if (!leftover || leftover.invalid) await createFromTemplate(context, temporary)
    await publishDatabase(admin, temporary, { name: tenant.database, marker, connectionLimit: -1 })
  },
  async undo({ admin, tenant, marker }) {
    if (await findDatabase(admin, temporaryName(tenant.id))) await dropDatabase(admin, temporaryName(tenant.id))
    const database = await findDatabase(admin, tenant.database)
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
  isDone: mayConnect,
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
    return !origin || isTakenOver(context, origin)
  },
  async apply(context) {
    const origin = await originOf(context)
    if (origin) await takeOverCopy(context, origin, work => insideAsTenant(context, work))
  },
  undo: async () => undefined,
}

/** As the tenant, over its own login: proves at the same time that it can log in. */
const migrate: ProvisioningStep = {
  name: 'migrate',
  isDone: async () => false,
  async apply(context) {
    const { parts, tenant, signal, onEvent } = context
    const migrations = await parts.migrations()
    if (await isAtHead(context)) {
      const applied = migrations.map(each => each.name)
      await parts.registry.setSchemaVersion(tenant.id, versionOf(applied), undefined)
      return parts.checksums.record(migrations)
    }
    await insideAsTenant(context, async client => {
      const { statementTimeoutMs } = parts.config.migrations
      const result = await migrateDatabase(client, migrations, {
        tenant: tenant.slug,
        schema: historySchema(tenant),
        statementTimeoutMs,
        waitMs: 30_000,
        signal,
        onEvent,
      })
      await parts.registry.setSchemaVersion(tenant.id, versionOf(result.applied), undefined)
      await parts.checksums.record(migrations.filter(each => result.applied.includes(each.name)))
    })
  },
  undo: async () => undefined,
}

/**
 * Seeds run once each, also when a crash comes between a seed's COMMIT and our learning of it: its transaction id is
 * in the journal before it commits, and the server is asked what became of it.
 */
const seed: ProvisioningStep = {
  name: 'seed',
  isDone: async ({ seed: wanted }) => !wanted,
  async apply(context) {
    const { parts, tenant, operationId, position, signal, onEvent } = context
    const copied = (await originOf(context))?.seeds ?? []
    const seeds = (await parts.seeds()).filter(each => !copied.includes(each.name))
    if (seeds.length === 0) return
    const begun = await parts.journal.notesOf(tenant.id, 'seed')
    await insideAsTenant(context, client =>
      withDatabaseLock(client, { tenant: tenant.slug, waitMs: 30_000, signal, onEvent }, async () => {
        const done = new Set<string>()
        for (const [name, id] of Object.entries(begun)) {
          if ((await wasCommitted(client, String(id))) !== false) done.add(name)
        }
        await seedDatabase(
          client,
          seeds.filter(each => !done.has(each.name)),
          {
            tenant: tenant.slug,
            statementTimeoutMs: parts.config.migrations.statementTimeoutMs,
            beforeCommit: ({ name }, id) => parts.journal.noteOnStep(operationId, position, { [name]: id }),
            signal,
            onEvent,
          },
        )
      }),
    )
  },
  undo: async () => undefined,
}

/** Its database is complete, and nobody is served from it yet. */
const afterCreate: ProvisioningStep = {
  name: 'afterCreate',
  isDone: async ({ parts }) => parts.config.hooks.afterCreate === undefined,
  async apply(context) {
    const { parts, tenant } = context
    const tenantNow = await parts.registry.get(tenant.id)
    await insideAsTenant(context, async client => {
      const knex = await bindKnex(client)
      await askHook('afterCreate', tenant.slug, () => parts.config.hooks.afterCreate?.(tenantNow, knex))
    })
  },
  undo: async () => undefined,
}

export const activate: ProvisioningStep = {
  name: 'activate',
  isDone: async () => false,
  apply: ({ parts, tenant, operationId }) => parts.registry.settle(tenant.id, 'active', operationId),
  undo: ({ parts, tenant }) => parts.registry.beginDrop(tenant.id),
}

/** What goes into a tenant's database once it is its own. */
export const contentSteps: readonly ProvisioningStep[] = [migrate, seed, afterCreate]

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
