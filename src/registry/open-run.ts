import type { FleetResult, TenantOutcome } from '../fleet/result.ts'
import type { ErrorClass } from '../postgres/sqlstate.ts'
import type { BulkWrite, RegistryConnection } from './connection.ts'
import { LastingLock } from './lasting-lock.ts'

/** A run that this process is at. */
export class OpenRun {
  /** Rows that are on their way. */
  readonly #writing = new Set<Promise<void>>()
  readonly #lock: LastingLock
  #failure: unknown

  constructor(
    private readonly registry: RegistryConnection,
    readonly id: string,
  ) {
    this.#lock = new LastingLock(registry, 'run', id, () => this.#recordGoesOn())
  }

  /** Begins it with a statement that takes its lock as well. */
  begin<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
    return this.#lock.take<Row>(text, values)
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
      this.#lock.release()
    }
    if (this.#failure) throw this.#failure
  }

  /** For a run that ends by an error of its own. */
  async abandon(): Promise<void> {
    await Promise.all(this.#writing)
    this.#lock.release()
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
