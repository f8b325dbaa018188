import { TenancyError } from '../errors.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { type LintFinding, lintMigrations } from '../lint/lint.ts'
import type { RollbackTarget } from '../migrations/plan.ts'
import { findMigration, type Migration, readMigrations } from '../migrations/source.ts'
import { hashesFrom } from '../migrations/states.ts'
import type { LoadedTenant, Visited } from '../registry/fleet-registry.ts'
import { type ConfirmedOptions, refuseOthers } from './confirmed.ts'
import { newMigrations, refuseDangerous } from './dangerous.ts'
import { readDuration } from './durations.ts'
import {
  type FleetOptions,
  runOverTenants,
  type SurveyedFleet,
  surveyTenants,
  type TenantVisit,
  unlessActive,
} from './fleet.ts'
import { KnownFiles } from './known-files.ts'
import { type MigrationRun, migrateTenant, type Outcome, readStatus } from './migrate-tenant.ts'
import type { LazyParts, Parts } from './parts.ts'
import { type PendingPlan, type PlanFile, type PlanOptions, planFile, planFleet, refuseStale } from './plan.ts'
import { changesOf, selectionOf } from './recorded-run.ts'
import { lastingSelection, selectTenants } from './select.ts'
import { type FleetSummary, summarize } from './summary.ts'

/** How far a fleet is migrated, and how. */
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
  /** Do what was planned, and refuse when files or tenants are not what they were. The selection is the plan's. */
  plan?: PlanFile | undefined
  /** Take up a recorded run that was interrupted or failed: its selection and its target. */
  resume?: string | undefined
  /** Go on although a file has changed since it was applied somewhere. Default: false. */
  allowChanged?: boolean | undefined
}

/** How far back: to a migration that stays, by so many steps, or by exactly what a recorded run did. */
export type RollbackOptions = Omit<MigrateOptions, 'to' | 'plan' | 'resume'> &
  Pick<ConfirmedOptions, 'expect'> &
  ({ to: string } | { steps: number } | { run: string })

/** The tenants' schemas. */
export class TenantMigrations {
  /** @internal */
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

  /**
   * Applies pending migrations. Returns also when tenants failed; throws when the run itself cannot go. The selection
   * is left out with `plan` and `resume`, which have their own.
   */
  async run(selection: Selection | null, options: MigrateOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const wanted = await wantedOf(parts, selection, options)
    const last = wanted.to === undefined ? undefined : findMigration(migrations, wanted.to)
    if (options.strict) await refuseDangerous(parts)
    const current = hashesFrom(migrations, wanted.to)
    const hashes = options.verify ? [] : current
    const check = options.plan && (await refuseStale(parts, options.plan, migrations))
    // One after the other: where nothing is pending, a second connection would cost more than all else.
    const files = await KnownFiles.read(parts.checksums, migrations, options)
    const fleet = await surveyTenants(parts, wanted.selection, hashes)
    const run: MigrationRun = {
      ...readLimits(parts, options),
      ...{ files, current, to: wanted.to },
      onEvent: onEventOf(parts, options),
    }
    return runOverTenants(
      parts,
      'migrate',
      fleet.items,
      options,
      visitor(fleet, wanted.selection, async (tenant, visit) => {
        // Another run may have been here since the survey.
        if (tenant.migrationsHash !== null && hashes.includes(tenant.migrationsHash)) return upToDate(tenant)
        return migrateTenant(parts, tenant, check ? { ...run, check: check(tenant) } : run, visit)
      }),
      {
        ...{ parameters: wanted.parameters, settled: fleet.settled, untried: files.hasNew(last) },
        hasWorked: error => files.hasWorked(error),
      },
    )
  }

  /** What `run` would do, without doing it: from the registry, and by asking the databases it knows too little of. */
  async plan(selection: Selection, options: PlanOptions = {}): Promise<PendingPlan[]> {
    const parts = await this.parts.get()
    if (options.strict) await refuseDangerous(parts)
    return planFleet(parts, selection, options)
  }

