import type { ErrorReport } from '../errors.ts'
import type { FleetCommand } from '../events.ts'
import type { TenantOutcome } from '../fleet/result.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'

/**
 * `queued`: waits for a worker to lead it, at first or after the death of the one that did. `interrupted`: somebody
 * stopped it, or its process died.
 */
export type RunStatus = 'queued' | 'running' | 'succeeded' | 'failed' | 'interrupted'

/** One recorded fleet command. */
export interface Run {
  id: string
  command: FleetCommand
  status: RunStatus
  /** What was asked for: the selection and the options that decide what is done. */
  parameters: Record<string, unknown>
  /** Who: `user@host`, and the process id there. */
  actor: string
  pid: number
  total: number
  succeeded: number
  upToDate: number
  failed: number
  skipped: number
  /** Why tenants were left out; null when none was. */
  stopped: string | null
  /** Of the job by which workers do it; null for a run of one process. */
  jobId: string | null
  /** When it was begun, or queued. */
  startedAt: string
  finishedAt: string | null
}

/** What became of one tenant in a run. Tenants that needed nothing have no row. */
export interface RunTenant {
  tenant: string
  tenantId: string | null
  /** As in the outcome; `interrupted` when the run died while it was at work on the tenant. */
  status: TenantOutcome['status'] | 'interrupted'
  attempts: number
  from: string | null
  to: string | null
  applied: string[]
  durationMs: number | null
  error: ErrorReport | null
  errorClass: ErrorClass | null
  finishedAt: string | null
}

/** A run with what became of its tenants. */
export interface RunDetails extends Run {
  tenants: RunTenant[]
}

/** Runs that match all of these. */
export interface RunFilter {
  command?: FleetCommand | undefined
  status?: RunStatus | undefined
  limit?: number | undefined
}
