import { asTenancyError, TenancyError, throwIfAborted } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { Migration } from '../migrations/source.ts'
import type { Client } from '../postgres/connect.ts'
import type { AdminFacts } from '../postgres/server.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { TenantLogin } from '../registry/tenant-registry.ts'
import type { KnownLogin } from './as-tenant.ts'
import type { Origin } from './copy.ts'
import type { ProvisioningParts } from './parts.ts'
import type { StepLog } from './step-log.ts'

/** A tenant and the session that holds its lock. */
export interface TenantOnServer {
  parts: ProvisioningParts
  tenant: Tenant
  /** Session in the server's maintenance database that holds the tenant's lock. */
  admin: Client
  adminFacts: AdminFacts
  /** Written on everything that is made for the tenant, and looked for before anything is touched. */
  marker: string
}

/** What the steps of one operation work with. */
export interface StepContext extends TenantOnServer {
  operationId: string
  log: StepLog
  /** Of the step that runs. */
  position: number
  /** Passwords that are known without asking the registry. */
  logins: Map<TenantLogin, KnownLogin>
  /**
   * This run has reserved the tenant, and nothing of it was there then: what the run has not made itself need not be
   * looked for.
   */
  fresh: boolean
  /** Whether seeds are wanted. */
  seed: boolean
  /** Whether its database may be copied from a template instead of being made from nothing. */
  useTemplate: boolean
  /** What the database was copied from, null for nothing; undefined until `originOf` has looked it up. */
  origin: Origin | null | undefined
  /** This run has made the database, as a copy that its roles were let into at once and have not taken over yet. */
  isNewCopy: boolean
  /** Kept when the tenant's last session has ended that was not waited for. */
  leaving: Promise<void> | undefined
  /** The migrations that its database has, to be recorded when it becomes active; undefined when they are already. */
  applied: readonly Migration[] | undefined
  /** Whether a drop may end open connections. */
  force: boolean
  signal: AbortSignal | undefined
  onEvent: Listener | undefined
}

/** A piece of the pipeline. All of it can be run twice, and after a crash at any point. */
export type ProvisioningStep = Undoable & (Applied | Planned | Prepared)

interface Undoable {
  name: string
  isDone(context: StepContext): Promise<boolean>
  /** Takes back what the step made, and nothing that it did not make. */
  undo(context: StepContext): Promise<unknown>
}

interface Applied {
  apply(context: StepContext): Promise<unknown>
  /** It is one transaction of the registry, which writes down its own end (`StepLog.writeWith`). Default: false. */
  records?: true
}

interface Planned {
  /** Looks, and decides; does nothing to the tenant yet. */
  plan(context: StepContext): Promise<StepPlan>
}

interface Prepared {
  /** Makes its way while its beginning is written down, and changes nothing before `begun` says that it is. */
  applyOnce(context: StepContext, begun: Promise<void>): Promise<unknown>
}

interface StepPlan {
  /** What recovery must know, written down with the beginning of the step. */
  note: object | undefined
  apply(): Promise<unknown>
}

/**
 * Applies the steps in order, each written down before it is done; what is done already is only looked at. `from` is
 * the number of steps that came before.
 */
export async function applySteps(steps: readonly ProvisioningStep[], context: StepContext, from = 0): Promise<void> {
  await runSteps(steps, context, from, 'done', async step => {
    if (await step.isDone(context)) return true
    const { log, position } = context
    if ('plan' in step) {
      const { note, apply } = await step.plan(context)
      await log.begin(position, step.name, note)
      await apply()
    } else if ('applyOnce' in step) {
      const begun = log.begin(position, step.name)
      // Whoever waits for it is told.
      begun.catch(() => undefined)
      await step.applyOnce(context, begun).finally(() => begun)
    } else {
      if (!step.records) await log.begin(position, step.name)
      await step.apply(context)
    }
    return false
  })
}

/** Undoes the steps in reverse, each written down before it is undone. */
export async function undoSteps(steps: readonly ProvisioningStep[], context: StepContext, from = 0): Promise<void> {
  await runSteps(steps.toReversed(), context, from, 'undone', async step => {
    await context.log.begin(context.position, step.name)
    await step.undo(context)
    return false
  })
}

async function runSteps(
  steps: readonly ProvisioningStep[],
  context: StepContext,
  from: number,
  outcome: 'done' | 'undone',
  run: (step: ProvisioningStep) => Promise<boolean>,
): Promise<void> {
  const { operationId, onEvent, log } = context
  const tenant = context.tenant.slug
  for (const [index, step] of steps.entries()) {
    const position = from + index
    const startedAt = performance.now()
    context.position = position
    notify(onEvent, { event: 'step_started', tenant, step: step.name, operationId })
    try {
      throwIfAborted(context.signal)
      const skipped = await run(step)
      if (outcome === 'undone' || !('records' in step)) log.end(position, step.name, outcome)
      const durationMs = Math.round(performance.now() - startedAt)
      notify(onEvent, { event: 'step_finished', tenant, step: step.name, operationId, durationMs, skipped })
    } catch (error) {
      // The registry itself may be what failed: then the step stays "started", which says as much.
      await log.fail(position, step.name).catch(() => undefined)
      throw stepError(error, step, context)
    }
  }
  await log.flush()
}

function stepError(error: unknown, step: ProvisioningStep, context: StepContext): TenancyError {
  const facts = { tenant: context.tenant.slug, step: step.name, operationId: context.operationId }
  // A statement that we cancelled ourselves did not time out.
  if (context.signal?.aborted) {
    return new TenancyError('ABORTED', `interrupted in step "${step.name}"`, { ...facts, cause: error })
  }
  const known = asTenancyError(error).with(facts)
  return new TenancyError(known.code, `step "${step.name}" failed: ${known.message}`, {
    ...facts,
    hint: known.hint,
    migration: known.migration,
    line: known.line,
    sqlstate: known.sqlstate,
    detail: known.detail,
    cause: error,
  })
}