  /** The same as a file that can be reviewed, for `run` with `plan`. */
  async planFile(selection: Selection, options: PlanOptions = {}): Promise<PlanFile> {
    const parts = await this.parts.get()
    if (options.strict) await refuseDangerous(parts)
    return planFile(parts, selection, options)
  }

  /**
   * Runs `down` in reverse: so many steps, back to a migration that stays applied, or exactly what a recorded run
   * changed, on just the tenants it changed (`null` selects all of these). Throws `MIGRATION_OUT_OF_ORDER` when newer
   * migrations came after that run.
   */
  async rollback(selection: Selection | null, options: RollbackOptions): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const changes = 'run' in options ? await changesOf(parts, options.run, selection) : undefined
    const chosen = changes?.selection ?? selection
    if (chosen === null) throw new TenancyError('USAGE', 'rollback needs a selection of tenants')
    if (options.expect !== undefined && selection) {
      refuseOthers(options.expect, await selectTenants(parts, selection), 'nothing was rolled back')
    }
    const target = changes ? undefined : readTarget(migrations, options)
    const [files, fleet] = await Promise.all([
      KnownFiles.look(parts.checksums, migrations),
      surveyTenants(parts, chosen),
    ])
    const run = { ...readLimits(parts, options), files, onEvent: onEventOf(parts, options) }
    const parameters = {
      selection: await lastingSelection(parts, selection),
      ...(changes ? { run: changes.run } : target),
    }
    const work = visitor(fleet, chosen, async (tenant, visit) => {
      const rollback = target ?? { names: changes?.names.get(tenant.id) ?? [] }
      try {
        return await migrateTenant(parts, tenant, { ...run, rollback }, visit)
      } catch (error) {
        if (!isBehind(error, tenant, rollback, migrations) || 'tenants' in chosen) throw error
        return { status: 'skipped', reason: (error as TenancyError).message }
      }
    })
    return runOverTenants(parts, 'rollback', fleet.items, options, work, { parameters, untried: true })
  }

  /**
   * Records migrations up to and including `to` as applied without running them, for databases that have their schema
   * from elsewhere. Throws `MIGRATION_NOT_FOUND`.
   */
  async baseline(selection: Selection, options: FleetOptions & { to: string }): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const to = findMigration(migrations, options.to).name
    const [files, fleet] = await Promise.all([
      KnownFiles.read(parts.checksums, migrations),
      surveyTenants(parts, selection),
    ])
    const run: MigrationRun = {
      ...readLimits(parts, {}),
      files,
      to,
      baseline: true,
      onEvent: onEventOf(parts, options),
    }
    const work = visitor(fleet, selection, (tenant, visit) => migrateTenant(parts, tenant, run, visit))
    return runOverTenants(parts, 'baseline', fleet.items, options, work, { parameters: { selection, to } })
  }

  /** Applied and pending migrations, as the databases themselves tell. */
  async status(selection: Selection, options: FleetOptions = {}): Promise<FleetResult> {
    const parts = await this.parts.get()
    const migrations = await parts.migrations()
    const fleet = await surveyTenants(parts, selection)
    const work = visitor(fleet, selection, async (tenant, { signal }) => {
      const { applied, pending, missing } = await readStatus(parts, tenant, migrations, { signal })
      const status = pending.length + missing.length > 0 ? 'checked' : 'up_to_date'
      return { status, to: applied.at(-1) ?? null, applied, pending, ...(missing.length > 0 ? { missing } : {}) }
    })
    return runOverTenants(parts, 'status', fleet.items, options, work)
  }

  /** A fleet at a glance, from the registry alone: versions, states, and what failed last. */
  async summary(selection: Selection): Promise<FleetSummary> {
    return summarize(await this.parts.get(), selection)
  }
}

export interface Wanted {
  selection: Selection
  to: string | undefined
  parameters: object
}

