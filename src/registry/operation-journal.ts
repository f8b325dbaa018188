import { randomUUID } from 'node:crypto'
import { hostname, userInfo } from 'node:os'
import { asTenancyError } from '../errors.ts'
import { quoteLiteral } from '../postgres/identifiers.ts'
import type { BulkWrite, RegistryConnection, RegistryQuery } from './connection.ts'
import type { Operation, OperationKind, OperationStatus, OperationStep } from './operation.ts'
import type { Tenant } from './tenant.ts'

/** These lock the tenant's database; all others lock the tenant itself. */
export const databaseKinds: OperationKind[] = ['migrate', 'rollback', 'seed', 'baseline']

/** Operations that match all of these. */
export interface OperationFilter {
  /** Slug or id. */
  tenant?: string
  limit?: number
}

/** Who holds a tenant, for the message of whom it keeps out. */
export interface RunningOperation {
  id: string
  kind: OperationKind
  actor: string
  pid: number
  startedAt: string
}

/** Writes down what is about to be done to a tenant before it is done, and what came of it. */
export class OperationJournal {
  constructor(private readonly registry: RegistryConnection) {}

  /**
   * Begins an operation. The caller holds the lock that operations of this kind take, so that one of them which still
   * counts as running was cut off: it is marked as interrupted. `run`: the fleet command that it is part of.
   */
  async begin(
    kind: OperationKind,
    tenant: Pick<Tenant, 'id' | 'slug'>,
    parameters: object = {},
    run?: string,
  ): Promise<string> {
    const id = randomUUID()
    const row: NewOperation = { id, kind, tenant: tenant.id, slug: tenant.slug, parameters, run: run ?? null }
    await this.registry.write(beginOperations, row)
    return id
  }

  /** Writes down what has become of some steps of an operation, of each one thing. */
  async record(operationId: string, steps: readonly StepRecord[]): Promise<void> {
    await Promise.all(stepRows(operationId, steps).map(row => this.registry.write(recordSteps, row)))
  }

  /** Adds to what recovery must know about a step. */
  async noteOnStep(operationId: string, position: number, detail: object): Promise<void> {
    await this.registry.query(
      'noting on a step',
      'UPDATE tenantctl.operation_steps SET detail = detail || $3 WHERE operation_id = $1 AND position = $2',
      [operationId, position, JSON.stringify(detail)],
    )
  }

  /** Notes on the steps of that name over all operations of a tenant, the newest winning. */
  async notesOf(tenantId: string, step: string): Promise<Record<string, unknown>> {
    const rows = await this.registry.query<{ detail: Record<string, unknown> }>(
      'reading the notes on a step',
      `SELECT s.detail FROM tenantctl.operations o JOIN tenantctl.operation_steps s ON s.operation_id = o.id
        WHERE o.tenant_uuid = $1 AND s.name = $2 ORDER BY o.started_at, s.position`,
      [tenantId, step],
    )
    return Object.assign({}, ...rows.map(row => row.detail))
  }

  async finish(operationId: string): Promise<void> {
    await this.registry.query('finishing an operation', finishText('$1'), [operationId])
  }

  async fail(operationId: string, error: unknown): Promise<void> {
    const { code, message } = asTenancyError(error)
    await this.registry.query(
      'recording a failure',
      `UPDATE tenantctl.operations SET status = 'failed', error = $2, finished_at = pg_catalog.clock_timestamp()
        WHERE id = $1 AND status = 'running'`,
      [operationId, JSON.stringify({ code, message })],
    )
  }

  /** Parameters of the tenant's newest operation of a kind. */
  async parametersOf<T extends object>(tenantId: string, kind: OperationKind): Promise<Partial<T>> {
    const [row] = await this.registry.query<{ parameters: Partial<T> }>(
      'reading an operation',
      `SELECT parameters FROM tenantctl.operations WHERE tenant_uuid = $1 AND kind = $2
        ORDER BY started_at DESC LIMIT 1`,
      [tenantId, kind],
    )
    return row?.parameters ?? {}
  }

  async running(tenantId: string): Promise<RunningOperation | undefined> {
    const [row] = await this.registry.query<RunningOperation & { startedAt: Date }>(
      'looking for a running operation',
      `SELECT id, kind, actor, pid, started_at AS "startedAt" FROM tenantctl.operations
        WHERE tenant_uuid = $1 AND status = 'running' ORDER BY started_at DESC LIMIT 1`,
      [tenantId],
    )
    return row && { ...row, startedAt: row.startedAt.toISOString() }
  }

