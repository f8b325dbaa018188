import type { Labels, TenantStatus } from '../registry/tenant.ts'

/**
 * Which tenants: those named, or all, or those that failed in a recorded run, or those that match every given filter.
 */
export type Selection = { tenants: readonly string[] } | { all: true } | { failedOf: string } | TenantFilter

/** Tenants that match all of these. */
export interface TenantFilter {
  labels?: Labels
  server?: string
  status?: TenantStatus
}
