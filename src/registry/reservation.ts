import { TenancyError } from '../errors.ts'
import { constraintOf, sqlstate, sqlstateOf } from '../postgres/sqlstate.ts'
import type { Cipher } from '../secrets/cipher.ts'
import type { Secret } from '../secrets/secret.ts'
import type { RegistryConnection, RegistryQuery } from './connection.ts'
import type { OperationKind } from './operation.ts'
import { insertOperations, newOperations, recordSteps, type StepRecord, stepRows } from './operation-journal.ts'
import type { Labels, Tenant } from './tenant.ts'
import { sealPassword } from './tenant-passwords.ts'
import { tenantColumns } from './tenant-row.ts'

export interface NewTenant {
  id: string
  slug: string
  name: string
  server: string
  database: string
  username: string
  password: Secret
  /** Of the migrator, with `roles: 'separate'`. */
  migratorPassword: Secret | undefined
  labels: Labels
  protected: boolean
}

/** The operation that makes a tenant, and what is written down of its steps from the start. */
export interface FirstOperation {
  id: string
  kind: OperationKind
  parameters: object
  /** Id of the fleet run that it is part of. */
  run: string | undefined
  steps: readonly StepRecord[]
}

/** What is committed together with a tenant's row. */
export interface ReserveOptions {
  /** That makes it: begun. Default: none, somebody else will make it. */
  operation?: FirstOperation
  /** Inserts the row, in a transaction with something else. Default: alone. */
  within?: ((insert: (query: RegistryQuery) => Promise<Tenant>) => Promise<Tenant>) | undefined
}

/**
 * Commits the row of a new tenant with its sealed password, and with it the beginning of the operation that makes it,
 * if there is one. Throws `TENANT_EXISTS` or `DATABASE_EXISTS` where the registry has one of its names already.
 */
export async function reserveTenant(
  registry: RegistryConnection,
  cipher: Cipher,
  tenant: NewTenant,
  { operation, within }: ReserveOptions = {},
): Promise<Tenant> {
  const { id, slug, password, migratorPassword } = tenant
  const sealed = await sealPassword(cipher, password, id, 'app')
  const sealedMigrator = migratorPassword && (await sealPassword(cipher, migratorPassword, id, 'migrator'))
  const operations = operation ? [{ ...operation, steps: undefined, run: operation.run ?? null, tenant: id, slug }] : []
  const values = [
    ...[id, slug, tenant.name, tenant.server, tenant.database, tenant.username, sealed, JSON.stringify(tenant.labels)],
    ...[sealedMigrator ? 'separate' : 'single', sealedMigrator ?? null, tenant.protected],
    JSON.stringify(operations),
    JSON.stringify(operation ? stepRows(operation.id, operation.steps) : []),
  ]
  try {
    if (within) return await within(async query => (await query<Tenant>(reserveText(), values))[0] as Tenant)
    const [reserved] = await registry.prepared<Tenant>('reserving the tenant', reserveText(), values)
    return reserved as Tenant
  } catch (error) {
    if (sqlstateOf(error) === sqlstate.uniqueViolation) throw clash(error, tenant)
    throw error
  }
}

const reserveText = () => `WITH known AS (SELECT id FROM tenantctl.servers WHERE name = $4),
     added AS (
       INSERT INTO tenantctl.servers (name) SELECT $4 WHERE NOT EXISTS (SELECT FROM known)
       ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING id),
     t AS (
       INSERT INTO tenantctl.tenants (uuid, slug, name, server_id, db_name, db_username, db_password, labels, roles,
         migrator_password, protected)
       SELECT $1, $2, $3, id, $5, $6, $7, $8, $9, $10, $11 FROM (SELECT id FROM known UNION ALL SELECT id FROM added) s
       RETURNING *),
     begun AS (${insertOperations(newOperations('$12::jsonb'))}),
     recorded AS (${recordSteps.text({ json: '$13::jsonb', count: 3 })})
SELECT ${tenantColumns} FROM t, (SELECT $4::text AS name) s`

function clash(error: unknown, tenant: NewTenant): TenancyError {
  if (constraintOf(error) === 'tenants_slug_key') {
    return new TenancyError('TENANT_EXISTS', `there is a tenant "${tenant.slug}" already`, {
      tenant: tenant.slug,
      cause: error,
    })
  }
  return new TenancyError('DATABASE_EXISTS', `another tenant has database or role "${tenant.database}" already`, {
    tenant: tenant.slug,
    hint: 'choose another name with --database',
    cause: error,
  })
}
