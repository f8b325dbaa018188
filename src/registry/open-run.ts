import { setTimeout as sleep } from 'node:timers/promises'
import type { FleetResult, TenantOutcome } from '../fleet/result.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import type { BulkWrite, HeldConnection, RegistryConnection } from './connection.ts'

/** The advisory lock that the process of a run holds as long as it lives; the argument is SQL for the run's id. */
export const lockKeyOf = (id: string) => `pg_catalog.hashtextextended('tenantctl run ' || ${id}, 0)`
export const isAlive = (id: string) => `EXISTS (
  SELECT FROM pg_catalog.pg_locks l
   WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
     AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
     AND ((l.classid::bigint << 32) | l.objid::bigint) = ${lockKeyOf(id)})`

/** A run that this process is at. */
export class OpenRun {
  /** Rows that are on their way. */
  readonly #writing = new Set<Promise<void>>()
  #held: HeldConnection | undefined
  #closed = false
  #failure: unknown

  constructor(
    private readonly registry: RegistryConnection,
    readonly id: string,
  ) {}

  /** Takes the lock that tells the living from the dead, with a statement that does so. */
  async lock<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
    let locked = false
    const held = await this.registry.hold('beginning the run', () => {
      if (locked) void this.#relock()
    })
    let rows: Row[]
    try {
      rows = await held.query<Row>(text, values)
    } catch (error) {
      held.release()
      throw error
    }
    locked = true
    // The run may have ended while its lock was being taken anew.
    if (this.#closed) held.release()
    else this.#held = held
    return rows
  }

  /** Does not wait for the row to be written: `finish` does. */
  record(tenantId: string | undefined, outcome: TenantOutcome, errorClass: ErrorClass | undefined): void {
    const row = {
      ...{ attempts: 1, applied: [], durationMs: 0, ...outcome, pending: undefined },
      ...{ run: this.id, tenantId: tenantId ?? null, errorClass: errorClass ?? null },
    }
    const writing = this.registry.write(recordOutcomes, row).catch(error => {
      this.#failure ??= error
    })
    this.#writing.add(writing)
    void writing.then(() => this.#writing.delete(writing))
  }

  async finish(result: FleetResult, interrupted: boolean): Promise<void> {
    await Promise.all(this.#writing)
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
    await Promise.all(this.#writing)
    this.#held?.release()
  }

  /** The session went, perhaps with a restart of the server, but the run goes on: it must not count as dead for long. */
  async #relock(): Promise<void> {
    while (!this.#closed) {
      // Until then a lost connection counts as one of the pool's, which would wait for it at its end.
      this.#held?.release()
      this.#held = undefined
      try {
        const [row] = await this.lock<{ locked: boolean }>(
          `SELECT pg_catalog.pg_try_advisory_lock(${lockKeyOf('$1')}) AS locked`,
          [this.id],
        )
        if (this.#closed) return
        // Where the network was cut, the server may believe in the old session for a while, which has it.
        if (row?.locked) return await this.#recordGoesOn()
      } catch {
        // The server is not back yet.
      }
      await sleep(1_000, undefined, { ref: false })
    }
  }

  /** Somebody may have marked it as interrupted meanwhile. */
  async #recordGoesOn(): Promise<void> {
    await this.registry.query(
      'recording that the run goes on',
      `UPDATE tenantctl.runs SET status = 'running', finished_at = NULL WHERE id = $1 AND status = 'interrupted'`,
      [this.id],
    )
  }
}

const recordOutcomes: BulkWrite = {
  doing: 'recording what became of tenants',
  text: ({
    json,
  }) => `INSERT INTO tenantctl.run_tenants (run_id, tenant_slug, tenant_uuid, status, attempts, from_version,
      to_version, applied, duration_ms, error, error_class)
    SELECT r.run, r.tenant, r."tenantId", r.status, r.attempts, r."from", r."to",
           ARRAY(SELECT pg_catalog.jsonb_array_elements_text(r.applied)), r."durationMs", r.error, r."errorClass"
      FROM pg_catalog.jsonb_to_recordset(${json}) AS r(run text, tenant text, "tenantId" uuid, status text,
           attempts smallint, "from" text, "to" text, applied jsonb, "durationMs" int, error jsonb, "errorClass" text)
    ON CONFLICT (run_id, tenant_slug) DO NOTHING`,
}
