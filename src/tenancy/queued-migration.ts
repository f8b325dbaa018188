import { v4 as uuid, v5 as uuidOf } from 'uuid'
import { asTenancyError, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import { groupFailures } from '../fleet/failures.ts'
import type { FleetResult } from '../fleet/result.ts'
import { planRollout } from '../fleet/rollout.ts'
import type { Selection } from '../fleet/selection.ts'
import { findMigration } from '../migrations/source.ts'
import { hashesFrom } from '../migrations/states.ts'
import { type JobPayload, PutBack } from '../queue/job.ts'
import type { JobResult } from '../queue/job-queue.ts'
import type { BegunJob } from '../queue/worker.ts'
import type { Visited } from '../registry/fleet-registry.ts'
import { refuseDangerous } from './dangerous.ts'
import { readDuration } from './durations.ts'
import { runOverTenants, type SurveyedFleet, surveyTenants, type Work } from './fleet.ts'
import { KnownFiles } from './known-files.ts'
import {
  filesHash,
  type MigrationOrder,
  refuseOtherFiles,
  type TenantOrder,
  type VisitOrder,
} from './migration-order.ts'
import { type MigrateOptions, readLimits, wantedOf } from './migrations.ts'
import type { Parts } from './parts.ts'
import { RemoteVisits } from './remote-visits.ts'

/** As for `migrations.run`, but for a plan; what ends a run early is `cancel` of the queue. */
export type QueuedMigrateOptions = Omit<MigrateOptions, 'plan' | 'signal' | 'drain' | 'onEvent'>

/** Another one leads the run, or has just died. */
const ledMs = 5_000
/** Of visits; any constant will do. */
const namespace = '6e0d5bd0-0d4c-4f0e-9f0b-3f6f5f0c6a51'

/** Refuses what `migrations.run` refuses before its first tenant, and writes the run down before its job. */
export async function queueMigration(
  parts: Parts,
  selection: Selection | null,
  options: QueuedMigrateOptions,
): Promise<{ run: string; jobId: string; total: number; upToDate: number }> {
  const migrations = await parts.migrations()
  const wanted = await wantedOf(parts, selection, options)
  if (wanted.to !== undefined) findMigration(migrations, wanted.to)
  if (options.strict) await refuseDangerous(parts)
  await KnownFiles.read(parts.checksums, migrations, options)
  const { items, settled } = await surveyTenants(
    parts,
    wanted.selection,
    options.verify ? [] : hashesFrom(migrations, wanted.to),
  )
  const order = await orderOf(parts, wanted, options)
  planRollout(items.length, order.rollout)
  const jobId = uuid()
  const total = items.length + settled.length
  const run = await parts.ledger.queue(
    { command: 'migrate', parameters: wanted.parameters, total, upToDate: settled.length },
    jobId,
  )
  await parts.jobs.put('migrate', jobId, { run, options: order })
  return { run, jobId, total, upToDate: settled.length }
}

async function orderOf(
  parts: Parts,
  { selection, to }: { selection: Selection; to: string | undefined },
  options: QueuedMigrateOptions,
): Promise<MigrationOrder> {
  const { concurrency, concurrencyPerServer, canary, bake, maxFailures, retries, runTimeout } = options
  const { fleet } = parts.config
  readDuration('bake', bake)
  readDuration('runTimeout', runTimeout)
  return {
    selection,
    to,
    verify: options.verify ?? false,
    allowChanged: options.allowChanged ?? false,
    rollout: {
      ...{ canary, bake, retries, runTimeout },
      concurrency: concurrency ?? fleet.concurrency ?? undefined,
      concurrencyPerServer: concurrencyPerServer ?? fleet.concurrencyPerServer ?? undefined,
      maxFailures: maxFailures ?? fleet.maxFailures ?? undefined,
    },
    ...readLimits(parts, options),
    timeoutMs: readDuration('timeout', options.timeout),
    files: await filesHash(parts),
  }
}

/**
 * Leads a rollout: decides, as `migrations.run` would, which tenant is begun when and when the end has come, and leaves
 * the tenants themselves to the workers. `ending` fires when this process has to go: another worker takes the run up.
 */
export async function leadMigration(
  parts: Parts,
  payload: JobPayload,
  job: BegunJob,
  { ending, onEvent }: { ending: AbortSignal; onEvent: Listener | undefined },
): Promise<object> {
  const run = payload.run as string
  const order = payload.options as MigrationOrder
  await refuseOtherFiles(parts, order)
  const migrations = await parts.migrations()
  const hashes = order.verify ? [] : hashesFrom(migrations, order.to)
  const [files, survey, earlier] = await Promise.all([
    KnownFiles.read(parts.checksums, migrations, order),
    surveyTenants(parts, order.selection, hashes),
    parts.jobs.ofRun(run),
  ])
  const fleet = withBegun(survey, earlier)
  const open = await parts.ledger.lead(run)
  if (!open) {
    // Its leader died between the end in the ledger and that of the job, or lives still.
    if ((await parts.ledger.get(run)).finishedAt !== null) return {}
    throw new PutBack({ code: 'TENANT_LOCKED', message: `another worker leads run ${run}` }, ledMs)
  }
  const visits = new RemoteVisits(parts.jobs, earlier, error =>
    notify(onEvent, { event: 'notice', message: asTenancyError(error).message }),
  )
  const handOver = new AbortController()
  const abandon = () => {
    // First: to the engine a run that is abandoned looks like one that wants no further tenant.
    visits.close()
    handOver.abort(new PutBack(null))
  }
  ending.addEventListener('abort', abandon)
  if (ending.aborted) abandon()
  const named = 'tenants' in order.selection
  const work: Work<Visited> = async (item, visit) => {
    const tenant = { run, tenantId: item.id, tenant: item.slug }
    const { attempt, canary, notes } = visit
    const options: TenantOrder = { ...visitOrder(order), server: item.server, attempt, canary, notes, named }
    const answer = await visits.ask(uuidOf(`${run} ${item.id} ${attempt}`, namespace), { ...tenant, options }, visit)
    if (!answer) return undefined
    Object.assign(notes, answer.notes)
    // So that an error in a file that has worked elsewhere is known to be the tenant's own.
    await files.record(notes.applied ?? [])
    if ('outcome' in answer) return answer.outcome
    const { code, message, ...facts } = answer.error
    throw new TenancyError(code, message, facts)
  }
  try {
    return await runOverTenants(parts, 'migrate', fleet.items, { ...order.rollout, drain: job.stop, onEvent }, work, {
      run: open,
      abandon: handOver.signal,
      settled: fleet.settled,
      untried: files.hasNew(order.to === undefined ? undefined : findMigration(migrations, order.to)),
      hasWorked: error => files.hasWorked(error),
    })
  } finally {
    visits.close()
    ending.removeEventListener('abort', abandon)
  }
}

/** Tenants that an earlier leader has begun belong to the run, also when they need nothing any more. */
function withBegun({ items, settled }: SurveyedFleet, earlier: readonly JobResult[]) {
  const begun = new Map(
    earlier.map(({ payload }): [string, Visited] => {
      const { tenantId: id = '', tenant: slug = '', options } = payload
      return [slug, { id, slug, server: (options as TenantOrder).server }]
    }),
  )
  const all = [...items.filter(({ slug }) => !begun.has(slug)), ...begun.values()]
  return {
    items: all.sort((a, b) => (a.slug < b.slug ? -1 : 1)),
    settled: settled.filter(({ tenant }) => !begun.has(tenant)),
  }
}

function visitOrder({ to, allowChanged, lockTimeoutMs, statementTimeoutMs, timeoutMs, files }: VisitOrder): VisitOrder {
  return { to, allowChanged, lockTimeoutMs, statementTimeoutMs, timeoutMs, files }
}

/** Ends a run whose job will not be taken any more. */
export async function giveUpRun(parts: Parts, run: string): Promise<void> {
  const left = (await parts.jobs.ofRun(run)).filter(({ state }) => state === 'created' || state === 'retry')
  await parts.jobs.withdraw(
    'migrate-tenant',
    left.map(({ id }) => id),
  )
  await parts.ledger.giveUp(run)
}

/** What a run came to, from the ledger: for one whose leader could not leave its result. Tenants that needed nothing
 * and those that it did not come to are counted only. */
export async function recordedResult(parts: Parts, id: string): Promise<FleetResult> {
  const run = await parts.ledger.details(id)
  const { command, total, succeeded, upToDate, failed, skipped, stopped, startedAt, finishedAt } = run
  const tenants = run.tenants.flatMap(({ tenant, status, from, to, applied, durationMs, error }) => {
    if (status === 'interrupted') return []
    return [{ tenant, status, from, to, applied, durationMs: durationMs ?? 0, ...(error ? { error } : {}) }]
  })
  const failures = groupFailures(tenants.filter(({ status }) => status === 'failed'))
  return {
    ...{ command, total, succeeded, upToDate, failed, skipped },
    durationMs: Date.parse(finishedAt ?? startedAt) - Date.parse(startedAt),
    run: run.id,
    ...(stopped === null ? {} : { stopped }),
    ...(failures.length > 0 ? { failures } : {}),
    tenants,
  }
}