  /** Newest first. */
  async list(filter: OperationFilter = {}): Promise<Operation[]> {
    const rows = await this.registry.query<OperationRow>(
      'listing operations',
      `SELECT o.*, COALESCE((
                SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', s.name, 'status', s.status,
                         'startedAt', s.started_at, 'finishedAt', s.finished_at) ORDER BY s.position)
                  FROM tenantctl.operation_steps s WHERE s.operation_id = o.id), '[]') AS steps
         FROM tenantctl.operations o
        WHERE $1::text IS NULL OR o.tenant_slug = $1 OR o.tenant_uuid::text = $1
        ORDER BY o.started_at DESC LIMIT $2`,
      [filter.tenant ?? null, filter.limit ?? 50],
    )
    return rows.map(toOperation)
  }
}

/** One to begin with: a row of `operations` as JSON, for `newOperations`. */
interface NewOperation {
  id: string
  kind: OperationKind
  tenant: string
  slug: string
  parameters: object
  run: string | null
}

/** What has become of a step. */
export interface StepRecord {
  position: number
  name: string
  status: OperationStep['status']
  /** What recovery must know; added to what is known. */
  detail?: object | undefined
}

/** As JSON, for `recordSteps`. */
export function stepRows(operationId: string, steps: readonly StepRecord[]): object[] {
  return steps.map(step => ({ operation: operationId, ...step }))
}

const beginOperations: BulkWrite = {
  doing: 'beginning an operation',
  text: ({ json, count }) => {
    const isOfDatabase = (kind: string) => `${kind} IN (${databaseKinds.map(quoteLiteral).join(', ')})`
    return `WITH new AS (SELECT * FROM ${newOperations(json)} LIMIT ${count}),
      cut_off AS (
        UPDATE tenantctl.operations o SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()
          FROM new WHERE o.tenant_uuid = new.tenant AND o.status = 'running'
           AND (${isOfDatabase('o.kind')}) = (${isOfDatabase('new.kind')}))
      ${insertOperations('new')}`
  },
}

/** SQL for JSON of `NewOperation`s, as a table for `insertOperations`. */
export function newOperations(json: string): string {
  return `pg_catalog.jsonb_to_recordset(${json}) AS n(id uuid, kind text, tenant uuid, slug text, parameters jsonb, run text)`
}

export function insertOperations(table: string): string {
  return `INSERT INTO tenantctl.operations (id, kind, tenant_uuid, tenant_slug, actor, pid, parameters, run_id)
      SELECT id, kind, tenant, slug, ${quoteLiteral(actor())}, ${process.pid}, parameters, run FROM ${table}`
}

/** Whoever runs an operation waits for its records, so that no two rows are of the same step. */
export const recordSteps: BulkWrite = {
  doing: 'recording a step',
  text: ({
    json,
  }) => `INSERT INTO tenantctl.operation_steps AS s (operation_id, position, name, status, detail, finished_at)
    SELECT operation, position, name, status, COALESCE(detail, '{}'),
           CASE WHEN status <> 'started' THEN pg_catalog.clock_timestamp() END
      FROM pg_catalog.jsonb_to_recordset(${json})
        AS r(operation uuid, position smallint, name text, status text, detail jsonb)
    ON CONFLICT (operation_id, position) DO UPDATE
      SET status = EXCLUDED.status, detail = s.detail || EXCLUDED.detail, finished_at = EXCLUDED.finished_at`,
}

/** Ends an operation, whose id a parameter holds. */
export function finishText(id: string): string {
  return `UPDATE tenantctl.operations SET status = 'succeeded', finished_at = pg_catalog.clock_timestamp() WHERE id = ${id}`
}

/** For a transaction that also changes the tenant. */
export async function finishIn(query: RegistryQuery, operationId: string): Promise<void> {
  await query(finishText('$1'), [operationId])
}

let known: string | undefined

/** Who is at work, and on which machine: asked of the system once. */
export function actor(): string {
  known ??= `${userName()}@${hostname()}`
  return known
}

/** Containers run as users that no passwd file knows. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}

interface OperationRow {
  id: string
  kind: OperationKind
  tenant_slug: string
  tenant_uuid: string
  status: OperationStatus
  actor: string
  pid: number
  error: { code: string; message: string } | null
  started_at: Date
  finished_at: Date | null
  steps: OperationStep[]
}

function toOperation(row: OperationRow): Operation {
  return {
    id: row.id,
    kind: row.kind,
    tenant: row.tenant_slug,
    tenantId: row.tenant_uuid,
    status: row.status,
    actor: row.actor,
    pid: row.pid,
    startedAt: row.started_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
    error: row.error,
    steps: row.steps.map(step => ({
      ...step,
      startedAt: new Date(step.startedAt).toISOString(),
      finishedAt: step.finishedAt === null ? null : new Date(step.finishedAt).toISOString(),
    })),
  }
}
