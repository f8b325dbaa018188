import { dumpDatabase } from '../dumps/dump.ts'
import { type DumpFacts, writeDump } from '../dumps/dump-file.ts'
import type { ClientTools } from '../dumps/tools.ts'
import { isTenancyError, TenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { bookkeepingTimeoutMs } from '../migrations/migrate.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { withClient } from '../postgres/connect.ts'
import { extensionNames } from '../postgres/contents.ts'
import { findDatabase, setAllowConnections } from '../postgres/databases.ts'
import { createDumpRole, dropDumpRole } from '../postgres/dump-role.ts'
import { scramVerifier } from '../postgres/scram.ts'
import { sessionsOf } from '../postgres/sessions.ts'
import { historySchema, rolesOf } from '../registry/roles.ts'
import { generatePassword } from '../secrets/password.ts'
import { closeTenant, openTenant } from './access.ts'
import type { ProvisioningStep, StepContext } from './step.ts'

/** Where and with what the backups of a server's tenants are written. */
export interface BackupTarget {
  /** Absolute; it is there and can be written to. */
  directory: string
  tools: ClientTools
  /** Runs so many dumps of the server at a time as it bears. */
  inTurn<T>(work: () => Promise<T>): Promise<T>
}

/**
 * Writes a verified dump of everything that is in a tenant's database, as the first step of its drop. The tenant is
 * suspended before: what it wrote until then is in the dump, and it can write nothing after. The dump runs on a login
 * of its own which has the tenant's rights, never on the admin's: functions that a tenant has planted may be called.
 *
 * Dying in here leaves a suspended tenant with all of its data, and at most a `.partial` file: `resume`, `repair` or
 * another `drop` mends it. A failure lets the tenant in again.
 */
export function backupStep(target: BackupTarget, onWritten: (path: string) => void): ProvisioningStep {
  return {
    name: 'backup',
    isDone: async context => {
      if (await holdsData(context)) return false
      const message = 'its database is not there, or nothing was ever written to it: no backup'
      notify(context.onEvent, { event: 'notice', tenant: context.tenant.slug, message })
      return true
    },
    apply: context => target.inTurn(async () => onWritten(await backUp(context, target))),
    undo: async () => undefined,
  }
}

/** Also what a crash left of an earlier backup: nobody else knows of that role. */
export async function removeDumpRole({
  admin,
  tenant,
  marker,
}: Pick<StepContext, 'admin' | 'tenant' | 'marker'>): Promise<void> {
  await dropDumpRole(admin, { name: dumpRoleName(tenant.id), marker, database: tenant.database })
}

async function backUp(context: StepContext, target: BackupTarget): Promise<string> {
  const { parts, tenant, force } = context
  const { status } = tenant
  try {
    if (status === 'active') await parts.registry.setStatus(tenant.id, 'suspended')
    await closeTenant(context, { endSessions: force })
    const path = await dumpClosed(context, target)
    // Written down before the status changes: a drop that has begun, and whose backup does not count as done, is not
    // finished by anybody.
    await parts.journal.record(context.operationId, [{ position: context.position, name: 'backup', status: 'done' }])
    // From here on there is no way back, and that it was active before is kept in mind.
    await parts.registry.beginDrop(tenant.id, status)
    return path
  } catch (error) {
    if (status === 'active') await letIn(context, error)
    throw error
  }
}

/** As if nothing had been begun; where the server is gone as well, the tenant stays suspended, and it is said how to go on. */
async function letIn(context: StepContext, error: unknown): Promise<void> {
  const { parts, tenant } = context
  try {
    await openTenant(context)
    await parts.registry.setStatus(tenant.id, 'active')
  } catch {
    const hint = `the tenant is still suspended: \`tenantctl resume ${tenant.slug}\` lets it in again`
    throw isTenancyError(error) ? error.with({ hint }) : error
  }
}

/** With the tenant's roles shut out, the database takes connections again, of which only ours can come. */
async function dumpClosed(context: StepContext, target: BackupTarget): Promise<string> {
  const { admin, adminFacts, tenant, marker, parts, signal } = context
  const name = dumpRoleName(tenant.id)
  const password = generatePassword()
  const verifier = await scramVerifier(password)
  const { owner } = rolesOf(tenant)
  const { database } = tenant
  await createDumpRole(admin, adminFacts, { name, verifier, marker, owner, database })
  try {
    await setAllowConnections(admin, database, true)
    const address = parts.servers.tenant(tenant, { username: name, password })
    const path = await writeDump({ ...target, slug: tenant.slug, signal }, async descriptor => {
      const facts = await describe(context, address, target.tools)
      await dumpDatabase(target.tools, address, { role: owner, descriptor, signal })
      return facts
    })
    await refuseVisitors(context, path)
    return path
  } finally {
    await setAllowConnections(admin, database, false)
    await removeDumpRole(context)
  }
}

/** Asked on the same login, before the dump: nothing changes any more. */
async function describe(context: StepContext, address: ServerAddress, tools: ClientTools): Promise<DumpFacts> {
  const { tenant, adminFacts, signal } = context
  const { id, slug, name, labels, server, database, username, roles, schemaVersion, createdAt } = tenant
  const doing = `logging in to database "${database}" for a backup`
  const settings = { statement_timeout: bookkeepingTimeoutMs, lock_timeout: bookkeepingTimeoutMs }
  return withClient(address, { settings, signal, doing }, async client => ({
    tenant: { id, slug, name, labels, server, database, username, roles, schemaVersion, createdAt },
    migrations: (await new MigrationHistory(client, historySchema(tenant)).read()).map(each => each.name),
    extensions: await extensionNames(client),
    serverVersion: adminFacts.version,
    toolVersion: tools.version,
  }))
}

/** Only an administrator can have come in; what he wrote would be lost. */
async function refuseVisitors({ admin, tenant }: StepContext, path: string): Promise<void> {
  const ours = dumpRoleName(tenant.id)
  const visitors = (await sessionsOf(admin, { database: tenant.database })).filter(session => session.user !== ours)
  if (visitors.length === 0) return
  throw new TenancyError(
    'CONNECTIONS_OPEN',
    `role "${visitors[0]?.user}" logged in to database "${tenant.database}" while its backup was being written`,
    { tenant: tenant.slug, hint: `the tenant was not dropped; ${path} may lack what that session wrote` },
  )
}

/** A tenant that was never let in has written nothing; of one whose removal has begun nothing can be read. */
async function holdsData({ admin, tenant, marker }: StepContext): Promise<boolean> {
  const database = await findDatabase(admin, tenant.database)
  if (!database || database.marker !== marker || database.invalid) return false
  return database.privileges[tenant.username]?.includes('CONNECT') ?? false
}

/** Of the login that a backup is written with. */
export function dumpRoleName(tenantId: string): string {
  return `tenantctl_dump_${tenantId.replaceAll('-', '')}`
}
