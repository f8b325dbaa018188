import type { ErrorCode } from '../errors.ts'
import type { Secret } from '../secrets/secret.ts'
import type { RoleModel } from './roles.ts'

export const tenantStatuses = ['provisioning', 'active', 'suspended', 'dropping', 'failed'] as const

/**
 * `failed`: the last operation stopped half-way; `create` again, `repair` or `drop` mends it.
 */
export type TenantStatus = (typeof tenantStatuses)[number]

/** What is thrown when a tenant has to be active and is in another state. */
export const inactiveCodes = {
  provisioning: 'TENANT_NOT_READY',
  suspended: 'TENANT_SUSPENDED',
  dropping: 'TENANT_DROPPING',
  failed: 'TENANT_FAILED',
} as const satisfies Record<Exclude<TenantStatus, 'active'>, ErrorCode>

/** Free-form marks of a tenant, for selections: `{ plan: 'pro' }`. */
export type Labels = Record<string, string>

/** A tenant as the registry knows it: plain data with no secret in it, and the JSON of the command line. */
export interface Tenant {
  id: string
  slug: string
  name: string
  status: TenantStatus
  server: string
  database: string
  username: string
  /** Name of the last applied migration without extension, or null. */
  schemaVersion: string | null
  labels: Labels
  roles: RoleModel
  protected: boolean
  createdAt: string
  updatedAt: string
}

/** The registry's copy of a database's history: its last migration, and a hash over the names of all of them. */
export interface SchemaVersion {
  name: string | null
  hash: string
}

/** Login of a tenant. */
export interface TenantCredentials {
  username: string
  password: Secret
  /** The password that a rotation is about to put in force, or has not come to recording as such. */
  next?: Secret | undefined
}
