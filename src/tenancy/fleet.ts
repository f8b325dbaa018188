import { asTenancyError, type ErrorReport, isTenancyError, TenancyError } from '../errors.ts'
import { type FleetCommand, type Listener, notify } from '../events.ts'
import { mostAtOnce } from '../fleet/plan-lanes.ts'
import type { FleetResult, TenantOutcome } from '../fleet/result.ts'
import type { RolloutOptions } from '../fleet/rollout.ts'
import { type FleetRunOptions, runFleet, type Visit } from '../fleet/run-fleet.ts'
import type { Selection } from '../fleet/selection.ts'
import { bookkeepingTimeoutMs } from '../migrations/migrate.ts'
import { type Client, withAdmin, withClient } from '../postgres/connect.ts'
import { spareConnections } from '../postgres/server.ts'
import { classOf } from '../postgres/sqlstate.ts'
import type { LoadedTenant, Visited } from '../registry/fleet-registry.ts'
import type { OpenRun } from '../registry/open-run.ts'
import type { OperationKind } from '../registry/operation.ts'
import { defaultServer } from '../registry/servers.ts'
import { inactiveCodes, type Tenant } from '../registry/tenant.ts'
import { readDuration } from './durations.ts'
import type { Parts } from './parts.ts'
import { lastingSelection, refuseUnknownServer } from './select.ts'
import { TenantLoader } from './tenant-loader.ts'

