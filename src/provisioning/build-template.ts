import { isTenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import { migrateDatabase } from '../migrations/migrate.ts'
import { type Client, withAdmin, withClient } from '../postgres/connect.ts'
import {
  createClosedDatabase,
  dropDatabase,
  findDatabase,
  isUnpublished,
  publishDatabase,
  renameDatabase,
  revokeDatabase,
  setAllowConnections,
} from '../postgres/databases.ts'
import { countDependencies, hasMembers } from '../postgres/inventory.ts'
import { findNames, hashColumns, takeOver } from '../postgres/ownership.ts'
import {
  createRoles,
  dropRole,
  findRole,
  grantRole,
  retireRole,
  setRoleLogin,
  setRolePassword,
} from '../postgres/roles.ts'
import { createExtensions } from '../postgres/schema.ts'
import { scramVerifier } from '../postgres/scram.ts'
import { historySchema, roleNames, rolesOf } from '../registry/roles.ts'
import { generatePassword } from '../secrets/password.ts'
import type { Secret } from '../secrets/secret.ts'
import { seedDatabase } from '../seeds.ts'
import { admit, handOverSchema, type Place } from './handover.ts'
import { type TemplateContext, type TemplatePlan, templateMarker } from './template.ts'

type BuildContext = Omit<TemplateContext, 'seed'>

interface Build {
  context: BuildContext
  plan: TemplatePlan
  marker: string
  /** Known to this process alone, and forgotten with it. */
  password: Secret
}

/**
 * Builds a template as a tenant would be made: its role runs the migrations and seeds in a database of its own, under
 * the name of one that is not ready. What a crash leaves of that, the next builder removes. Then it is tried, shut for
 * everybody, the admin included, and renamed, which says that it is ready. The caller holds the template's lock.
 *
 * Returns why tenants must not be copied from it, or nothing when all is well. Throws when it cannot be built.
 */
export async function buildTemplate(context: BuildContext, plan: TemplatePlan): Promise<string | undefined> {
  const { admin, parts } = context
  const build = { context, plan, marker: templateMarker(parts.registryId), password: generatePassword() }
  notify(context.onEvent, { event: 'notice', message: `building the template ${plan.name}`, verbose: true })
  await removeRemains(admin, plan, build.marker)
  let refusal: string | undefined
  try {
    const template = place(plan, 'building')
    await makeRoles(build, template)
    const columns = await runPipeline(build, template)
    refusal = (await findTraces(build, template)) ?? (await tryTakeover(build, template))
    refusal ??= await findRandomValues(build, columns)
    if (refusal === undefined) await seal(build, template)
  } finally {
    const finished = refusal === undefined && (await findDatabase(admin, plan.name).catch(() => undefined))
    // What cannot be removed now is removed by the next builder.
    if (!finished) await removeRemains(admin, plan, build.marker).catch(() => undefined)
  }
  return refusal
}

/** Databases that bear the template's roles, and the roles of the one that tries to take over. */
function place(
  { name, roles }: Pick<TemplatePlan, 'name' | 'roles'>,
  purpose: 'building' | 'checking' | 'trial',
): Place {
  const database = name.replace('_template_', `_${purpose === 'trial' ? 'building' : purpose}_`)
  return { database, username: purpose === 'trial' ? name.replace('_template_', '_trial_') : name, roles }
}

async function makeRoles({ context: { admin, adminFacts }, marker, password }: Build, place: Place): Promise<void> {
  const { migrator } = rolesOf(place)
  for (const name of roleNames(place)) {
    const verifier = name === migrator ? await scramVerifier(password) : undefined
    if (await findRole(admin, name)) {
      if (!verifier) continue
      await setRolePassword(admin, adminFacts, name, verifier)
      await setRoleLogin(admin, name, true)
    } else await createRoles(admin, adminFacts, [{ name, verifier, marker, connectionLimit: -1 }])
  }
}

/** The steps of a tenant's creation, without a row of its own. Returns hashes of what the columns hold. */
async function runPipeline(build: Build, place: Place): Promise<Map<string, string>> {
  const { context, plan, marker } = build
  const { admin, adminFacts, parts, signal } = context
  const closed = closedName(place)
  await createClosedDatabase(admin, closed)
  await publishDatabase(admin, closed, { name: place.database, marker, connectionLimit: -1 })
  const address = { ...parts.servers.admin(context.tenant.server), database: place.database }
  await withAdmin(address, { signal, doing: `entering database "${place.database}"` }, async client => {
    if (plan.extensions.length > 0) await createExtensions(client, plan.extensions)
    await handOverSchema(client, adminFacts, place)
  })
  await admit(admin, adminFacts, place)
  return inside(build, place, async client => {
    const { statementTimeoutMs } = parts.config.migrations
    const options = { tenant: 'template', schema: historySchema(place), statementTimeoutMs, signal }
    await migrateDatabase(client, plan.migrations, { ...options, waitMs: 30_000 })
    await seedDatabase(client, plan.seeds, options)
    await client.query('RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL')
    return hashColumns(client, historySchema(place))
  })
}

/** On the login of the place's migrator, which acts as its owner. */
function inside<T>({ context, password }: Build, place: Place, work: (client: Client) => Promise<T>): Promise<T> {
  const { parts, tenant, signal } = context
  const { migrator } = rolesOf(place)
  const address = parts.servers.tenant({ ...place, server: tenant.server }, { username: migrator, password })
  const settings = { lock_timeout: parts.config.migrations.lockTimeoutMs }
  return withClient(address, { settings, signal, doing: `logging in as role "${migrator}"` }, work)
}

/** What took its role's or its database's name for its own would be wrong in every copy. */
async function findTraces(build: Build, template: Place): Promise<string | undefined> {
  const names = [template.database, ...roleNames(template)]
  const [trace] = await inside(build, template, client => findNames(client, names))
  return trace && `${trace} would name the template in every tenant; make it in a seed with "perTenant"`
}

/** Has roles like a tenant's take everything over, and takes that back: whatever cannot be moved shows here. */
async function tryTakeover(build: Build, template: Place): Promise<string | undefined> {
  const { admin, adminFacts, signal } = build.context
  const trial = place(build.plan, 'trial')
  const [from, to] = [rolesOf(template), rolesOf(trial)]
  await makeRoles(build, trial)
  await revokeDatabase(admin, template.database, roleNames(template))
  await admit(admin, adminFacts, trial)
  await grantRole(admin, adminFacts, from.owner, to.owner)
  try {
    await inside(build, trial, client => takeOver(client, from, to, { trial: true }))
    return undefined
  } catch (error) {
    // What the server says of a statement; not a connection that was lost.
    const final = ['ISOLATION_BROKEN', 'PRIVILEGES_INSUFFICIENT', 'QUERY_FAILED']
    if (signal?.aborted || !isTenancyError(error) || !final.includes(error.code)) throw error
    return error.message
  } finally {
    await revokeDatabase(admin, template.database, roleNames(trial))
    for (const name of roleNames(trial).reverse()) await dropRole(admin, name)
  }
}

/**
 * Makes the same once more, and looks for values that are not: a token or a key would be one and the same in all
 * tenants. Moments do not count. Where there are no rows at all, there is nothing to look for.
 */
async function findRandomValues(build: Build, before: ReadonlyMap<string, string>): Promise<string | undefined> {
  if (before.size === 0) return undefined
  const { admin } = build.context
  const checking = place(build.plan, 'checking')
  const after = await runPipeline(build, checking)
  await dropDatabase(admin, checking.database)
  const different = [...before].filter(([column, hash]) => after.get(column) !== hash).map(([column]) => column)
  if (different.length === 0) return undefined
  const more = different.length > 3 ? ` and ${different.length - 3} more` : ''
  return `${different.slice(0, 3).join(', ')}${more} would be the same in every tenant, though another run makes other values; put them into a seed that says "perTenant"`
}

/** From here on nobody enters it, and its roles are names on what it holds. The new name says that it is ready. */
async function seal({ context: { admin }, plan }: Build, template: Place): Promise<void> {
  const { owner, migrator, app } = rolesOf(template)
  await revokeDatabase(admin, template.database, roleNames(template))
  await setAllowConnections(admin, template.database, false)
  for (const name of roleNames(template)) await retireRole(admin, name)
  if (migrator !== owner && migrator !== app) await dropRole(admin, migrator)
  await renameDatabase(admin, template.database, plan.name)
}

/** Of a builder that died, or found out that it must not go on. The caller holds the template's lock. */
export async function removeRemains(
  admin: Client,
  plan: Pick<TemplatePlan, 'name' | 'roles'>,
  marker: string,
): Promise<void> {
  const places = (['building', 'checking', 'trial'] as const).map(purpose => place(plan, purpose))
  for (const each of places) {
    for (const name of [each.database, closedName(each)]) {
      const database = await findDatabase(admin, name)
      if (database && (database.marker === marker || isUnpublished(database))) await dropDatabase(admin, name)
    }
  }
  // Members first.
  for (const name of new Set(places.toReversed().flatMap(each => roleNames(each).reverse()))) {
    const role = await findRole(admin, name)
    if (role?.marker !== marker) continue
    // A copy that is just being taken over may still belong to it, and its tenant be a member.
    const wanted = (await countDependencies(admin, name)) > 0 || (await hasMembers(admin, name))
    if (!wanted) await dropRole(admin, name)
  }
}

function closedName({ database }: Place): string {
  return database.replace('tenantctl_', 'tenantctl_closed_')
}