/** What is asked for, and how the ledger tells it: the selection given, or that of a plan or of a recorded run. */
export async function wantedOf(parts: Parts, selection: Selection | null, options: MigrateOptions): Promise<Wanted> {
  const { to, plan, resume } = options
  if (resume !== undefined) {
    const recorded = await selectionOf(parts, resume, 'migrate')
    const target = to ?? recorded.to
    return {
      ...recorded,
      to: target,
      parameters: { selection: recorded.selection, to: target, resumes: recorded.run },
    }
  }
  if (plan) {
    const tenants = plan.tenants.map(tenant => tenant.id)
    return { selection: { tenants }, to: plan.to ?? undefined, parameters: { plan: plan.createdAt, to: plan.to } }
  }
  if (selection === null) throw new TenancyError('USAGE', 'migrate needs a selection of tenants')
  // Later, "last" would be this very run.
  const lasting = await lastingSelection(parts, selection)
  return { selection: lasting, to, parameters: { selection: lasting, to } }
}

/** Reads the tenant of each visit, and leaves out those that are gone or not active. */
export function visitor(
  fleet: SurveyedFleet,
  selection: Selection,
  work: (tenant: LoadedTenant, visit: TenantVisit) => Promise<Outcome>,
): (item: Visited, visit: TenantVisit) => Promise<Outcome> {
  const attempt = async (tenant: LoadedTenant | undefined, visit: TenantVisit): Promise<Outcome> => {
    if (!tenant) return { status: 'skipped', reason: 'it was dropped meanwhile' }
    return unlessActive(tenant, selection) ?? (await work(tenant, visit))
  }
  return async (item, visit) => {
    const tenant = await fleet.loader.get(item)
    try {
      return await attempt(tenant, visit)
    } catch (error) {
      // What was read some visits ago may have changed: a new password, a tenant suspended or dropped.
      if (!(error instanceof TenancyError) || !refusals.includes(error.code) || visit.signal.aborted) throw error
      const now = await fleet.loader.reload(item.id)
      if (now?.updatedAt === tenant?.updatedAt) throw error
      return await attempt(now, visit)
    }
  }
}

/** How a login fails when the tenant is not any more what it was. */
const refusals = ['AUTHENTICATION_FAILED', 'PRIVILEGES_INSUFFICIENT', 'QUERY_FAILED'] as string[]

function upToDate(tenant: LoadedTenant): Outcome {
  return { status: 'up_to_date', from: tenant.schemaVersion, to: tenant.schemaVersion, applied: [] }
}

function readTarget(migrations: readonly Migration[], options: RollbackOptions): RollbackTarget {
  if ('to' in options) {
    findMigration(migrations, options.to)
    return { to: options.to }
  }
  if (!('steps' in options) || !Number.isInteger(options.steps) || options.steps < 1) {
    throw new TenancyError('USAGE', 'steps: expected a whole number from 1 on')
  }
  return { steps: options.steps }
}

/** A tenant that has not come as far as the others are to go back: of a fleet it is left out. */
function isBehind(error: unknown, tenant: LoadedTenant, target: RollbackTarget, migrations: readonly Migration[]) {
  if (!(error instanceof TenancyError) || error.code !== 'MIGRATION_OUT_OF_ORDER' || !('to' in target)) return false
  const at = migrations.findIndex(({ name }) => name === tenant.schemaVersion)
  return at < migrations.indexOf(findMigration(migrations, target.to))
}

function onEventOf(parts: Parts, options: FleetOptions): FleetOptions['onEvent'] {
  return options.onEvent ?? parts.config.onEvent
}

export function readLimits(parts: Parts, options: Pick<MigrateOptions, 'lockTimeout' | 'statementTimeout'>) {
  const { lockTimeoutMs, statementTimeoutMs } = parts.config.migrations
  return {
    lockTimeoutMs: readDuration('lockTimeout', options.lockTimeout) ?? lockTimeoutMs,
    statementTimeoutMs: readDuration('statementTimeout', options.statementTimeout) ?? statementTimeoutMs,
  }
}
