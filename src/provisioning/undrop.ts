import { TenancyError } from '../errors.ts'
import { checkSlug, databaseName, roleName } from '../naming.ts'
import { nearest } from '../nearest.ts'
import { findDatabase } from '../postgres/databases.ts'
import { findRole } from '../postgres/roles.ts'
import { isRetained, type RetainedTenant, slugTaken } from '../registry/retained-tenants.ts'
import { roleNames } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { RunOptions } from './create.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { type StepContext, undoSteps } from './step.ts'
import { databaseExists, roleExists } from './steps.ts'
import { locate, tombstoneSteps } from './tombstone.ts'

/** How a tenant comes back that was dropped and retained. */
export interface UndropOptions extends RunOptions {
  /** Slug to bring it back under. Default: the one it had. */
  slug?: string | undefined
}

/**
 * Brings a dropped tenant back whole while it is kept, or one whose drop has begun and has not removed its data yet.
 * Throws `TENANT_NOT_FOUND`, `TENANT_AMBIGUOUS`, or `TENANT_EXISTS` when its slug is taken.
 */
export async function undropTenant(
  parts: ProvisioningParts,
  slugOrId: string,
  options: UndropOptions,
): Promise<Tenant> {
  const slug = options.slug === undefined ? undefined : await checkSlug(options.slug, parts.config.naming)
  const dropped = await findDropped(parts, slugOrId)
  const find = async (id: string) => (await parts.retained.find(id)) ?? (await parts.registry.find(id))
  await runOperation(parts, 'undrop', dropped, { ...options, find, parameters: { slug } }, async found => {
    if (!isDropped(found.tenant)) throw notDropped(found.tenant)
    const target = isRetained(found.tenant)
      ? await chooseNames(found, found.tenant, slug ?? found.tenant.slug)
      : { ...found.tenant, slug: slug ?? found.tenant.slug }
    await requireData(found)
    const status = isRetained(found.tenant) ? found.tenant.formerStatus : await parts.retained.formerStatus(target.id)
    // What was half-made is half-made again; "create" knows how to go on.
    const formerStatus = status === 'provisioning' ? 'failed' : status
    await undoSteps(tombstoneSteps({ retainMs: 0, formerStatus }), { ...found, tenant: target })
  })
  return parts.registry.get(dropped.id)
}

function isDropped(tenant: Tenant): boolean {
  return isRetained(tenant) || tenant.status === 'dropping'
}

async function findDropped(parts: ProvisioningParts, slugOrId: string): Promise<Tenant> {
  const live = await parts.registry.find(slugOrId)
  const candidates: Tenant[] = await parts.retained.named(slugOrId)
  if (live && isDropped(live)) candidates.unshift(live)
  const [only, another] = candidates
  if (only && !another) return only
  if (only) throw ambiguous(slugOrId, candidates)
  if (live) throw notDropped(live)
  const slugs = (await parts.retained.list()).map(({ slug }) => slug)
  const close = nearest(slugOrId, slugs, 3)
  throw new TenancyError('TENANT_NOT_FOUND', `no dropped tenant "${slugOrId}" is kept`, {
    tenant: slugOrId,
    hint: close.length > 0 ? `did you mean ${close.join(', ')}?` : '`tenantctl list --retained` shows those that are',
  })
}

function notDropped({ slug, status }: Tenant): TenancyError {
  return new TenancyError('TENANT_EXISTS', `tenant "${slug}" is ${status}: it was not dropped`, {
    tenant: slug,
    hint: '`tenantctl list --retained` shows the dropped tenants that are kept',
  })
}

function ambiguous(slug: string, candidates: readonly Tenant[]): TenancyError {
  const lines = candidates.map(each =>
    isRetained(each)
      ? `${each.id}  dropped ${each.droppedAt}, kept until ${each.retainedUntil}`
      : `${each.id}  its drop has not come to its end`,
  )
  return new TenancyError('TENANT_AMBIGUOUS', `${candidates.length} dropped tenants were called "${slug}"`, {
    tenant: slug,
    hint: ['say which by its id:', ...lines].join('\n'),
  })
}

/** Its own names where they are free, else those that its new slug gives. */
async function chooseNames(context: StepContext, tenant: RetainedTenant, slug: string): Promise<Tenant> {
  const { parts } = context
  const other = await parts.registry.find(slug)
  if (other) throw slugTaken(slug)
  const own = { ...tenant, slug, database: tenant.formerDatabase, username: tenant.formerUsername }
  const problem = await inTheWay(context, own)
  if (!problem) return own
  const database = databaseName({ slug, id: tenant.id, name: tenant.name }, parts.config.naming)
  const renamed = { ...own, database, username: roleName(database) }
  const still = database === own.database ? problem : await inTheWay(context, renamed)
  if (still) throw still
  return renamed
}

async function inTheWay({ admin, marker }: StepContext, tenant: Tenant): Promise<TenancyError | undefined> {
  const database = await findDatabase(admin, tenant.database)
  const hint = 'bring it back under another slug, with --slug'
  if (database && database.marker !== marker) {
    return new TenancyError('DATABASE_EXISTS', databaseExists(tenant.database, database.owner).message, { hint })
  }
  for (const name of roleNames(tenant)) {
    const role = await findRole(admin, name)
    if (role && role.marker !== marker) return new TenancyError('ROLE_EXISTS', roleExists(name).message, { hint })
  }
  return undefined
}

/** A drop or a purge may have come as far as the database. */
async function requireData(context: StepContext): Promise<void> {
  const { admin, tenant, marker } = context
  const located = await locate(context)
  const database = await findDatabase(admin, located.database)
  let whole = database?.marker === marker && !database.invalid
  for (const name of roleNames(located)) whole &&= (await findRole(admin, name))?.marker === marker
  if (whole) return
  throw new TenancyError('TENANT_DROPPING', `the data of tenant "${tenant.slug}" is gone: its removal had begun`, {
    tenant: tenant.slug,
    hint: isRetained(tenant) ? '`tenantctl purge` finishes it' : `\`tenantctl drop ${tenant.slug}\` finishes it`,
  })
}
