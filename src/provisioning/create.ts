import { v4 as uuid } from 'uuid'
import { isTenancyError, TenancyError } from '../errors.ts'
import type { Listener } from '../events.ts'
import {
  checkDatabaseName,
  checkLabels,
  checkName,
  checkSlug,
  databaseName,
  type NamingRules,
  roleName,
  slugify,
} from '../naming.ts'
import { withAdmin } from '../postgres/connect.ts'
import { findDatabase } from '../postgres/databases.ts'
import { findRole } from '../postgres/roles.ts'
import { mayOwnSchemaPublic } from '../postgres/schema.ts'
import { adminFacts } from '../postgres/server.ts'
import { roleNames } from '../registry/roles.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Labels, Tenant } from '../registry/tenant.ts'
import type { NewTenant } from '../registry/tenant-registry.ts'
import { generatePassword } from '../secrets/password.ts'
import { askHook } from './hooks.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { applySteps } from './step.ts'
import { databaseExists, roleExists } from './steps.ts'
import { stepsOfCreate } from './take-ready.ts'

/** A tenant to be. */
export interface CreateInput {
  /** Free text, at most 200 characters. */
  name: string
  /** Default: made from the name. */
  slug?: string | undefined
  /** Name of the database and of the role. Default: by `naming` of the configuration. */
  database?: string | undefined
  labels?: Labels | undefined
  /** Default: `default`. */
  server?: string | undefined
  /** Whether to run the seeds. Default: true. */
  seed?: boolean | undefined
  /** Return a tenant that is there and active instead of throwing `TENANT_EXISTS`. Default: false. */
  ifNotExists?: boolean | undefined
  /** Protect it against being dropped. Default: false. */
  protect?: boolean | undefined
}

/** How to follow and to end a piece of work. */
export interface RunOptions {
  /** Cancels running statements; what is done by then stands in the journal. */
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
  /** @internal Id of the fleet run that this is part of. */
  run?: string | undefined
}

/** The tenant, and whether this call made it. */
export type CreatedTenant = Tenant & { created: boolean }

/**
 * Makes a tenant: reserves its row, then runs the steps. A tenant that an earlier run left half-made is finished.
 * Nothing is undone when a step fails: the journal tells how far it got, and another `create`, or a `drop`, goes on
 * from there.
 */
export async function createTenant(
  parts: ProvisioningParts,
  input: CreateInput,
  options: RunOptions,
): Promise<CreatedTenant> {
  const wanted = await describeTenant(parts, input)
  const tenant = (await parts.registry.find(wanted.slug)) ?? (await reserveOrFind(parts, wanted, options))
  if (wanted.protected && !tenant.protected && isHalfMade(tenant)) await parts.registry.setProtected(tenant.id, true)
  if (tenant.status === 'active') return existing(tenant, input)
  // One that was reserved just now has no earlier create to ask.
  const fresh = tenant.id === wanted.id
  const seed = fresh ? (input.seed ?? true) : await wantsSeeds(parts, tenant, input)
  return finishTenant(parts, tenant, { seed }, { ...options, fresh }).catch(async error => {
    // Another run finished it while this one waited.
    if (isTenancyError(error) && error.code === 'TENANT_EXISTS')
      return existing(await parts.registry.get(tenant.id), input)
    throw error
  })
}

/**
 * Reserves a tenant for somebody else to make. Throws `TENANT_EXISTS` also for one that is half-made: two visitors who
 * sign up under one name must not get into one tenant.
 */
export async function reserveTenant(
  parts: ProvisioningParts,
  input: CreateInput,
  options: RunOptions,
): Promise<Tenant> {
  const wanted = await describeTenant(parts, input)
  const tenant = (await parts.registry.find(wanted.slug)) ?? (await reserveOrFind(parts, wanted, options))
  if (tenant.id !== wanted.id) throw alreadyExists(tenant)
  return tenant
}

/** Whoever finishes a tenant that was begun without seeds, and says nothing about them, means it so too. */
async function wantsSeeds(parts: ProvisioningParts, tenant: Tenant, input: CreateInput): Promise<boolean> {
  if (input.seed !== undefined) return input.seed
  return (await parts.journal.parametersOf<{ seed: boolean }>(tenant.id, 'create')).seed ?? true
}

/** Runs the steps of a tenant whose row is there; `fresh`: it was reserved by this very run. */
export async function finishTenant(
  parts: ProvisioningParts,
  tenant: Tenant,
  input: { seed: boolean },
  { fresh = false, ...options }: RunOptions & { fresh?: boolean },
): Promise<CreatedTenant> {
  refuseUnlessHalfMade(tenant)
  await refuseRestoring(parts, tenant)
  const made = await runOperation(parts, 'create', tenant, { ...options, parameters: input }, async found => {
    // Under the lock: meanwhile another run may have finished it, or dropped it.
    refuseUnlessHalfMade(found.tenant)
    const context = { ...found, seed: input.seed, useTemplate: parts.config.template }
    await applySteps(await stepsOfCreate(context, { fresh }), context)
  }).catch(async error => {
    throw await recordFailure(parts, tenant, error)
  })
  return { ...(await parts.registry.get(made.id)), created: true }
}

export async function describeTenant(parts: ProvisioningParts, input: CreateInput): Promise<NewTenant> {
  const { id, name, slug, database, labels } = await nameTenant(parts.config.naming, input)
  const server = input.server ?? defaultServer
  parts.servers.admin(server)
  const migratorPassword = parts.config.roles === 'separate' ? generatePassword() : undefined
  const username = roleName(database)
  const password = generatePassword()
  return {
    ...{ id, slug, name, server, database, username, password, migratorPassword, labels },
    protected: input.protect ?? false,
  }
}

