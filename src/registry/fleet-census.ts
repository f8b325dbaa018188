import type { ErrorReport } from '../errors.ts'
import type { Selection } from '../fleet/selection.ts'
import type { RegistryConnection } from './connection.ts'
import { selectionCondition } from './selection-sql.ts'
import type { TenantStatus } from './tenant.ts'
import { fromTenants } from './tenant-row.ts'

/** Tenants that are alike as far as the registry knows. */
interface CensusGroup {
  version: string | null
  hash: string | null
  status: TenantStatus
  tenants: number
}

/** A tenant whose last attempt at something failed. */
export interface LastFailure {
  tenant: string
  error: ErrorReport
  run: string
  at: string
}

/** A fleet counted: a few rows whatever its size. */
export class FleetCensus {
  constructor(private readonly registry: RegistryConnection) {}

  async groups(selection: Selection): Promise<CensusGroup[]> {
    const { text, values } = selectionCondition(selection)
    return this.registry.query<CensusGroup>(
      'counting tenants',
      `SELECT t.schema_version AS version, t.migrations_hash AS hash, t.status, count(*)::int AS tenants
         ${fromTenants} WHERE ${text} GROUP BY 1, 2, 3`,
      values,
    )
  }

  /**
   * What failed last in a run and was not done since, oldest first. A failed migration is mended as well when the
   * tenant has `newest` by now, however it came to that.
   */
  async failures(selection: Selection, newest: string): Promise<LastFailure[]> {
    const { text, values } = selectionCondition(selection)
    const rows = await this.registry.query<FailureRow>(
      'looking for failures',
      `SELECT DISTINCT ON (t.uuid) t.slug, f.error, f.run_id, f.finished_at
         ${fromTenants} JOIN tenantctl.run_tenants f ON f.tenant_uuid = t.uuid AND f.status = 'failed'
         JOIN tenantctl.runs r ON r.id = f.run_id
        WHERE ${text}
          AND NOT (r.command IN ('migrate', 'rollback') AND COALESCE(t.migrations_hash = $${values.length + 1}, false))
          AND NOT EXISTS (
            SELECT FROM tenantctl.run_tenants n JOIN tenantctl.runs nr ON nr.id = n.run_id
             WHERE n.tenant_uuid = t.uuid AND n.finished_at > f.finished_at AND n.status <> 'failed' AND nr.command = r.command)
          AND NOT EXISTS (
            SELECT FROM tenantctl.operations o
             WHERE o.tenant_uuid = t.uuid AND o.started_at > f.finished_at AND o.status = 'succeeded' AND o.kind = r.command)
        ORDER BY t.uuid, f.finished_at DESC`,
      [...values, newest],
    )
    return rows
      .map(row => ({ tenant: row.slug, error: row.error, run: row.run_id, at: row.finished_at.toISOString() }))
      .sort((a, b) => (a.at < b.at ? -1 : 1))
  }
}

interface FailureRow {
  slug: string
  error: ErrorReport
  run_id: string
  finished_at: Date
}
