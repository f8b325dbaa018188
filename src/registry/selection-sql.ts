import type { Selection } from '../fleet/selection.ts'
import { uuidPattern } from './tenant-row.ts'

/** A selection as a condition on `tenants t` and `servers s`, with the values of its parameters from $1 on. */
export function selectionCondition(selection: Selection): { text: string; values: unknown[] } {
  const live = 't.retained_until IS NULL'
  if ('all' in selection) return { text: live, values: [] }
  if ('tenants' in selection) {
    const wanted = [...new Set(selection.tenants)]
    const ids = wanted.filter(each => uuidPattern.test(each))
    return { text: `${live} AND (t.slug = ANY($1::text[]) OR t.uuid = ANY($2::uuid[]))`, values: [wanted, ids] }
  }
  if ('failedOf' in selection) {
    return {
      // A tenant whose creation failed early has no id in the ledger.
      text: `${live} AND EXISTS (
        SELECT FROM tenantctl.run_tenants f WHERE f.run_id = $1 AND f.status = 'failed'
           AND (f.tenant_uuid = t.uuid OR f.tenant_uuid IS NULL AND f.tenant_slug = t.slug)
        UNION ALL
        SELECT FROM tenantctl.operations o WHERE o.run_id = $1 AND o.tenant_uuid = t.uuid AND NOT EXISTS (
          SELECT FROM tenantctl.run_tenants r WHERE r.run_id = $1 AND r.tenant_slug = o.tenant_slug))`,
      values: [selection.failedOf],
    }
  }
  return {
    text: `${live} AND ($1::jsonb IS NULL OR t.labels @> $1::jsonb) AND ($2::text IS NULL OR s.name = $2)
      AND ($3::text IS NULL OR t.status = $3)`,
    values: [
      selection.labels ? JSON.stringify(selection.labels) : null,
      selection.server ?? null,
      selection.status ?? null,
    ],
  }
}
