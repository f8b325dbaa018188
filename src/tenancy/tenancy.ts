import { isResolvedConfig, type ResolvedConfig, resolveTenancyConfig, type TenancyConfig } from '../config/config.ts'
import type { TenantContext } from '../context/tenant-context.ts'
import type { Operation } from '../registry/operation.ts'
import type { OperationFilter } from '../registry/operation-journal.ts'
import { Connections } from './connections.ts'
import { EncryptionKeys } from './keys.ts'
import { TenantMigrations } from './migrations.ts'
import { LazyParts } from './parts.ts'
import { TenantSeeds } from './seeds.ts'
import { Tenants } from './tenants.ts'

/** A registry and its tenants. Opens nothing before it is first used; `close()` ends all connections. */
export class Tenancy implements AsyncDisposable {
  readonly #parts: LazyParts
  readonly tenants: Tenants
  readonly migrations: TenantMigrations
  readonly seeds: TenantSeeds
  readonly keys: EncryptionKeys
  readonly connections: Connections
  /** The journal: what was done to tenants, by whom, and what came of it. */
  readonly operations: {
    /** Newest first, 50 unless `limit` says otherwise. */
    list(filter?: OperationFilter): Promise<Operation[]>
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
    this.migrations = new TenantMigrations(parts)
    this.seeds = new TenantSeeds(parts)
    this.keys = new EncryptionKeys(parts)
    this.connections = new Connections(parts)
    this.operations = { list: async filter => (await parts.get()).journal.list(filter) }
    this.registry = { install: async () => void (await parts.get()) }
  }

  /**
   * Runs `work` in the context of a tenant, by slug or id: in it, and in all that it starts, `currentTenant()` and
   * `currentConnection()` are the tenant's. A run within a run holds until its own end. Throws what
   * `connections.get()` throws, before `work` begins.
   */
  async run<T>(slugOrId: string, work: (context: TenantContext) => T | Promise<T>): Promise<T> {
    return this.connections.run(slugOrId, work)
  }

  async close(): Promise<void> {
    await this.#parts.close()
  }

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
