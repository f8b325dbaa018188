import { TenancyError } from '../errors.ts'
import type { FleetCommand } from '../events.ts'
import type { Selection } from '../fleet/selection.ts'
import { cameAfter } from '../migrations/plan.ts'
import type { Run } from '../registry/run.ts'
import { surveyTenants } from './fleet.ts'
import type { Parts } from './parts.ts'

/** What a recorded run was asked to do, for one that takes it up. Throws `RUN_NOT_FOUND` or `RUN_UNSUITABLE`. */
export async function selectionOf(
  parts: Parts,
  id: string,
  command: FleetCommand,
): Promise<{ run: string; selection: Selection; to: string | undefined }> {
  const run = await parts.ledger.get(id)
  if (run.command !== command) throw unsuitable(run, `it was "${run.command}", not "${command}"`)
  refuseUnended(run)
  const { selection, to } = run.parameters as { selection?: Selection; to?: string | null }
  if (!selection) throw unsuitable(run, 'it followed a plan; give that plan again')
  return { run: run.id, selection, to: to ?? undefined }
}

interface RunChanges {
  run: string
  selection: { tenants: string[] }
  /** Names of the migrations that the run applied, by tenant id. */
  names: Map<string, string[]>
}

/**
 * What a run changed and no later run has changed again, on the tenants that are still there; `within` leaves out
 * others. Throws `MIGRATION_OUT_OF_ORDER` when a tenant has newer migrations: nothing is undone then.
 */
export async function changesOf(parts: Parts, id: string, within: Selection | null): Promise<RunChanges> {
  const run = await parts.ledger.get(id)
  if (run.command !== 'migrate')
    throw unsuitable(run, `only what "migrate" did can be undone, and it was "${run.command}"`)
  refuseUnended(run)
  const only = within && new Set((await surveyTenants(parts, within)).items.map(item => item.id))
  const changes = (await parts.ledger.changes(run.id)).filter(({ tenantId }) => only?.has(tenantId) ?? true)
  const order = (await parts.migrations()).map(migration => migration.name)
  const newer = new Map<string, string[]>()
  for (const { tenant, names, version } of changes) {
    const last = order.indexOf(names.at(-1) ?? '')
    const now = order.indexOf(version ?? '')
    if (last >= 0 && now > last) newer.set(tenant, order.slice(last + 1, now + 1))
  }
  if (newer.size > 0) {
    const tenants = [...newer.keys()]
    const few = tenants.slice(0, 5).join(', ') + (tenants.length > 5 ? ` and ${tenants.length - 5} more` : '')
    throw cameAfter([...new Set([...newer.values()].flat())], ` run ${run.id} on ${few}`)
  }
  return {
    run: run.id,
    selection: { tenants: changes.map(({ tenantId }) => tenantId) },
    names: new Map(changes.map(({ tenantId, names }) => [tenantId, names])),
  }
}

function refuseUnended(run: Run): void {
  if (run.status === 'running') throw unsuitable(run, 'it is still running')
  if (run.status === 'queued') throw unsuitable(run, 'it waits for a worker')
}

function unsuitable(run: Run, why: string): TenancyError {
  return new TenancyError('RUN_UNSUITABLE', `run ${run.id} cannot be taken: ${why}`, {
    hint: `\`tenantctl runs show ${run.id}\` tells what it did`,
  })
}
