import type { ErrorReport } from '../errors.ts'
import type { FleetCommand } from '../events.ts'

/** How a tenant is told of that a fleet command has changed or looked at. */
export type ChangedStatus =
  | 'created'
  | 'migrated'
  | 'rolled_back'
  | 'seeded'
  | 'dropped'
  | 'suspended'
  | 'resumed'
  | 'protected'
  | 'unprotected'
  | 'rotated'
  | 'purged'
  | 'repaired'
  | 'baselined'
  | 'checked'

/** What became of one tenant in a fleet command. */
export interface TenantOutcome {
  tenant: string
  status: ChangedStatus | 'up_to_date' | 'failed' | 'skipped'
  from?: string | null
  to?: string | null
  /** Names of the migrations or seeds that ran. */
  applied?: string[]
  pending?: string[]
  /** Of a status: applied migrations that the folder lacks, where there are any. */
  missing?: string[]
  durationMs?: number
  /** Attempts that were made, when it was not the first that decided. */
  attempts?: number
  /** Of a drop: until when the data is kept. */
  retainedUntil?: string
  /** Of a drop: path of the verified dump. */
  backup?: string
  /** Of a create from a file: the line of its row. */
  line?: number
  /** Of a purge, since several dropped tenants may have had one slug. */
  id?: string
  error?: ErrorReport
  reason?: string
}

/** Tenants that failed alike. */
export interface FailureGroup {
  count: number
  code: ErrorReport['code']
  /** Of the first of them; names of the tenant in it are replaced by `…`. */
  message: string
  sqlstate?: string
  migration?: string
  line?: number
  /** What to do next, where it is the same for all of them. */
  hint?: string
  /** At most five of them. */
  tenants: string[]
}

/** What a fleet command returns, also when tenants failed; `succeeded` counts changed ones. */
export interface FleetResult {
  command: FleetCommand
  total: number
  succeeded: number
  upToDate: number
  failed: number
  skipped: number
  durationMs: number
  /** Id in the ledger, for `runs show`, `--failed-of` and `rollback --run`; absent for what changes nothing. */
  run?: string
  /** Why tenants were left out that the run would have come to; absent when it came to all of them. */
  stopped?: string
  /** The failures by what they have in common, most frequent first; absent when there were none. */
  failures?: FailureGroup[]
  tenants: TenantOutcome[]
}
