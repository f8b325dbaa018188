import type { ErrorReport } from './errors.ts'
import type { OperationKind } from './registry/operation.ts'

/** Told as work goes on. A public interface: fields may be added, never renamed. */
export type TenancyEvent =
  | { event: 'operation_started'; tenant: string; operation: OperationKind; operationId: string }
  | { event: 'step_started'; tenant: string; step: string; operationId: string }
  | { event: 'step_finished'; tenant: string; step: string; operationId: string; durationMs: number; skipped: boolean }
  | { event: 'migration_started'; tenant: string; migration: string }
  | { event: 'migration_finished'; tenant: string; migration: string; direction: 'up' | 'down'; durationMs: number }
  | { event: 'seed_finished'; tenant: string; seed: string; durationMs: number }
  | { event: 'waiting'; tenant: string; reason: string }
  | { event: 'retrying'; tenant: string; attempt: number; delayMs: number; error: ErrorReport }
  | { event: 'operation_finished'; tenant: string; operation: OperationKind; operationId: string; durationMs: number }
  | { event: 'operation_failed'; tenant: string; operation: OperationKind; operationId: string; error: ErrorReport }
  | {
      event: 'fleet_started'
      command: FleetCommand
      total: number
      /** Of these the registry knows that there is nothing to do. */
      upToDate?: number
      concurrency: number
      /** Id in the ledger of runs. */
      run?: string
    }
  | { event: 'tenant_started'; tenant: string; attempt?: number }
  | { event: 'tenant_finished'; tenant: string; status: string; durationMs: number; error?: ErrorReport }
  | { event: 'concurrency'; server: string; concurrency: number; reason: string }
  | { event: 'baking'; tenants: number; durationMs: number; until: string }
  | { event: 'server_started'; server: string; message: string }
  /** `verbose`: for those who want to know everything. */
  | { event: 'notice'; tenant?: string; message: string; verbose?: true }
  // From `tenancy.connections`, for metrics: many of them in a busy application.
  | { event: 'pool_opened' | 'pool_closed'; tenant: string }
  | { event: 'connection_opened'; tenant: string; durationMs: number }
  | { event: 'connection_closed'; tenant: string; reason: 'idle' | 'evicted' | 'lost' | 'unclean' | 'drained' }
  /** Somebody had to wait because the budget was spent, or all connections of the tenant were in use. */
  | { event: 'connection_waited' | 'connection_timed_out'; tenant: string; durationMs: number }
  /** Changes to tenants are not heard at once any more, or again. */
  | { event: 'registry_lost' | 'registry_back' }

/** What is done to many tenants at once, as the ledger of runs names it. */
export type FleetCommand =
  | 'create'
  | 'migrate'
  | 'rollback'
  | 'seed'
  | 'status'
  | 'drift'
  | 'drop'
  | 'suspend'
  | 'resume'
  | 'protect'
  | 'unprotect'
  | 'purge'
  | 'rotate-password'
  | 'repair'
  | 'doctor'
  | 'baseline'

/** Is told as work goes on; what it throws changes nothing. */
export type Listener = (event: TenancyEvent) => void

/** Tells a listener; one that throws changes nothing. */
export function notify(listener: Listener | undefined, event: TenancyEvent): void {
  try {
    listener?.(event)
  } catch {
    // A listener watches; it must not be able to break the work it watches.
  }
}
