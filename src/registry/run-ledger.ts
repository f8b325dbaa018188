import { randomBytes } from 'node:crypto'
import { type ErrorReport, TenancyError } from '../errors.ts'
import type { FleetCommand } from '../events.ts'
import { nearest } from '../nearest.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import type { RegistryConnection } from './connection.ts'
import { isHeld, lockKeyOf } from './lasting-lock.ts'
import { OpenRun } from './open-run.ts'
import { actor } from './operation-journal.ts'
import type { Run, RunDetails, RunFilter, RunStatus, RunTenant } from './run.ts'

interface NewRun {
  command: FleetCommand
  parameters: object
  /** Tenants of the selection, and how many of them need nothing. */
  total: number
  upToDate: number
}

/** The ledger of fleet commands. */
export class RunLedger {
  constructor(private readonly registry: RegistryConnection) {}

  /** Writes a run down before its first tenant. Earlier ones whose process is gone are marked as interrupted. */
  async begin(run: NewRun): Promise<OpenRun> {
    const id = newRunId()
    const open = new OpenRun(this.registry, id)
    await open.begin(
      `WITH dead AS (
         UPDATE tenantctl.runs r SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()
          WHERE r.status = 'running' AND r.job_id IS NULL AND NOT ${isHeld('run', 'r.id')})
       INSERT INTO tenantctl.runs (id, command, parameters, actor, pid, total, up_to_date)
       SELECT $1, $2, $3, $4, $5, $6, $7 FROM pg_catalog.pg_try_advisory_lock(${lockKeyOf('run', '$1')})`,
      [id, run.command, JSON.stringify(run.parameters), actor(), process.pid, run.total, run.upToDate],
    )
    return open
  }

  /** A run that found nothing to do: begun and ended in one. */
  async note(run: NewRun): Promise<string> {
    const id = newRunId()
    await this.registry.query(
      'recording the run',
      `INSERT INTO tenantctl.runs (id, command, parameters, actor, pid, total, up_to_date, status, finished_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, 'succeeded', pg_catalog.clock_timestamp())`,
      [id, run.command, JSON.stringify(run.parameters), actor(), process.pid, run.total, run.upToDate],
    )
    return id
  }

  /** Writes down a run that workers are to do, under the id that its job will have. */
  async queue(run: NewRun, jobId: string): Promise<string> {
    const id = newRunId()
    await this.registry.query(
      'recording the run',
      `INSERT INTO tenantctl.runs (id, command, parameters, actor, pid, total, up_to_date, status, job_id)
       VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued', $8)`,
      [id, run.command, JSON.stringify(run.parameters), actor(), process.pid, run.total, run.upToDate, jobId],
    )
    return id
  }

  /** Takes up a queued run; undefined when it is at its end, or somebody leads it already. */
  async lead(id: string): Promise<OpenRun | undefined> {
    const open = new OpenRun(this.registry, id)
    const taken = await open.begin<{ id: string }>(
      `UPDATE tenantctl.runs SET status = 'running'
        WHERE id = $1 AND finished_at IS NULL AND (SELECT pg_catalog.pg_try_advisory_lock(${lockKeyOf('run', '$1')}))
        RETURNING id`,
      [id],
    )
    if (taken.length > 0) return open
    await open.abandon()
    return undefined
  }

  /** Ends a queued run that nobody leads and nobody will; tenants that it did not come to count as skipped. */
  async giveUp(id: string): Promise<void> {
    await this.registry.query(
      'recording the end of the run',
      `UPDATE tenantctl.runs r
          SET status = 'interrupted', stopped = 'interrupted', finished_at = pg_catalog.clock_timestamp(),
              succeeded = c.succeeded, failed = c.failed, skipped = r.total - r.up_to_date - c.succeeded - c.failed
         FROM (SELECT count(*) FILTER (WHERE status NOT IN ('failed', 'skipped')) AS succeeded,
                      count(*) FILTER (WHERE status = 'failed') AS failed
                 FROM tenantctl.run_tenants WHERE run_id = $1) c
        WHERE r.id = $1 AND r.finished_at IS NULL AND NOT ${isHeld('run', '$1')}`,
      [id],
    )
  }

