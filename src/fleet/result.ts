import type { ErrorReport } from '../errors.ts'
import type { FleetCommand } from '../events.ts'

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
  durationMs?: number
  error?: ErrorReport
  reason?: string
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
  tenants: TenantOutcome[]
}
