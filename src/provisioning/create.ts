import { randomUUID } from 'node:crypto'
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
import { type AdminFacts, adminFacts } from '../postgres/server.ts'
import type { NewTenant, ReserveOptions } from '../registry/reservation.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Labels, Tenant } from '../registry/tenant.ts'
import { generatePassword } from '../secrets/password.ts'
import { reach } from './lock.ts'
import { inTheWay, makeNew, recordFailure, refuseTaken, refuseToBegin } from './make-new.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { applySteps, type StepContext } from './step.ts'
import { provisioningSteps } from './steps.ts'
import { stepsOfCreate, wantsReady } from './take-ready.ts'
import { planTemplate } from './template.ts'

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
  let tenant = await parts.registry.find(wanted.slug)
  if (!tenant) {
    try {
      return await makeTenant(parts, wanted, input.seed ?? true, options)
    } catch (error) {
      tenant = await inTheWay(parts, wanted, error)
    }
  }
  if (wanted.protected && !tenant.protected && isHalfMade(tenant)) await parts.registry.setProtected(tenant.id, true)
  if (tenant.status === 'active') return existing(tenant, input)
  const seed = await wantsSeeds(parts, tenant, input)
  return finishTenant(parts, tenant, { seed }, options).catch(async error => {
    // Another run finished it while this one waited.
    if (isTenancyError(error) && error.code === 'TENANT_EXISTS')
      return existing(await parts.registry.get(tenant.id), input)
    throw error
  })
}

async function makeTenant(
  parts: ProvisioningParts,
  wanted: NewTenant,
  seed: boolean,
  options: RunOptions,
): Promise<CreatedTenant> {
  const own = { ...options, parameters: { seed } }
  const tenant = { roles: wanted.migratorPassword ? ('separate' as const) : ('single' as const) }
  const plan = async (adminFacts: AdminFacts) =>
    parts.config.template ? planTemplate({ parts, tenant, adminFacts, seed }) : undefined
  // What comes first is known only where no ready tenant may be taken.
  const first = wantsReady(parts.config) ? { steps: [] } : { steps: provisioningSteps, plan }
  const made = await makeNew(parts, 'create', wanted, { ...own, ...first }, context => runProvisioning(context, seed))
  return { ...made, created: true }
}

/** Returns the tenant as it is then. */
async function runProvisioning(context: StepContext, seed: boolean): Promise<Tenant> {
  const own = { ...context, seed, useTemplate: context.parts.config.template }
  try {
    await applySteps(await stepsOfCreate(own), own)
  } finally {
    await own.leaving
  }
  return own.tenant
}

/**
 * Reserves a tenant for somebody else to make. Throws `TENANT_EXISTS` also for one that is half-made: two visitors who
 * sign up under one name must not get into one tenant.
 */
export async function reserveTenant(
  parts: ProvisioningParts,
  input: CreateInput,
  options: RunOptions & Pick<ReserveOptions, 'within'>,
): Promise<Tenant> {
  const wanted = await describeTenant(parts, input)
  const taken = await parts.registry.find(wanted.slug)
  if (taken) throw alreadyExists(taken)
  try {
    await refuseToBegin(parts, wanted)
    const { address, doing } = reach(parts, wanted)
    await parts.admins.use(address, { signal: options.signal, doing }, async admin =>
      refuseTaken(admin, await adminFacts(admin), wanted),
    )
    return await parts.registry.reserve(wanted, { within: options.within })
  } catch (error) {
    throw alreadyExists(await inTheWay(parts, wanted, error))
  }
}

/** Whoever finishes a tenant that was begun without seeds, and says nothing about them, means it so too. */
async function wantsSeeds(parts: ProvisioningParts, tenant: Tenant, input: CreateInput): Promise<boolean> {
  if (input.seed !== undefined) return input.seed
  return (await parts.journal.parametersOf<{ seed: boolean }>(tenant.id, 'create')).seed ?? true
}

/** Runs the steps of a tenant whose row is there. */
export async function finishTenant(
  parts: ProvisioningParts,
  tenant: Tenant,
  input: { seed: boolean },
  options: RunOptions,
): Promise<CreatedTenant> {
  refuseUnlessHalfMade(tenant)
  await refuseRestoring(parts, tenant)
  let made = tenant
  await runOperation(parts, 'create', tenant, { ...options, parameters: input }, async context => {
    // Under the lock: meanwhile another run may have finished it, or dropped it.
    refuseUnlessHalfMade(context.tenant)
    made = await runProvisioning(context, input.seed)
  }).catch(async error => {
    throw await recordFailure(parts, tenant, error)
  })
  return { ...made, created: true }
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
  const id = randomUUID()
  const database =
    input.database === undefined ? databaseName({ slug, id, name }, naming) : checkDatabaseName(input.database)
  return { id, name, slug, database, labels: checkLabels(input.labels ?? {}) }
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
