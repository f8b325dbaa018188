import type { RegistryConnection } from './connection.ts'
import type { OperationKind, OperationStatus } from './operation.ts'

/**
 * What an operation is about. One that did not succeed matters until a later one has been about the same: a create
 * that failed until the tenant was created or dropped, a suspend until it was suspended or resumed.
 */
const subjects: Record<OperationKind, string> = {
  create: 'life',
  restore: 'life',
  drop: 'life',
  undrop: 'life',
  purge: 'life',
  suspend: 'access',
  resume: 'access',
  protect: 'protection',
  unprotect: 'protection',
  'rotate-password': 'password',
  migrate: 'schema',
  rollback: 'schema',
  baseline: 'schema',
  seed: 'data',
}

/** An operation that is running, or did not come to its end. */
export interface UnfinishedOperation {
  id: string
  kind: OperationKind
  status: Exclude<OperationStatus, 'succeeded'>
  tenantId: string
  tenant: string
  actor: string
  pid: number
  startedAt: string
  parameters: Record<string, unknown>
  /** Names of the steps that it did, or undid. */
  steps: string[]
}

/** What an operation was about to do, and how far it came. */
export type OperationProgress = Pick<UnfinishedOperation, 'kind' | 'parameters' | 'steps'> & { id?: string }

const progress = `o.id, o.kind, o.parameters, ARRAY(
  SELECT p.name FROM tenantctl.operation_steps p WHERE p.operation_id = o.id AND p.status IN ('done', 'undone')) AS steps`

/** The journal as those read it who clean up after a crash. */
export class UnfinishedOperations {
  constructor(private readonly registry: RegistryConnection) {}

  /** Of one tenant or of all, oldest first; without those that a later operation or a repair has made good. */
  async list(tenantId?: string): Promise<UnfinishedOperation[]> {
    const rows = await this.registry.query<UnfinishedOperation & { startedAt: Date }>(
      'listing unfinished operations',
      `WITH subject (kind, name) AS (SELECT * FROM unnest($1::text[], $2::text[]))
       SELECT ${progress}, o.status, o.tenant_uuid AS "tenantId", o.tenant_slug AS tenant, o.actor, o.pid,
              o.started_at AS "startedAt"
         FROM tenantctl.operations o JOIN subject s ON s.kind = o.kind
        WHERE o.status <> 'succeeded' AND o.repaired_at IS NULL AND ($3::uuid IS NULL OR o.tenant_uuid = $3)
          AND (o.status = 'running' OR NOT EXISTS (
                SELECT FROM tenantctl.operations n JOIN subject m ON m.kind = n.kind
                 WHERE n.tenant_uuid = o.tenant_uuid AND m.name = s.name AND n.started_at > o.started_at))
        ORDER BY o.started_at`,
      [Object.keys(subjects), Object.values(subjects), tenantId ?? null],
    )
    return rows.map(row => ({ ...row, startedAt: row.startedAt.toISOString() }))
  }

  /** The newest operation of these kinds, however it ended. */
  async newest(tenantId: string, kinds: readonly OperationKind[]): Promise<OperationProgress | undefined> {
    const [row] = await this.registry.query<OperationProgress>(
      'looking up the last operation',
      `SELECT ${progress} FROM tenantctl.operations o WHERE o.tenant_uuid = $1 AND o.kind = ANY($2::text[])
        ORDER BY o.started_at DESC LIMIT 1`,
      [tenantId, kinds],
    )
    return row
  }

  /** Operations whose process is known to be gone. Returns how many were still counted as running. */
  async interrupt(ids: readonly string[]): Promise<number> {
    if (ids.length === 0) return 0
    const rows = await this.registry.query(
      'marking interrupted operations',
      `UPDATE tenantctl.operations SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()
        WHERE id = ANY($1::uuid[]) AND status = 'running' RETURNING id`,
      [ids],
    )
    return rows.length
  }

  /** What it left behind has been put right. */
  async settle(id: string): Promise<void> {
    await this.registry.query(
      'recording a repair',
      'UPDATE tenantctl.operations SET repaired_at = pg_catalog.clock_timestamp() WHERE id = $1',
      [id],
    )
  }
}