/** All that can be refused without asking a server. Throws `NAME_INVALID`. */
export async function nameTenant(
  naming: NamingRules,
  input: Pick<CreateInput, 'name' | 'slug' | 'database' | 'labels'>,
): Promise<Pick<NewTenant, 'id' | 'name' | 'slug' | 'database' | 'labels'>> {
  const name = checkName(input.name)
  const slug = input.slug === undefined ? await slugify(name, naming) : await checkSlug(input.slug, naming)
  const id = uuid()
  const database =
    input.database === undefined ? databaseName({ slug, id, name }, naming) : checkDatabaseName(input.database)
  return { id, name, slug, database, labels: checkLabels(input.labels ?? {}) }
}

/** Another run may have reserved the same slug a moment ago: then its row, database or role is what is in the way. */
export async function reserveOrFind(parts: ProvisioningParts, wanted: NewTenant, options: RunOptions): Promise<Tenant> {
  try {
    return await reserve(parts, wanted, options)
  } catch (error) {
    const inTheWay = isTenancyError(error) && ['TENANT_EXISTS', 'DATABASE_EXISTS', 'ROLE_EXISTS'].includes(error.code)
    const other = inTheWay && (await parts.registry.find(wanted.slug))
    if (other) return other
    throw error
  }
}

/** Looks for what is in the way first, so that a plain clash of names leaves nothing half-made behind. */
async function reserve(parts: ProvisioningParts, wanted: NewTenant, options: RunOptions): Promise<Tenant> {
  // A file that cannot be read must not leave a half-made tenant either.
  const [migrations] = await Promise.all([parts.migrations(), parts.seeds()])
  await parts.checksums.check(migrations)
  const { slug, name, server, labels } = wanted
  await askHook('beforeCreate', slug, () => parts.config.hooks.beforeCreate?.({ slug, name, server, labels }))
  const address = parts.servers.admin(wanted.server)
  const doing = `connecting to server "${wanted.server}" as ${address.user}`
  await withAdmin(address, { signal: options.signal, doing }, async admin => {
    const facts = await adminFacts(admin)
    if (!facts.createdb || !facts.createrole) {
      throw new TenancyError('PRIVILEGES_INSUFFICIENT', `role "${facts.user}" may not create databases and roles`, {
        hint: `ALTER ROLE "${facts.user}" CREATEDB CREATEROLE;`,
      })
    }
    const roles = wanted.migratorPassword ? 'separate' : 'single'
    if (roles === 'separate' && !mayOwnSchemaPublic(facts)) {
      throw new TenancyError(
        'PRIVILEGES_INSUFFICIENT',
        "roles: 'separate' needs PostgreSQL 15, or a superuser: before, everybody may create tables in schema public",
      )
    }
    const database = await findDatabase(admin, wanted.database)
    if (database) throw databaseExists(wanted.database, database.owner)
    for (const name of roleNames({ username: wanted.username, roles })) {
      if (await findRole(admin, name)) throw roleExists(name)
    }
  }).catch(error => {
    throw isTenancyError(error) ? error.with({ tenant: wanted.slug }) : error
  })
  return parts.registry.reserve(wanted)
}

function existing(tenant: Tenant, input: CreateInput): CreatedTenant {
  if (input.ifNotExists) return { ...tenant, created: false }
  throw alreadyExists(tenant)
}

function isHalfMade({ status }: Tenant): boolean {
  return status === 'provisioning' || status === 'failed'
}

function refuseUnlessHalfMade(tenant: Tenant): void {
  const { slug, status } = tenant
  if (status === 'active') throw alreadyExists(tenant)
  if (status === 'suspended')
    throw new TenancyError('TENANT_SUSPENDED', `tenant "${slug}" is suspended`, { tenant: slug })
  if (status === 'dropping') {
    throw new TenancyError('TENANT_DROPPING', `a drop of tenant "${slug}" has not finished`, {
      tenant: slug,
      hint: `finish it with \`tenantctl drop ${slug}\`, then create the tenant anew; or bring it back with \`tenantctl undrop ${slug}\``,
    })
  }
}

/** Of what a restore left half-made, the database may hold another tenant's data, or nothing where data is expected. */
async function refuseRestoring(parts: ProvisioningParts, { id, slug }: Tenant): Promise<void> {
  const maker = await parts.unfinished.newest(id, ['create', 'restore'])
  if (maker?.kind !== 'restore') return
  throw new TenancyError('TENANT_FAILED', `a restore of tenant "${slug}" has not finished`, {
    tenant: slug,
    hint: `finish it with \`tenantctl restore ${maker.parameters.dump} --as ${slug}\`, or remove it with \`tenantctl drop ${slug}\``,
  })
}

function alreadyExists({ slug, name }: Tenant): TenancyError {
  return new TenancyError('TENANT_EXISTS', `there is a tenant "${slug}" already${name === slug ? '' : `: ${name}`}`, {
    tenant: slug,
    hint: 'choose another --slug, or say --if-not-exists if that is the one you mean',
  })
}

/** The status tells those who look; the registry may be what failed, and then the journal tells. */
export async function recordFailure(
  parts: ProvisioningParts,
  tenant: Tenant,
  error: unknown,
  next = `\`tenantctl create ${tenant.slug}\` goes on from there, \`tenantctl drop ${tenant.slug}\` removes what there is`,
): Promise<unknown> {
  if (!isTenancyError(error) || error.step === undefined) return error
  await parts.registry.markFailed(tenant.id).catch(() => undefined)
  const { code, message, ...facts } = error
  return new TenancyError(code, message, {
    ...facts,
    detail: error.detail,
    hint: error.hint === undefined ? next : `${error.hint}\n${next}`,
    cause: error.cause,
  })
}