  /** Outcomes that were written after a moment, oldest first: null is the beginning. */
  async news(id: string, after: string | null): Promise<RunNews[]> {
    return this.registry.query<RunNews>(
      'reading a run',
      `SELECT tenant_slug AS tenant, status, duration_ms AS "durationMs", error, finished_at::text AS at
         FROM tenantctl.run_tenants
        WHERE run_id = $1 AND ($2::timestamptz IS NULL OR finished_at > $2::timestamptz) ORDER BY finished_at`,
      [id, after],
    )
  }

  /** Queued runs that have not ended, oldest first. */
  async queued(): Promise<{ id: string; jobId: string; startedAt: string }[]> {
    const rows = await this.registry.query<{ id: string; job_id: string; started_at: Date }>(
      'listing queued runs',
      'SELECT id, job_id, started_at FROM tenantctl.runs WHERE job_id IS NOT NULL AND finished_at IS NULL ORDER BY id',
    )
    return rows.map(row => ({ id: row.id, jobId: row.job_id, startedAt: row.started_at.toISOString() }))
  }

  /** What a run of this tenant was about to do the first time; undefined when it had not begun. */
  async begun(run: string, tenantId: string): Promise<{ from: string | null; migrations: string[] } | undefined> {
    const rows = await this.registry.query<{ from: string | null; migrations: string[] }>(
      'looking up what a run has begun',
      `SELECT parameters->>'from' AS "from",
              ARRAY(SELECT pg_catalog.jsonb_array_elements_text(parameters->'migrations')) AS migrations
         FROM tenantctl.operations WHERE run_id = $1 AND tenant_uuid = $2 ORDER BY started_at LIMIT 1`,
      [run, tenantId],
    )
    return rows[0]
  }

  /** Newest first. */
  async list(filter: RunFilter = {}): Promise<Run[]> {
    const rows = await this.registry.query<RunRow>(
      'listing runs',
      `SELECT * FROM (${selectRuns}) r
        WHERE ($1::text IS NULL OR r.command = $1) AND ($2::text IS NULL OR r.status = $2)
        ORDER BY r.id DESC LIMIT $3`,
      [filter.command ?? null, filter.status ?? null, filter.limit ?? 20],
    )
    return rows.map(toRun)
  }

  /** By its id, or `last`. Throws `RUN_NOT_FOUND`. */
  async get(id: string): Promise<Run> {
    const rows = await this.registry.query<RunRow>(
      'looking up a run',
      `SELECT * FROM (${selectRuns}) r WHERE $1 = 'last' OR r.id = $1 ORDER BY r.id DESC LIMIT 1`,
      [id],
    )
    if (rows[0]) return toRun(rows[0])
    const known = (await this.list({ limit: 200 })).map(run => run.id)
    const close = nearest(id, known)
    throw new TenancyError(
      'RUN_NOT_FOUND',
      id === 'last' ? 'no run has been recorded yet' : `there is no run "${id}"`,
      {
        hint: close.length > 0 ? `did you mean ${close[0]}?` : '`tenantctl runs` lists them',
      },
    )
  }

  /** With what became of each tenant, by slug. Of a run that died also those that it was at work on. */
  async details(id: string): Promise<RunDetails> {
    const run = await this.get(id)
    const rows = await this.registry.query<RunTenantRow>(
      'reading a run',
      `SELECT tenant_slug, tenant_uuid, status, attempts, from_version, to_version, applied, duration_ms, error,
              error_class, finished_at
         FROM tenantctl.run_tenants WHERE run_id = $1
       UNION ALL
       SELECT DISTINCT ON (o.tenant_slug) o.tenant_slug, o.tenant_uuid, 'interrupted', 1::smallint,
              o.parameters->>'from', NULL, '{}'::text[], NULL, NULL, NULL, o.finished_at
         FROM tenantctl.operations o
        WHERE o.run_id = $1 AND NOT EXISTS (
          SELECT FROM tenantctl.run_tenants t WHERE t.run_id = $1 AND t.tenant_slug = o.tenant_slug)
        ORDER BY 1`,
      [run.id],
    )
    return { ...run, tenants: rows.map(toRunTenant) }
  }

