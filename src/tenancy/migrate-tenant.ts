import { TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { TenantOutcome } from '../fleet/result.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { bindKnex } from '../migrations/knex-binding.ts'
import { migrateDatabase } from '../migrations/migrate.ts'
import type { RollbackTarget } from '../migrations/plan.ts'
import type { Migration } from '../migrations/source.ts'
import { versionOf } from '../migrations/version.ts'
import type { Client } from '../postgres/connect.ts'
import { askHook } from '../provisioning/hooks.ts'
import type { LoadedTenant } from '../registry/fleet-registry.ts'
import { historySchema } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { noteFingerprint } from './drift.ts'
import { asTenant, databaseWaitMs, journaled, type TenantVisit } from './fleet.ts'
import type { KnownFiles } from './known-files.ts'
import type { Parts } from './parts.ts'

export interface MigrationRun {
  to?: string | undefined
  rollback?: RollbackTarget | undefined
  /** Record migrations as applied without running them. */
  baseline?: boolean
  lockTimeoutMs: number
  statementTimeoutMs: number
  files: KnownFiles
  /** Hashes over the applied migrations of tenants that need nothing. */
  current?: readonly string[]
  /** What may run on this tenant; throws when something else would. */
  check?: ((pending: readonly Migration[]) => void) | undefined
  onEvent: Listener | undefined
}

const changed = { migrate: 'migrated', rollback: 'rolled_back', baseline: 'baselined' } as const

export type Outcome = Omit<TenantOutcome, 'tenant' | 'durationMs'>

/** Applies a tenant's pending migrations, or undoes some, and records in the registry what it has afterwards. */
export async function migrateTenant(
  parts: Parts,
  tenant: LoadedTenant,
  run: MigrationRun,
  visit: TenantVisit,
): Promise<Outcome> {
  const { notes, signal } = visit
  const kind = run.rollback ? 'rollback' : run.baseline ? 'baseline' : 'migrate'
  const ran: string[] = []
  let operationId: string | undefined
  let recording: Promise<void> | undefined
  const asked = visit.canary && kind === 'migrate' && parts.config.fleet.verify !== undefined
  const result = await journaled(parts, kind, tenant, visit.run, begin =>
    asTenant(parts, tenant, { lockTimeoutMs: run.lockTimeoutMs, signal }, async client => {
      try {
        const migrated = await migrateDatabase(client, run.files.migrations, {
          to: run.to,
          rollback: run.rollback,
          recordOnly: run.baseline,
          statementTimeoutMs: run.statementTimeoutMs,
          waitMs: databaseWaitMs,
          tenant: tenant.slug,
          schema: historySchema(tenant),
          sessionEnds: true,
          ...(isCurrent(tenant, run) ? { needsNothing: applied => isKnown(tenant, versionOf(applied)) } : {}),
          signal,
          onEvent: event => {
            if (event.event === 'migration_finished') ran.push(event.migration)
            notify(run.onEvent, event)
          },
          beforeFirst: async (plan, from) => {
            run.check?.(plan)
            // An earlier attempt may have got half of the way.
            if (notes.applied === undefined) notes.from = from
            operationId = await begin({ from, migrations: plan.map(migration => migration.name) })
          },
          afterLast: async ({ from, ran, applied }) => {
            if (ran.length > 0 && parts.config.fleet.fingerprint) await noteFingerprint(parts, tenant, client)
            // A run that was killed after its COMMIT has left its operation running: a new one ends that, too.
            if (ran.length === 0 && !isKnown(tenant, versionOf(applied)))
              operationId = await parts.journal.begin(kind, tenant, { from, migrations: [] })
          },
        })
        // Goes on while the session ends.
        if (!asked) recording = recordResult(parts, tenant, run, migrated.applied, operationId)
        recording?.catch(() => undefined)
        return migrated
      } catch (error) {
        // What was applied before the failure stays applied, and the registry has to know.
        if (ran.length > 0) {
          notes.applied = [...(notes.applied ?? []), ...ran]
          notes.to = await recordVersion(parts, tenant, run, client).catch(() => null)
        }
        throw error
      }
    }),
  )
  const applied = [...(notes.applied ?? []), ...result.ran]
  notes.to = result.to
  if (applied.length > 0) notes.applied = applied
  if (asked) {
    // Recorded only when it has passed: the next run finds the tenant behind then, and asks again.
    await run.files.record(result.applied)
    if (operationId !== undefined) await verifyCanary(parts, tenant, visit, operationId)
    recording = recordResult(parts, tenant, run, result.applied, operationId)
  }
  await recording
  if (applied.length === 0) return { status: 'up_to_date', from: result.from, to: result.to, applied }
  if (kind === 'migrate')
    await askHook('afterMigrate', tenant.slug, () => parts.config.hooks.afterMigrate?.(plain(tenant), applied))
  const from = notes.from === undefined ? result.from : notes.from
  return { status: changed[kind], from, to: result.to, applied }
}

async function recordResult(
  parts: Parts,
  tenant: LoadedTenant,
  run: MigrationRun,
  applied: string[],
  operationId: string | undefined,
): Promise<void> {
  if (!run.rollback) await run.files.record(applied)
  const version = versionOf(applied)
  if (operationId !== undefined || !isKnown(tenant, version)) {
    await parts.fleet.recordVersion({ id: tenant.id, version, operationId })
  }
}

/** What a tenant's database has and lacks, asked over its own login. */
export async function readStatus(
  parts: Parts,
  tenant: Tenant | LoadedTenant,
  migrations: readonly Migration[],
  options: { signal?: AbortSignal | undefined } = {},
): Promise<{ applied: string[]; pending: string[]; missing: string[] }> {
  const history = await asTenant(parts, tenant, options, client =>
    new MigrationHistory(client, historySchema(tenant)).read(),
  )
  const applied = history.map(each => each.name)
  const files = migrations.map(each => each.name)
  return {
    applied,
    pending: files.filter(name => !applied.includes(name)),
    missing: applied.filter(name => !files.includes(name)),
  }
}

/** As far as the registry knows. */
function isCurrent({ migrationsHash }: LoadedTenant, { current = [] }: MigrationRun): boolean {
  return migrationsHash !== null && current.includes(migrationsHash)
}

function isKnown(tenant: LoadedTenant, version: { name: string | null; hash: string }): boolean {
  return version.hash === tenant.migrationsHash && version.name === tenant.schemaVersion
}

/** Also after a failure, from what the database says. */
async function recordVersion(parts: Parts, tenant: Tenant, run: MigrationRun, client: Client): Promise<string | null> {
  const applied = (await new MigrationHistory(client, historySchema(tenant)).read()).map(each => each.name)
  const version = versionOf(applied)
  await parts.fleet.recordVersion({ id: tenant.id, version, operationId: undefined })
  if (!run.rollback) await run.files.record(applied)
  return version.name
}

/** Without what only the registry may know. */
function plain({ sealed: _, migrationsHash: __, ...tenant }: LoadedTenant): Tenant {
  return tenant
}

/** Asks the configuration's own check whether the tenant is well with its new schema. */
async function verifyCanary(
  parts: Parts,
  tenant: LoadedTenant,
  { signal, run }: TenantVisit,
  operationId: string,
): Promise<void> {
  const { verify } = parts.config.fleet
  if (!verify) return
  try {
    await asTenant(parts, tenant, { signal }, async client => {
      try {
        await verify(plain(tenant), await bindKnex(client))
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error)
        throw new TenancyError('VERIFY_FAILED', `fleet.verify refused the tenant: ${message}`, {
          hint: `its migrations stay applied, and the next run asks again; \`tenantctl rollback --run ${run}\` undoes them`,
          cause: error,
        })
      }
    })
  } catch (error) {
    await parts.journal.fail(operationId, error).catch(() => undefined)
    throw error
  }
}
