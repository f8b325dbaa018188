import { TenancyError } from '../errors.ts'
import type { Listener } from '../events.ts'
import type { Selection } from '../fleet/selection.ts'
import { refuseChanged } from '../migrations/changed.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { planUp } from '../migrations/plan.ts'
import { findMigration, type Migration } from '../migrations/source.ts'
import { type KnownStates, knownStates } from '../migrations/states.ts'
import { versionOf } from '../migrations/version.ts'
import type { LoadedTenant } from '../registry/fleet-registry.ts'
import { historySchema } from '../registry/roles.ts'
import { asTenant, surveyTenants } from './fleet.ts'
import type { Parts } from './parts.ts'

/** How far the plan goes, and whom it asks. */
export interface PlanOptions {
  /** Up to and including this migration, with or without extension. Default: all. */
  to?: string | undefined
  /** Ask every database, also those of which the registry knows what they lack. Default: false. */
  verify?: boolean | undefined
  /** Refuse when a file that was not applied anywhere yet is dangerous on live tables. Default: false. */
  strict?: boolean | undefined
  /** Plan although a file has changed since it was applied somewhere. Default: false. */
  allowChanged?: boolean | undefined
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

/** What would run on one tenant. */
export interface PendingPlan {
  tenant: string
  from: string | null
  pending: { name: string; sql: string | null }[]
}

/** What was reviewed: `migrate --plan` does this and nothing else. */
export interface PlanFile {
  tenantctl: 'plan'
  version: 1
  /** The registry it was made for. */
  registry: string
  createdAt: string
  to: string | null
  /** Every file that somebody lacks, as it was. */
  migrations: { name: string; file: string; checksum: string; sql: string | null }[]
  tenants: { id: string; tenant: string; from: string | null; hash: string; pending: string[] }[]
}

interface TenantPlan {
  id: string
  slug: string
  from: string | null
  applied: string[]
  pending: readonly Migration[]
}

export async function planFleet(parts: Parts, selection: Selection, options: PlanOptions): Promise<PendingPlan[]> {
  const shared = new Map<string, PendingPlan['pending'][number]>()
  const plans = await plansOf(parts, selection, options)
  return plans.map(({ slug, from, pending }) => ({
    tenant: slug,
    from,
    pending: pending.map(({ name, sql }) => {
      const entry = shared.get(name) ?? { name, sql: sql?.up.text.trim() ?? null }
      shared.set(name, entry)
      return entry
    }),
  }))
}

export async function planFile(parts: Parts, selection: Selection, options: PlanOptions): Promise<PlanFile> {
  const plans = (await plansOf(parts, selection, options)).filter(plan => plan.pending.length > 0)
  const wanted = new Set(plans.flatMap(plan => plan.pending.map(({ name }) => name)))
  const files = (await parts.migrations()).filter(({ name }) => wanted.has(name))
  return {
    ...{ tenantctl: 'plan', version: 1, registry: parts.registryId, createdAt: new Date().toISOString() },
    to: options.to === undefined ? null : findMigration(await parts.migrations(), options.to).name,
    migrations: files.map(({ name, file, checksum, sql }) => ({
      name,
      file,
      checksum,
      sql: sql?.up.text.trim() ?? null,
    })),
    tenants: plans.map(({ id, slug, from, applied, pending }) => {
      return { id, tenant: slug, from, hash: versionOf(applied).hash, pending: pending.map(({ name }) => name) }
    }),
  }
}

/**
 * Refuses a plan when files or tenants are not what they were. Gives back what holds a single tenant to it, under its
 * lock: exactly the planned migrations, or the rest of them when an earlier run of the plan did the first ones.
 */
export async function refuseStale(
  parts: Parts,
  plan: PlanFile,
  migrations: readonly Migration[],
): Promise<(tenant: LoadedTenant) => (pending: readonly Migration[]) => void> {
  if (plan.registry !== parts.registryId) throw stale(['it was made for another registry'])
  const checksums = new Map(migrations.map(({ name, checksum }) => [name, checksum]))
  const problems = plan.migrations.flatMap(({ name, file, checksum }) => {
    const now = checksums.get(name)
    if (now === undefined) return [`${file} is gone`]
    return now === checksum ? [] : [`${file} has changed`]
  })
  const states = knownStates(migrations)
  const planned = new Map(plan.tenants.map(tenant => [tenant.id, tenant]))
  const found = await parts.fleet.versions([...planned.keys()])
  for (const { id, tenant, hash, pending } of plan.tenants) {
    const now = found.get(id)
    if (now === undefined) problems.push(`tenant "${tenant}" is gone`)
    else if (now !== hash && !reachedBy(states, hash, pending).includes(now ?? '')) {
      problems.push(`tenant "${tenant}" is not any more at the version it was at`)
    }
  }
  // With a target, files that came after it change nothing.
  const until = plan.to === null ? migrations.length : migrations.indexOf(findMigration(migrations, plan.to)) + 1
  const before = migrations.slice(0, until).map(({ name }) => name)
  for (const { hash, pending } of plan.tenants.slice(0, 1)) {
    const applied = states.applied(hash)
    const news = applied && before.filter(name => !applied.includes(name) && !pending.includes(name))
    for (const name of news ?? []) problems.push(`${name} is new`)
  }
  if (problems.length > 0) throw stale(problems)
  return tenant => pending => {
    const names = planned.get(tenant.id)?.pending ?? []
    const rest = names.slice(names.length - pending.length)
    if (pending.length <= names.length && pending.every(({ name }, index) => name === rest[index])) return
    throw stale([`tenant "${tenant.slug}" lacks ${pending.map(({ name }) => name).join(', ')}, not what was planned`])
  }
}

/** At once: what the registry knows too little of is asked over each tenant's own login. */
const asked = 8

async function plansOf(parts: Parts, selection: Selection, options: PlanOptions): Promise<TenantPlan[]> {
  await refuseChangedFiles(parts, options)
  const migrations = await parts.migrations()
  const known = knownStates(migrations, options.to)
  const { items, loader } = await surveyTenants(parts, selection)
  const plans: TenantPlan[] = []
  // A generator ends when one of those who read it fails: the others ask no further tenant.
  const queue = (function* () {
    yield* items
  })()
  const worker = async () => {
    for (const item of queue) {
      const tenant = await loader.get(item)
      if (!tenant || (tenant.status !== 'active' && !('tenants' in selection))) continue
      const pending = options.verify ? undefined : known.pending(tenant.migrationsHash)
      if (pending) {
        const applied = known.applied(tenant.migrationsHash) ?? []
        plans.push({ id: tenant.id, slug: tenant.slug, from: tenant.schemaVersion, applied, pending })
        continue
      }
      const history = await asTenant(parts, tenant, options, client =>
        new MigrationHistory(client, historySchema(tenant)).read(),
      )
      const applied = history.map(each => each.name)
      const lacking = planUp(migrations, history, options.to)
      plans.push({ id: tenant.id, slug: tenant.slug, from: applied.at(-1) ?? null, applied, pending: lacking })
    }
  }
  await Promise.all(Array.from({ length: asked }, worker))
  return plans.sort((a, b) => (a.slug < b.slug ? -1 : 1))
}

/** What would be refused has no plan. */
async function refuseChangedFiles(parts: Parts, { allowChanged }: PlanOptions): Promise<void> {
  if (allowChanged) return
  const migrations = await parts.migrations()
  refuseChanged(migrations, await parts.checksums.known(migrations))
}

/** Hashes of the states that a planned tenant passes through. */
function reachedBy(states: KnownStates, hash: string, pending: readonly string[]): string[] {
  const applied = states.applied(hash) ?? []
  return pending.map((_, index) => versionOf([...applied, ...pending.slice(0, index + 1)]).hash)
}

function stale(problems: readonly string[]): TenancyError {
  const few = problems.slice(0, 10).join('; ') + (problems.length > 10 ? `; and ${problems.length - 10} more` : '')
  return new TenancyError('PLAN_STALE', `the plan does not hold any more: ${few}`, {
    hint: 'nothing was changed: make a new plan and have it reviewed',
  })
}