  /**
   * Migrations that a run applied, by tenant, oldest first, without those that a later run has applied again; and the
   * version that the tenant has now. Of a tenant that a run died at, what it was about to apply: the history in the
   * database tells which of these it did. Tenants that are gone are left out.
   */
  async changes(id: string): Promise<RunChange[]> {
    return this.registry.query<RunChange>(
      'reading what a run changed',
      `WITH changed AS (
         SELECT tenant_uuid AS id, applied FROM tenantctl.run_tenants WHERE run_id = $1 AND applied <> '{}'
         UNION ALL
         SELECT o.tenant_uuid, ARRAY(SELECT pg_catalog.jsonb_array_elements_text(o.parameters->'migrations'))
           FROM tenantctl.operations o
          WHERE o.run_id = $1 AND NOT EXISTS (
            SELECT FROM tenantctl.run_tenants r WHERE r.run_id = $1 AND r.tenant_uuid = o.tenant_uuid))
       SELECT * FROM (
         SELECT t.slug AS tenant, t.uuid AS "tenantId", t.schema_version AS version,
                ARRAY(SELECT name FROM unnest(c.applied) WITH ORDINALITY AS a(name, position)
                       WHERE NOT EXISTS (
                         SELECT FROM tenantctl.run_tenants l
                          WHERE l.tenant_uuid = c.id AND l.run_id > $1 AND name = ANY(l.applied)
                            AND EXISTS (SELECT FROM tenantctl.runs r WHERE r.id = l.run_id AND r.command = 'migrate'))
                       ORDER BY position) AS names
           FROM changed c JOIN tenantctl.tenants t ON t.uuid = c.id AND t.retained_until IS NULL) found
        WHERE names <> '{}' ORDER BY tenant`,
      [id],
    )
  }
}

interface RunNews {
  tenant: string
  status: string
  durationMs: number
  error: ErrorReport | null
  at: string
}

interface RunChange {
  tenant: string
  tenantId: string
  version: string | null
  names: string[]
}

/** A run that has not come to its end, or never did, is counted by its tenants. */
const selectRuns = `SELECT r.id, r.command, r.parameters, r.actor, r.pid, r.total, r.up_to_date,
    COALESCE(t.succeeded, r.succeeded) AS succeeded, COALESCE(t.failed, r.failed) AS failed,
    COALESCE(t.skipped, r.skipped) AS skipped, r.stopped, r.started_at, r.finished_at, r.job_id,
    CASE WHEN r.status <> 'running' OR ${isHeld('run', 'r.id')} THEN r.status
         WHEN r.job_id IS NULL THEN 'interrupted' ELSE 'queued' END AS status
  FROM tenantctl.runs r LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status NOT IN ('failed', 'skipped'))::int AS succeeded,
           count(*) FILTER (WHERE status = 'failed')::int AS failed, count(*) FILTER (WHERE status = 'skipped')::int AS skipped
      FROM tenantctl.run_tenants WHERE run_id = r.id) t
    ON r.status IN ('running', 'interrupted') AND r.succeeded + r.failed + r.skipped = 0`

/** Milliseconds in base 36 sort as text until the year 2059. */
function newRunId(): string {
  const random = randomBytes(4).readUInt32BE() % 36 ** 3
  return `r_${Date.now().toString(36).padStart(8, '0')}${random.toString(36).padStart(3, '0')}`
}

interface RunRow {
  id: string
  command: FleetCommand
  parameters: Record<string, unknown>
  actor: string
  pid: number
  status: RunStatus
  total: number
  up_to_date: number
  succeeded: number
  failed: number
  skipped: number
  stopped: string | null
  started_at: Date
  finished_at: Date | null
  job_id: string | null
}

function toRun(row: RunRow): Run {
  const { id, command, status, parameters, actor, pid, total, succeeded, failed, skipped, stopped } = row
  return {
    ...{ id, command, status, parameters, actor, pid, total, succeeded },
    ...{ upToDate: row.up_to_date, failed, skipped, stopped, jobId: row.job_id },
    startedAt: row.started_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
  }
}

interface RunTenantRow {
  tenant_slug: string
  tenant_uuid: string | null
  status: RunTenant['status']
  attempts: number
  from_version: string | null
  to_version: string | null
  applied: string[]
  duration_ms: number | null
  error: RunTenant['error']
  error_class: ErrorClass | null
  finished_at: Date | null
}

function toRunTenant(row: RunTenantRow): RunTenant {
  return {
    tenant: row.tenant_slug,
    tenantId: row.tenant_uuid,
    status: row.status,
    attempts: row.attempts,
    from: row.from_version,
    to: row.to_version,
    applied: row.applied,
    durationMs: row.duration_ms,
    error: row.error,
    errorClass: row.error_class,
    finishedAt: row.finished_at?.toISOString() ?? null,
  }
}
