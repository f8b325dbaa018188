import { asTenancyError } from '../errors.ts'
import type { Listener } from '../events.ts'
import { StopWatch } from '../fleet/stop-watch.ts'
import type { JobPayload } from '../queue/job.ts'
import type { BegunJob } from '../queue/worker.ts'
import { KnownFiles } from './known-files.ts'
import { migrateTenant, type Outcome } from './migrate-tenant.ts'
import { refuseOtherFiles, type TenantOrder } from './migration-order.ts'
import { visitor } from './migrations.ts'
import type { Parts } from './parts.ts'
import type { Answer } from './remote-visits.ts'
import { TenantLoader } from './tenant-loader.ts'

/** The tenants of queued rollouts, as a worker does them. */
export class QueuedVisits {
  /** Of runs that were seen of late. */
  readonly #files = new Map<string, Promise<KnownFiles>>()

  constructor(
    private readonly parts: Parts,
    private readonly onEvent: Listener | undefined,
  ) {}

  /** What becomes of the tenant is an answer, also when that is an error; only an attempt that was cut off is none. */
  async visit(payload: JobPayload, job: BegunJob): Promise<Answer> {
    const order = payload.options as TenantOrder
    const { run = '', tenant: slug = '', tenantId: id = '' } = payload
    await refuseOtherFiles(this.parts, order)
    const startedAt = performance.now()
    const watch = new StopWatch({ timeoutMs: order.timeoutMs, signal: job.stop })
    const { signal, error: cutOff, end } = watch.begin()
    const { attempt, canary, notes } = order
    try {
      const files = await this.#filesOf(run, order)
      const { to, lockTimeoutMs, statementTimeoutMs } = order
      const loader = new TenantLoader(this.parts.fleet, [])
      const selection = order.named ? { tenants: [id] } : ({ all: true } as const)
      const work = visitor({ items: [], settled: [], loader }, selection, (tenant, visit) =>
        migrateTenant(
          this.parts,
          tenant,
          { files, to, lockTimeoutMs, statementTimeoutMs, onEvent: this.onEvent },
          visit,
        ),
      )
      const visit = { signal, attempt, canary, notes, run, wanted: () => true }
      const outcome = await work({ id, slug, server: order.server }, visit)
      const whole = job.again ? await this.#whole(run, id, outcome) : outcome
      return { outcome: { ...whole, durationMs: Math.round(performance.now() - startedAt) } as Outcome, notes }
    } catch (error) {
      return { error: (cutOff(error) ?? asTenancyError(error)).with({ tenant: slug }).toJSON(), notes }
    } finally {
      end()
      watch.dispose()
    }
  }

  /** A worker that was killed has perhaps done it all and said nothing: the journal knows what it was about to do. */
  async #whole(run: string, tenantId: string, outcome: Outcome): Promise<Outcome> {
    if (outcome.status !== 'up_to_date' && outcome.status !== 'migrated') return outcome
    const begun = await this.parts.ledger.begun(run, tenantId)
    return begun ? { ...outcome, status: 'migrated', from: begun.from, applied: begun.migrations } : outcome
  }

  async #filesOf(run: string, order: TenantOrder): Promise<KnownFiles> {
    const known = this.#files.get(run)
    if (known) return await known
    if (this.#files.size >= 8) this.#files.clear()
    const reading = this.parts.migrations().then(migrations => KnownFiles.read(this.parts.checksums, migrations, order))
    reading.catch(() => this.#files.delete(run))
    this.#files.set(run, reading)
    return await reading
  }
}
