import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { TenancyError } from '../errors.ts'
import type { FleetCommand } from '../events.ts'
import type { FleetResult, TenantOutcome } from '../fleet/result.ts'
import { nearest } from '../nearest.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import { Batch } from './batch.ts'
import type { HeldConnection, RegistryConnection } from './connection.ts'
import { actor } from './operation-journal.ts'
import type { Run, RunDetails, RunFilter, RunStatus, RunTenant } from './run.ts'

/** The advisory lock that the process of a run holds as long as it lives; the argument is SQL for the run's id. */
const lockKeyOf = (id: string) => `pg_catalog.hashtextextended('tenantctl run ' || ${id}, 0)`
const isAlive = (id: string) => `EXISTS (
  SELECT FROM pg_catalog.pg_locks l
   WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
     AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
     AND ((l.classid::bigint << 32) | l.objid::bigint) = ${lockKeyOf(id)})`

export interface NewRun {
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
    await open.lock(
      `WITH dead AS (
         UPDATE tenantctl.runs r SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()
          WHERE r.status = 'running' AND NOT ${isAlive('r.id')})
       INSERT INTO tenantctl.runs (id, command, parameters, actor, pid, total, up_to_date)
       SELECT $1, $2, $3, $4, $5, $6, $7 FROM pg_catalog.pg_try_advisory_lock(${lockKeyOf('$1')})`,
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
        hint: close.length > 0 ? `did you mean ${close[0]}?` : '"tenantctl runs" lists them',
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

export interface RunChange {
  tenant: string
  tenantId: string
  version: string | null
  names: string[]
}

/** A run that this process is at. */
export class OpenRun {
  readonly #rows: Batch<Recorded>
  #held: HeldConnection | undefined
  #closed = false
  #failure: unknown

  constructor(
    private readonly registry: RegistryConnection,
    readonly id: string,
  ) {
    this.#rows = new Batch(rows => this.#write(rows))
  }

  /** Takes the lock that tells the living from the dead, with a statement that does so. */
  async lock(text: string, values: unknown[]): Promise<void> {
    let locked = false
    const held = await this.registry.hold('beginning the run', () => {
      if (locked) void this.#relock()
    })
    try {
      await held.query(text, values)
    } catch (error) {
      held.release()
      throw error
    }
    locked = true
    // The run may have ended while its lock was being taken anew.
    if (this.#closed) held.release()
    else this.#held = held
  }

  /** Does not wait for the row to be written: `finish` does. */
  record(tenantId: string | undefined, outcome: TenantOutcome, errorClass: ErrorClass | undefined): void {
    this.#rows.add({ tenantId: tenantId ?? null, outcome, errorClass: errorClass ?? null }).catch(error => {
      this.#failure ??= error
    })
  }

  async finish(result: FleetResult, interrupted: boolean): Promise<void> {
    await this.#rows.flush()
    this.#closed = true
    try {
      const status = interrupted ? 'interrupted' : result.failed > 0 || result.stopped ? 'failed' : 'succeeded'
      await this.registry.query(
        'recording the end of the run',
        `UPDATE tenantctl.runs SET status = $2, total = $3, up_to_date = $4, succeeded = $5, failed = $6, skipped = $7,
                stopped = $8, finished_at = pg_catalog.clock_timestamp() WHERE id = $1`,
        [
          ...[this.id, status, result.total, result.upToDate, result.succeeded, result.failed, result.skipped],
          result.stopped ?? null,
        ],
      )
    } finally {
      this.#held?.release()
    }
    if (this.#failure) throw this.#failure
  }

  /** For a run that ends by an error of its own. */
  async abandon(): Promise<void> {
    this.#closed = true
    await this.#rows.flush()
    this.#held?.release()
  }

  async #write(rows: readonly Recorded[]): Promise<void> {
    await this.registry.query(
      'recording what became of tenants',
      `INSERT INTO tenantctl.run_tenants (run_id, tenant_slug, tenant_uuid, status, attempts, from_version, to_version,
         applied, duration_ms, error, error_class)
       SELECT $1, r.tenant, r."tenantId", r.status, r.attempts, r."from", r."to",
              ARRAY(SELECT pg_catalog.jsonb_array_elements_text(r.applied)), r."durationMs", r.error, r."errorClass"
         FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS r(tenant text, "tenantId" uuid, status text, attempts smallint,
              "from" text, "to" text, applied jsonb, "durationMs" int, error jsonb, "errorClass" text)
       ON CONFLICT (run_id, tenant_slug) DO NOTHING`,
      [
        this.id,
        JSON.stringify(
          rows.map(({ tenantId, outcome, errorClass }) => ({
            ...{ attempts: 1, applied: [], durationMs: 0, ...outcome, pending: undefined },
            ...{ tenantId, errorClass },
          })),
        ),
      ],
    )
  }

  /** The session went, perhaps with a restart of the server, but the run goes on: it must not count as dead for long. */
  async #relock(): Promise<void> {
    this.#held = undefined
    while (!this.#closed) {
      try {
        await this.lock(`SELECT pg_catalog.pg_try_advisory_lock(${lockKeyOf('$1')})`, [this.id])
        if (this.#closed) return
        // Somebody may have marked it as interrupted meanwhile.
        await this.registry.query(
          'recording that the run goes on',
          `UPDATE tenantctl.runs SET status = 'running', finished_at = NULL WHERE id = $1 AND status = 'interrupted'`,
          [this.id],
        )
        return
      } catch {
        await sleep(1_000, undefined, { ref: false })
      }
    }
  }
}

interface Recorded {
  tenantId: string | null
  outcome: TenantOutcome
  errorClass: ErrorClass | null
}

const selectRuns = `SELECT r.id, r.command, r.parameters, r.actor, r.pid, r.total, r.up_to_date, r.succeeded, r.failed,
    r.skipped, r.stopped, r.started_at, r.finished_at,
    CASE WHEN r.status = 'running' AND NOT ${isAlive('r.id')} THEN 'interrupted' ELSE r.status END AS status
  FROM tenantctl.runs r`

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
}

function toRun(row: RunRow): Run {
  const { id, command, status, parameters, actor, pid, total, succeeded, failed, skipped, stopped } = row
  return {
    ...{ id, command, status, parameters, actor, pid, total, succeeded },
    ...{ upToDate: row.up_to_date, failed, skipped, stopped },
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
