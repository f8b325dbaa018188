import { asTenancyError, TenancyError, throwIfAborted } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { Client } from '../postgres/connect.ts'
import type { AdminFacts } from '../postgres/server.ts'
import type { OperationJournal } from '../registry/operation-journal.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { Origin } from './copy.ts'
import type { ProvisioningParts } from './parts.ts'

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
  /** Of the step that runs. */
  position: number
  /** Whether seeds are wanted. */
  seed: boolean
  /** Whether its database may be copied from a template instead of being made from nothing. */
  useTemplate: boolean
  /** What the database was copied from, null for nothing; undefined until `originOf` has looked it up. */
  origin: Origin | null | undefined
  /** Whether a drop may end open connections. */
  force: boolean
  signal: AbortSignal | undefined
  onEvent: Listener | undefined
}

/** A piece of the pipeline. All three can be run twice, and after a crash at any point of them. */
export interface ProvisioningStep {
  name: string
  isDone(context: StepContext): Promise<boolean>
  apply(context: StepContext): Promise<void>
  /** Takes back what `apply` made, and nothing that it did not make. */
  undo(context: StepContext): Promise<void>
}

/** Applies the steps in order, each written down before it is done; `from` is the number of steps that came before. */
export async function applySteps(steps: readonly ProvisioningStep[], context: StepContext, from = 0): Promise<void> {
  await runSteps(steps, context, from, 'done', async step => {
    if (await step.isDone(context)) return true
    await step.apply(context)
    return false
  })
}

/** Undoes the steps in reverse, each written down before it is undone. */
export async function undoSteps(steps: readonly ProvisioningStep[], context: StepContext, from = 0): Promise<void> {
  await runSteps(steps.toReversed(), context, from, 'undone', async step => {
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
  const { journal } = context.parts
  const { operationId, onEvent } = context
  const tenant = context.tenant.slug
  for (const [index, step] of steps.entries()) {
    const position = from + index
    const startedAt = performance.now()
    context.position = position
    notify(onEvent, { event: 'step_started', tenant, step: step.name, operationId })
    try {
      throwIfAborted(context.signal)
      await journal.stepStarted(operationId, position, step.name)
      const skipped = await run(step)
      await journal.stepFinished(operationId, position, outcome)
      const durationMs = Math.round(performance.now() - startedAt)
      notify(onEvent, { event: 'step_finished', tenant, step: step.name, operationId, durationMs, skipped })
    } catch (error) {
      await failStep(journal, context, position)
      throw stepError(error, step, context)
    }
  }
}

/** The registry itself may be what failed: then the step stays "started", which says as much. */
async function failStep(journal: OperationJournal, context: StepContext, position: number): Promise<void> {
  await journal.stepFinished(context.operationId, position, 'failed').catch(() => undefined)
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
