import { createHash } from 'node:crypto'
import { asTenancyError, TenancyError } from '../errors.ts'
import { notify } from '../events.ts'
import type { Migration, Seed } from '../migrations/source.ts'
import { type Database, findDatabase } from '../postgres/databases.ts'
import { lockKey, withAdvisoryLock } from '../postgres/locks.ts'
import type { AdminFacts } from '../postgres/server.ts'
import type { TemplateContents } from '../registry/built-templates.ts'
import { historySchema, type RoleModel } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { buildTemplate } from './build-template.ts'
import { type Origin, plainInstead } from './copy.ts'
import { markerStart } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import type { StepContext } from './step.ts'

/** Counted up when the pipeline comes to make something else of the same files. */
const layout = 1
const lockWaitMs = 300_000

/** What a template holds, and the name that follows from that. */
export interface TemplatePlan {
  /** Of its database, and of its role: no two that differ in anything share it. */
  name: string
  madeOf: TemplateContents
  roles: RoleModel
  migrations: readonly Migration[]
  seeds: readonly Seed[]
  extensions: readonly string[]
}

export type PlanContext = Pick<StepContext, 'parts' | 'seed'> & {
  adminFacts: Pick<AdminFacts, 'user' | 'superuser' | 'version'>
  tenant: { roles: RoleModel }
}

/** Whom a template is wanted for, and who builds it where there is none. */
export type TemplateContext = Pick<StepContext, 'parts' | 'admin' | 'adminFacts' | 'seed' | 'signal' | 'onEvent'> & {
  tenant: Pick<Tenant, 'slug' | 'server' | 'roles'>
}

/** The template that a new tenant would be copied from; undefined where there is nothing that is worth a copy. */
export async function planTemplate({
  parts,
  tenant,
  adminFacts,
  seed,
}: PlanContext): Promise<TemplatePlan | undefined> {
  const { roles } = tenant
  const { extensions } = parts.config.database
  const migrations = await parts.migrations()
  const seeds = seed ? await sharedSeeds(await parts.seeds()) : []
  if (migrations.length + seeds.length + extensions.length === 0) return undefined
  // An SQL file can read no other file.
  const importing = [...migrations, ...seeds].some(each => each.sql === undefined)
  const madeOf: TemplateContents = {
    layout,
    registry: parts.registryId,
    // Only its owner may copy a database that is not open to all as a template.
    admin: [adminFacts.user, adminFacts.superuser],
    major: Math.floor(adminFacts.version / 10_000),
    roles,
    historySchema: historySchema({ roles }),
    extensions,
    migrations: migrations.map(each => [each.file, each.checksum]),
    seeds: seeds.map(each => [each.file, each.checksum]),
    companions: importing ? await parts.companions() : '',
  }
  const fingerprint = createHash('sha256').update(JSON.stringify(madeOf)).digest('hex')
  return { name: `tenantctl_template_${fingerprint.slice(0, 24)}`, madeOf, roles, migrations, seeds, extensions }
}

/** Those before the first that differs per tenant: what comes after it may build on it. */
async function sharedSeeds(seeds: readonly Seed[]): Promise<Seed[]> {
  const shared: Seed[] = []
  for (const seed of seeds) {
    if (await seed.isPerTenant()) break
    shared.push(seed)
  }
  return shared
}

/** Written on a template's database and roles. */
export function templateMarker(registryId: string): string {
  return `tenantctl ${registryId} template`
}

/**
 * What has a template's name is one, and finished, if it is the admin's: its name and marker are no secret, and whoever
 * may create databases could plant one for all new tenants to be copied from.
 */
export function isTemplate(
  { registryId }: Pick<ProvisioningParts, 'registryId'>,
  database: Database | undefined,
): boolean {
  return database?.marker === templateMarker(registryId) && database.ownerIsAdmin
}

export function copyOf({ name, seeds }: TemplatePlan): Origin {
  return { template: name, seeds: seeds.map(each => each.name) }
}

/** One at a time builds a template, or removes it. */
export function templateLock(registryId: string, name: string): string {
  return lockKey('template', registryId, name)
}

/**
 * The template for a new tenant, built on first use. Where there is none to be had, says why, and returns undefined:
 * the tenant is then made without.
 */
export async function ensureTemplate(context: TemplateContext): Promise<Origin | undefined> {
  const plan = await planTemplate(context)
  if (!plan) return undefined
  const { parts, admin, tenant, signal } = context
  const { server } = tenant
  const isReady = async () => isTemplate(parts, await findDatabase(admin, plan.name))
  const build = async () => {
    // Whoever had the lock before has built it, or refused it, or died.
    if (await isReady()) return
    if ((await parts.refusedTemplates.reason(server, plan.name)) !== undefined) return
    const refusal = await buildTemplate(context, plan)
    if (refusal === undefined) return await parts.builtTemplates.record(server, plan.name, plan.madeOf)
    await parts.refusedTemplates.refuse(server, plan.name, refusal)
    // Once for everybody to see: new tenants take longer than they need to.
    notify(context.onEvent, { event: 'notice', message: `new tenants are made without a template: ${refusal}` })
  }
  try {
    if (!(await isReady())) {
      let refused = await parts.refusedTemplates.reason(server, plan.name)
      if (refused === undefined) {
        const onTimeout = () => new TenancyError('TENANT_LOCKED', 'another run has been building it for 5 minutes')
        const wait = { timeoutMs: lockWaitMs, signal, evict: markerStart, onTimeout }
        await withAdvisoryLock(admin, templateLock(parts.registryId, plan.name), wait, build)
        refused = await parts.refusedTemplates.reason(server, plan.name)
      }
      if (refused !== undefined) {
        plainInstead(context, refused)
        return undefined
      }
    }
    return copyOf(plan)
  } catch (error) {
    if (signal?.aborted) throw error
    const reason = asTenancyError(error).message
    await parts.refusedTemplates.failed(server, plan.name, reason)
    plainInstead(context, reason)
    return undefined
  }
}