/** How a fleet command goes about its tenants, and how to follow and to end it. */
export interface FleetOptions extends Omit<RolloutOptions, 'timeoutMs' | 'runTimeoutMs' | 'bakeMs'> {
  /** How long one tenant may take: milliseconds or `'5m'`. Default: as long as it wants. */
  timeout?: string | number | undefined
  /** How long the whole run may take; then statements are cancelled and the rest is skipped. Default: no limit. */
  runTimeout?: string | number | undefined
  /** How long to wait between the canary group and the others. Default: not at all. */
  bake?: string | number | undefined
  /** Begins no further tenant; those at work end as they end. */
  drain?: AbortSignal | undefined
  /** Cancels running statements and begins no further tenant. */
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

/** What the work on one tenant gets to know. */
export interface TenantVisit extends Visit {
  /** The run in the ledger; undefined for commands that change nothing. */
  run: string | undefined
}

export type Work<T> = (item: T, visit: TenantVisit) => Promise<Omit<TenantOutcome, 'tenant'> | undefined>

interface FleetDetails {
  /** A run that is open already. */
  run?: OpenRun
  /** Leaves the run as it stands, for somebody else to take up. */
  abandon?: AbortSignal
  /** For the ledger: what decides what is done. Never a secret. */
  parameters?: object
  /** Whether the ledger is told at all. Default: true, but for commands that change nothing. */
  recorded?: boolean
  /** Outcomes of tenants that need no visit. */
  settled?: readonly TenantOutcome[]
  hasWorked?: (error: ErrorReport) => boolean
  /** Whether it may fail for everybody: the first tenant goes ahead for a moment. Default: false. */
  untried?: boolean
}

/** These leave nothing behind that a ledger would have to tell. */
const unrecorded: readonly FleetCommand[] = ['status', 'drift']
/** These work as the tenant alone; others hold an admin's session beside the tenant's. */
const asTenantAlone: readonly FleetCommand[] = ['migrate', 'rollback', 'seed', 'status', 'drift', 'baseline']
/** Milliseconds a second run waits for a tenant whose database a first one is changing. */
export const databaseWaitMs = 300_000
/** Connections that a run leaves to everybody else. */
const spared = 3

/** `runFleet` with what the configuration says where the options say nothing, written into the ledger of runs. */
export async function runOverTenants<T extends { slug?: string | undefined; id?: string; server?: string | undefined }>(
  parts: Parts,
  command: FleetCommand,
  items: readonly T[],
  options: FleetOptions,
  work: Work<T>,
  details: FleetDetails = {},
): Promise<FleetResult> {
  const { settled = [], parameters = {} } = details
  const total = items.length + settled.length
  const fleet = { ...fleetOptions(parts, options), abandon: details.abandon }
  const recorded = total > 0 && (details.recorded ?? !unrecorded.includes(command))
  const entry = { command, parameters, total, upToDate: settled.length }
  const open = details.run ?? (recorded && items.length > 0 ? await parts.ledger.begin(entry) : undefined)
  const run = open?.id ?? (recorded ? await parts.ledger.note(entry) : undefined)
  const capacity = async (server: string) => {
    const free = (await spare(parts, server)) - spared
    return asTenantAlone.includes(command) ? free : Math.floor(free / 2)
  }
  const atOnce = mostAtOnce(fleet, items.length)
  const allowances = [parts.admins.turns, parts.visits].map(turns => turns.allow(atOnce))
  let result: FleetResult
  try {
    result = await runFleet<T>({
      ...{ command, run, items, settled, options: fleet },
      slugOf: item => item.slug ?? '',
      serverOf: item => item.server ?? defaultServer,
      work: (item, visit) =>
        parts.visits.run(item.server ?? defaultServer, () => work(item, { ...visit, run }), visit.signal),
      classify: classOf,
      hasWorked: details.hasWorked,
      untried: details.untried,
      capacity: server => capacity(server).catch(() => undefined),
      onOutcome: (item, outcome, errorClass) => {
        if (outcome.status !== 'up_to_date') open?.record(item.id, outcome, errorClass)
      },
    })
  } catch (error) {
    await open?.abandon().catch(() => undefined)
    throw error
  } finally {
    for (const end of allowances) end()
  }
  await open?.finish(result, options.signal?.aborted === true || options.drain?.aborted === true).catch(error => {
    const message = `the end of run ${run} could not be recorded: ${asTenancyError(error).message}`
    notify(fleet.onEvent, { event: 'notice', message })
  })
  return result
}

function fleetOptions(parts: Parts, options: FleetOptions): FleetRunOptions {
  const { fleet, onEvent } = parts.config
  const { timeout, runTimeout, bake, ...rest } = options
  return {
    ...rest,
    timeoutMs: readDuration('timeout', timeout),
    runTimeoutMs: readDuration('runTimeout', runTimeout),
    bakeMs: readDuration('bake', bake),
    concurrency: options.concurrency ?? fleet.concurrency ?? undefined,
    concurrencyPerServer: options.concurrencyPerServer ?? fleet.concurrencyPerServer ?? undefined,
    maxFailures: options.maxFailures ?? fleet.maxFailures ?? undefined,
    onEvent: options.onEvent ?? onEvent,
  }
}

/** The registry's own server is asked over the connection that is open anyway. */
async function spare(parts: Parts, server: string): Promise<number> {
  if (server === defaultServer) return parts.fleet.spareConnections()
  return withAdmin(parts.servers.admin(server), {}, spareConnections)
}

/** The tenants of a selection that have to be visited, and the others' outcomes. */
export interface SurveyedFleet {
  items: readonly Visited[]
  settled: TenantOutcome[]
  loader: TenantLoader
}

/**
 * Looks over a selection: active tenants whose applied migrations have one of these hashes need no visit. Throws
 * `TENANT_NOT_FOUND` for a tenant that is named and not there, `RUN_NOT_FOUND` for a run, `SERVER_NOT_FOUND`.
 */
export async function surveyTenants(
  parts: Parts,
  selection: Selection,
  hashes: readonly string[] = [],
): Promise<SurveyedFleet> {
  const survey = await parts.fleet.survey(await lastingSelection(parts, selection), hashes)
  if (survey.current.length + survey.others.length === 0) refuseUnknownServer(parts, selection)
  const settled = survey.current.flatMap(({ version, slugs }) =>
    slugs.map((tenant): TenantOutcome => ({ tenant, status: 'up_to_date', from: version, to: version, applied: none })),
  )
  if ('tenants' in selection) {
    const found = new Set([...settled.map(each => each.tenant), ...survey.others.flatMap(({ id, slug }) => [id, slug])])
    for (const each of new Set(selection.tenants)) {
      if (!found.has(each) && !found.has(each.toLowerCase())) await parts.registry.get(each)
    }
  }
  return { items: survey.others, settled, loader: new TenantLoader(parts.fleet, survey.others) }
}

/** One for thousands of outcomes. */
const none: string[] = []

/** A connection as the tenant itself: whatever code it has planted in its database runs with its own rights. */
export async function asTenant<T>(
  parts: Parts,
  tenant: Tenant | LoadedTenant,
  options: { lockTimeoutMs?: number; signal?: AbortSignal | undefined },
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const credentials =
    'sealed' in tenant ? parts.fleet.credentials(tenant, 'migrator') : parts.registry.credentials(tenant, 'migrator')
  const address = parts.servers.tenant(tenant, await credentials)
  const settings = {
    lock_timeout: options.lockTimeoutMs ?? parts.config.migrations.lockTimeoutMs,
    statement_timeout: bookkeepingTimeoutMs,
  }
  const doing = `logging in to database "${tenant.database}" as role "${address.user}"`
  return withClient(address, { settings, signal: options.signal, doing }, work)
}

/** Writes an operation that locks the tenant's database into the journal, from where it begins to change something. */
export async function journaled<T>(
  parts: Parts,
  kind: OperationKind,
  tenant: Tenant,
  run: string | undefined,
  work: (begin: (parameters: object) => Promise<string>) => Promise<T>,
): Promise<T> {
  let operationId: string | undefined
  try {
    return await work(async parameters => {
      operationId = await parts.journal.begin(kind, tenant, parameters, run)
      return operationId
    })
  } catch (error) {
    if (operationId !== undefined) await parts.journal.fail(operationId, error).catch(() => undefined)
    throw isTenancyError(error) ? error.with({ operationId }) : error
  }
}

/**
 * What becomes of a tenant that is not active: left out of a fleet, but an error for whoever named it. Undefined for
 * one that is.
 */
export function unlessActive(tenant: Tenant, selection: Selection): { status: 'skipped'; reason: string } | undefined {
  const { slug, status } = tenant
  if (status === 'active') return undefined
  const message = `tenant "${slug}" is ${status}`
  if (!('tenants' in selection)) return { status: 'skipped', reason: message }
  const next = { suspended: 'resume', dropping: 'drop', failed: 'create', provisioning: 'create' }[status]
  throw new TenancyError(inactiveCodes[status], message, { tenant: slug, hint: `tenantctl ${next} ${slug}` })
}
