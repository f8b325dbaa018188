import { isResolvedConfig, type ResolvedConfig, resolveTenancyConfig, type TenancyConfig } from '../config/config.ts'
import type { TenantContext } from '../context/tenant-context.ts'
import type { DoctorResult } from '../doctor/finding.ts'
import type { Selection } from '../fleet/selection.ts'
import { onDemand } from '../on-demand.ts'
import type { Operation } from '../registry/operation.ts'
import type { OperationFilter } from '../registry/operation-journal.ts'
import type { Run, RunDetails, RunFilter } from '../registry/run.ts'
import { Connections } from './connections.ts'
import type { DoctorOptions } from './doctor.ts'
import { Domains } from './domains.ts'
import type { TenantDrift } from './drift.ts'
import { EncryptionKeys } from './keys.ts'
import type { TenantMigrations } from './migrations.ts'
import { LazyParts } from './parts.ts'
import type { PgBouncerOptions, PgBouncerSetup } from './pgbouncer.ts'
import type { ReadyPool } from './pool.ts'
import type { TenantQueue } from './queue.ts'
import type { RepairOptions, RepairResult } from './repair.ts'
import type { TenantSeeds } from './seeds.ts'
import { Tenants } from './tenants.ts'

/** A registry and its tenants. Opens nothing before it is first used; `close()` ends all connections. */
export class Tenancy implements AsyncDisposable {
  readonly #parts: LazyParts
  readonly tenants: Tenants
  readonly migrations: TenantMigrations
  readonly seeds: TenantSeeds
  /** Compares the schemas of a fleet. */
  readonly drift: TenantDrift
  readonly keys: EncryptionKeys
  /** Tenants made in the background. */
  readonly queue: TenantQueue
  /** The stock of ready tenants. */
  readonly pool: ReadyPool
  readonly connections: Connections
  readonly domains: Domains
  /** The journal: what was done to tenants, by whom, and what came of it. */
  readonly operations: {
    /** Newest first, 50 unless `limit` says otherwise. */
    list(filter?: OperationFilter): Promise<Operation[]>
  }
  /** The ledger: fleet commands, and what became of each tenant in them. */
  readonly runs: {
    /** Newest first, 20 unless `limit` says otherwise. */
    list(filter?: RunFilter): Promise<Run[]>
    /** By its id, or `last`. Throws `RUN_NOT_FOUND`. */
    get(id: string): Promise<RunDetails>
  }
  readonly registry: {
    /** Makes the registry be there and up to date; every other call does so as well. */
    install(): Promise<void>
  }

  /** @internal */
  constructor(config: ResolvedConfig) {
    const parts = new LazyParts(config)
    this.#parts = parts
    this.tenants = new Tenants(parts)
    this.migrations = onDemand(async () => new (await import('./migrations.ts')).TenantMigrations(parts))
    this.seeds = onDemand(async () => new (await import('./seeds.ts')).TenantSeeds(parts))
    this.drift = onDemand(async () => new (await import('./drift.ts')).TenantDrift(parts))
    this.keys = new EncryptionKeys(parts)
    this.queue = onDemand(async () => new (await import('./queue.ts')).TenantQueue(parts))
    this.pool = onDemand(async () => new (await import('./pool.ts')).ReadyPool(parts))
    this.connections = new Connections(parts)
    this.domains = new Domains(parts)
    this.operations = {
      async list(filter) {
        const { journal, registry } = await parts.get()
        const found = await journal.list(filter)
        // A tenant that was dropped still has its operations; one that never was has none.
        if (found.length === 0 && filter?.tenant !== undefined) await registry.get(filter.tenant)
        return found
      },
    }
    this.runs = {
      list: async filter => (await parts.get()).ledger.list(filter),
      get: async id => (await parts.get()).ledger.details(id),
    }
    this.registry = { install: async () => void (await parts.get()) }
  }

  /**
   * Finishes or undoes whatever crashed runs left half-done, on the tenants of a selection, or without one on all that
   * need it. A tenant that a living run is at work on is `skipped`. Returns also when tenants failed.
   */
  async repair(selection?: Selection, options: RepairOptions = {}): Promise<RepairResult> {
    const { repair } = await import('./repair.ts')
    return repair(this.#parts, selection, options)
  }

  /**
   * Compares every server with the registry, from the servers' maintenance databases alone; with `fix` puts right what
   * can be put right without losing data, with `isolation` logs in as tenants and tries to leave their databases.
   * Throws `SERVER_NOT_FOUND`, and `USAGE` for a name in `dropOrphans` that is no orphan, before anything is changed.
   */
  async doctor(options: DoctorOptions = {}): Promise<DoctorResult> {
    const { doctor } = await import('./doctor.ts')
    return doctor(this.#parts, options)
  }

  /**
   * Runs `work` in the context of a tenant, by slug or id: in it, and in all that it starts, `currentTenant()` and
   * `currentConnection()` are the tenant's. A run within a run holds until its own end. Throws what
   * `connections.get()` throws, before `work` begins.
   */
  async run<T>(slugOrId: string, work: (context: TenantContext) => T | Promise<T>): Promise<T> {
    return this.connections.run(slugOrId, work)
  }

  /** The set-up of a PgBouncer in front of a server, for all of its tenants. Throws `SERVER_NOT_FOUND` or `USAGE`. */
  async pgbouncer(options: PgBouncerOptions = {}): Promise<PgBouncerSetup> {
    const { pgbouncerSetup } = await import('./pgbouncer.ts')
    return pgbouncerSetup(this.#parts, options)
  }

  /** Ends all connections, those of `connections` when their queries are done; every later call is `CLOSED`. */
  async close(): Promise<void> {
    await this.#parts.close()
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * The library's entry. Reads no environment and no file: `loadConfig` and `resolveConfig` do. Throws
 * `CONFIG_INVALID`, `ENCRYPTION_KEY_INVALID` or `NOT_CONFIGURED`.
 */
export function createTenancy(config: TenancyConfig | ResolvedConfig): Tenancy {
  return new Tenancy(isResolvedConfig(config) ? config : resolveTenancyConfig(config))
}
