import { parseDuration } from '../config/duration.ts'
import { TenancyError } from '../errors.ts'
import type { FleetResult, TenantOutcome } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { type LintFinding, lintMigrations } from '../lint/lint.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { migrateDatabase } from '../migrations/migrate.ts'
import { planUp, type RollbackTarget } from '../migrations/plan.ts'
import { findMigration, type Migration, readMigrations } from '../migrations/source.ts'
import { versionOf } from '../migrations/version.ts'
import { historySchema } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { TenantVersion } from '../registry/tenant-registry.ts'
import { asTenant, type FleetOptions, journaled, runOverTenants, unlessActive } from './fleet.ts'
import type { LazyParts, Parts } from './parts.ts'

export interface MigrateOptions extends FleetOptions {
  /** Up to and including this migration, with or without extension. Default: all. */
  to?: string | undefined
  /** How long a statement waits for a lock: milliseconds or `'5s'`. Default: `migrations.lockTimeout`. */
  lockTimeout?: string | number | undefined
  /** How long a statement may run. Default: `migrations.statementTimeout`. */
  statementTimeout?: string | number | undefined
  /** Connect to every tenant, also to those that the registry knows to be up to date. Default: false. */
  verify?: boolean | undefined
  /** Refuse to begin when a file that was not applied anywhere yet is dangerous on live tables. Default: false. */
  strict?: boolean | undefined
  /** Go on although a file has changed since it was applied somewhere. Default: false. */
  allowChanged?: boolean | undefined
}

export interface PendingPlan {
  tenant: string
  from: string | null
  pending: { name: string; sql: string | null }[]
}

/** So long a second run waits for a tenant that a first one is migrating. */
const waitMs = 300_000

/** The tenants' schemas. */
export class TenantMigrations {
  constructor(private readonly parts: LazyParts) {}

  /**
   * What is dangerous on live tables in the SQL files that were not applied anywhere yet, or in all of them. Connects
   * to the registry only for the former.
   */
  async lint(options: { all?: boolean | undefined } = {}): Promise<LintFinding[]> {
    const { directory, explicit } = this.parts.config.migrations
    if (options.all) return lintMigrations(await readMigrations(directory, { mayBeMissing: !explicit }))
    const parts = await this.parts.get()
    return lintMigrations(await newMigrations(parts))
  }

  /** Applies pending migrations. Returns also when tenants failed; throws when the run itself cannot go. */
  async run(selection: Selection, options: MigrateOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    if (options.to !== undefined) findMigration(migrations, options.to)
    const allow = { replace: options.allowChanged ?? false }
    if (!allow.replace) await refuseChanged(parts, migrations)
    if (options.strict) await refuseDangerous(parts)
    const newest = versionOf(migrations.map(migration => migration.name)).hash
    const limits = readLimits(parts, options)
    const tenants = await parts.registry.select(selection)
    return runOverTenants(parts, 'migrate', tenants, options, async tenant => {
      const skipped = unlessActive(tenant, selection)
      if (skipped) return skipped
      if (!options.verify && options.to === undefined && tenant.migrationsHash === newest) return upToDate(tenant)
      return migrateTenant(parts, tenant, migrations, { ...options, ...limits, allow })
    })
  }

  /** What `run` would do, without doing it. */
  async plan(selection: Selection, options: Pick<MigrateOptions, 'to' | 'signal'> = {}): Promise<PendingPlan[]> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const plans: PendingPlan[] = []
    for (const tenant of await parts.registry.select(selection)) {
      const applied = await asTenant(parts, tenant, options, client =>
        new MigrationHistory(client, historySchema(tenant)).read(),
      )
      const pending = planUp(migrations, applied, options.to)
      plans.push({
        tenant: tenant.slug,
        from: applied.at(-1)?.name ?? null,
        pending: pending.map(({ name, sql }) => ({ name, sql: sql?.up.text.trim() ?? null })),
      })
    }
    return plans
  }

  /** Runs `down` in reverse: so many steps, or back to a migration that stays applied. */
  async rollback(selection: Selection, options: Omit<MigrateOptions, 'to'> & RollbackTarget): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const rollback: RollbackTarget = 'to' in options ? { to: options.to } : { steps: options.steps }
    if ('to' in rollback) findMigration(migrations, rollback.to)
    else if (!Number.isInteger(rollback.steps) || rollback.steps < 1) {
      throw new TenancyError('USAGE', 'steps: expected a whole number from 1 on')
    }
    const limits = readLimits(parts, options)
    const tenants = await parts.registry.select(selection)
    return runOverTenants(parts, 'rollback', tenants, options, async tenant => {
      const skipped = unlessActive(tenant, selection)
      if (skipped) return skipped
      return migrateTenant(parts, tenant, migrations, { ...options, ...limits, to: undefined, rollback })
    })
  }

  /** Applied and pending migrations, as the databases themselves tell. */
  async status(selection: Selection, options: FleetOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const tenants = await parts.registry.select(selection)
    return runOverTenants(parts, 'status', tenants, options, async tenant => {
      const skipped = unlessActive(tenant, selection)
      if (skipped) return skipped
      const { applied, pending } = await readStatus(parts, tenant, migrations, options)
      return { status: pending.length > 0 ? 'checked' : 'up_to_date', to: applied.at(-1) ?? null, applied, pending }
    })
  }
}

/** What a tenant's database has and lacks, asked over its own login. */
export async function readStatus(
  parts: Parts,
  tenant: Tenant,
  migrations: readonly Migration[],
  options: Pick<FleetOptions, 'signal'> = {},
): Promise<{ applied: string[]; pending: string[] }> {
  const history = await asTenant(parts, tenant, options, client =>
    new MigrationHistory(client, historySchema(tenant)).read(),
  )
  const applied = history.map(each => each.name)
  return { applied, pending: migrations.map(each => each.name).filter(name => !applied.includes(name)) }
}

