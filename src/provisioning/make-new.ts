import { type ErrorCode, isTenancyError, TenancyError } from '../errors.ts'
import type { Client } from '../postgres/connect.ts'
import type { Database } from '../postgres/databases.ts'
import { lookUp } from '../postgres/look-up.ts'
import { mayOwnSchemaPublic } from '../postgres/schema.ts'
import type { AdminFacts } from '../postgres/server.ts'
import type { OperationKind } from '../registry/operation.ts'
import type { NewTenant } from '../registry/reservation.ts'
import { roleNames } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { Origin } from './copy.ts'
import type { RunOptions } from './create.ts'
import { askHook } from './hooks.ts'
import { runFirstOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import type { ProvisioningStep, StepContext } from './step.ts'
import { databaseExists, roleExists } from './steps.ts'
import { copyOf, isTemplate, type TemplatePlan } from './template.ts'

interface NewTenantOptions extends RunOptions {
  parameters: object
  steps: readonly ProvisioningStep[]
  /** The template that its database may be a copy of. Default: none. */
  plan?: (facts: AdminFacts) => Promise<TemplatePlan | undefined>
  /** What to do after a failure. */
  next?: string
}

/**
 * Makes a tenant of which nothing is there yet, by `steps` as `work` runs them: it returns the tenant as it is then.
 * What is in the way is looked for first, so that a plain clash of names leaves nothing half-made behind.
 */
export async function makeNew(
  parts: ProvisioningParts,
  kind: OperationKind,
  wanted: NewTenant,
  options: NewTenantOptions,
  work: (context: StepContext) => Promise<Tenant>,
): Promise<Tenant> {
  let made: Tenant | undefined
  try {
    await refuseToBegin(parts, wanted)
    const survey = (admin: Client, facts: AdminFacts) => look(parts, admin, facts, wanted, options.plan)
    await runFirstOperation(parts, kind, wanted, { ...options, survey }, async context => {
      made = await work(context)
    })
  } catch (error) {
    const known = isTenancyError(error) ? error.with({ tenant: wanted.slug }) : error
    throw await recordFailure(parts, wanted, known, options.next)
  }
  return made as unknown as Tenant
}

/** For what is in the way, and for the template if it is there already. */
async function look(
  parts: ProvisioningParts,
  admin: Client,
  facts: AdminFacts,
  wanted: NewTenant,
  planned: NewTenantOptions['plan'],
): Promise<Origin | null | undefined> {
  // Files that cannot be used are told by the step that runs them.
  const plan = planned ? await planned(facts).catch(() => 'unknown' as const) : undefined
  if (plan === undefined || plan === 'unknown') {
    await refuseTaken(admin, facts, wanted)
    return plan === undefined ? null : undefined
  }
  const [template] = await refuseTaken(admin, facts, wanted, [plan.name])
  return isTemplate(parts, template) ? copyOf(plan) : undefined
}

/**
 * The tenant that had the slug, or a name that goes with it, before us: another run may have reserved it a moment ago.
 * Throws the error again when it is about something else.
 */
export async function inTheWay(parts: ProvisioningParts, wanted: NewTenant, error: unknown): Promise<Tenant> {
  // In a step, it would be ours.
  const clashed = isTenancyError(error) && error.step === undefined && clashes.includes(error.code)
  const other = clashed && (await parts.registry.find(wanted.slug))
  if (!other) throw error
  return other
}

const clashes: readonly ErrorCode[] = ['TENANT_EXISTS', 'DATABASE_EXISTS', 'ROLE_EXISTS']

/** What needs no server to be seen: neither a file that cannot be read nor a wrong key must leave a half-made tenant. */
export async function refuseToBegin(
  parts: ProvisioningParts,
  { slug, name, server, labels }: NewTenant,
): Promise<void> {
  const [migrations] = await Promise.all([parts.migrations(), parts.seeds()])
  await parts.checksums.check(migrations)
  await parts.sealed.requireKnownKey()
  await askHook('beforeCreate', slug, () => parts.config.hooks.beforeCreate?.({ slug, name, server, labels }))
}

/**
 * What has one of the names on the server, or what the admin may not do there. With the names, looks up `other`
 * databases, and returns them.
 */
export async function refuseTaken(
  admin: Client,
  facts: AdminFacts,
  wanted: NewTenant,
  other: readonly string[] = [],
): Promise<(Database | undefined)[]> {
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
  const names = roleNames({ username: wanted.username, roles })
  const found = await lookUp(admin, { databases: [wanted.database, ...other], roles: names })
  const [database, ...others] = found.databases
  if (database) throw databaseExists(wanted.database, database.owner)
  const [role] = found.roles
  if (role !== undefined) throw roleExists(role)
  return others
}

/** The status tells those who look; the registry may be what failed, and then the journal tells. */
export async function recordFailure(
  parts: ProvisioningParts,
  tenant: Pick<Tenant, 'id' | 'slug'>,
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