interface MigrationRun extends Pick<MigrateOptions, 'to' | 'signal' | 'onEvent'> {
  rollback?: RollbackTarget
  lockTimeoutMs: number
  statementTimeoutMs: number
  allow?: { replace: boolean }
}

async function migrateTenant(
  parts: Parts,
  tenant: TenantVersion,
  migrations: readonly Migration[],
  run: MigrationRun,
): Promise<Omit<TenantOutcome, 'tenant' | 'durationMs'>> {
  const onEvent = run.onEvent ?? parts.config.onEvent
  const kind = run.rollback ? 'rollback' : 'migrate'
  let operationId: string | undefined
  const result = await journaled(parts, kind, tenant, begin =>
    asTenant(parts, tenant, run, async client => {
      const ran: string[] = []
      try {
        return await migrateDatabase(client, migrations, {
          to: run.to,
          rollback: run.rollback,
          statementTimeoutMs: run.statementTimeoutMs,
          waitMs,
          tenant: tenant.slug,
          schema: historySchema(tenant),
          signal: run.signal,
          onEvent: event => {
            if (event.event === 'migration_finished') ran.push(event.migration)
            onEvent?.(event)
          },
          beforeFirst: async (plan, from) => {
            operationId = await begin({ from, migrations: plan.map(migration => migration.name) })
          },
        })
      } catch (error) {
        // What was applied before the failure stays applied, and the registry has to know.
        if (ran.length > 0) await recordVersion(parts, tenant, migrations, client).catch(() => undefined)
        throw run.signal?.aborted ? new TenancyError('ABORTED', 'interrupted', { cause: error }) : error
      }
    }),
  )
  const version = versionOf(result.applied)
  if (!run.rollback) {
    const applied = new Set(result.applied)
    await parts.registry.recordChecksums(
      migrations.filter(migration => applied.has(migration.name)),
      run.allow,
    )
  }
  if (operationId !== undefined || version.hash !== tenant.migrationsHash || version.name !== tenant.schemaVersion) {
    await parts.registry.setSchemaVersion(tenant.id, version, operationId)
  }
  if (result.ran.length === 0) return { ...upToDate(tenant), from: result.from, to: result.to }
  return { status: run.rollback ? 'rolled_back' : 'migrated', from: result.from, to: result.to, applied: result.ran }
}

async function recordVersion(
  parts: Parts,
  tenant: Tenant,
  migrations: readonly Migration[],
  client: ConstructorParameters<typeof MigrationHistory>[0],
): Promise<void> {
  const applied = (await new MigrationHistory(client, historySchema(tenant)).read()).map(each => each.name)
  await parts.registry.setSchemaVersion(tenant.id, versionOf(applied), undefined)
  await parts.registry.recordChecksums(migrations.filter(migration => applied.includes(migration.name)))
}

function upToDate(tenant: Tenant): Omit<TenantOutcome, 'tenant' | 'durationMs'> {
  return { status: 'up_to_date', from: tenant.schemaVersion, to: tenant.schemaVersion, applied: [] }
}

/** A file that was applied somewhere and then changed would make tenants differ for ever. */
async function refuseChanged(parts: Parts, migrations: readonly Migration[]): Promise<void> {
  const known = await parts.registry.checksums()
  const changed = migrations.filter(({ name, checksum }) => (known.get(name) ?? checksum) !== checksum)
  if (changed.length === 0) return
  throw new TenancyError(
    'MIGRATION_CHANGED',
    `changed after having been applied: ${changed.map(({ file, name, checksum }) => `${file} (was ${known.get(name)?.slice(0, 12)}, is ${checksum.slice(0, 12)})`).join(', ')}`,
    {
      migration: changed[0]?.file,
      hint: 'restore the file and put the change into a new migration; --allow-changed accepts it as it is now',
    },
  )
}

function readLimits(parts: Parts, options: MigrateOptions): { lockTimeoutMs: number; statementTimeoutMs: number } {
  const { lockTimeoutMs, statementTimeoutMs } = parts.config.migrations
  return {
    lockTimeoutMs: duration('lockTimeout', options.lockTimeout) ?? lockTimeoutMs,
    statementTimeoutMs: duration('statementTimeout', options.statementTimeout) ?? statementTimeoutMs,
  }
}

function duration(option: string, value: string | number | undefined): number | undefined {
  if (value === undefined) return undefined
  const milliseconds = parseDuration(value)
  if (milliseconds !== null) return milliseconds
  throw new TenancyError('USAGE', `${option}: expected a duration such as 5s, found ${JSON.stringify(value)}`)
}

/** Files that were not applied to any tenant yet. */
async function newMigrations(parts: Parts): Promise<Migration[]> {
  const known = await parts.registry.checksums()
  return (await parts.migrations()).filter(({ name }) => !known.has(name))
}

async function refuseDangerous(parts: Parts): Promise<void> {
  const findings = await lintMigrations(await newMigrations(parts))
  const [first] = findings
  if (!first) return
  const list = findings.map(({ migration, line, message, rule }) => `${migration}, line ${line}: ${message} (${rule})`)
  throw new TenancyError('MIGRATIONS_UNSAFE', list.join('\n'), {
    migration: first.migration,
    line: first.line,
    hint: `${first.safer}; a comment "-- migrate:allow ${first.rule}" above the statement says that it is meant so`,
  })
}
