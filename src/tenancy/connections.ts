import type { Knex } from 'knex'
import type { ConnectionStats, TenantConnections } from '../connections/tenant-connections.ts'
import { runInContext, type TenantContext } from '../context/tenant-context.ts'
import type { LazyParts } from './parts.ts'

/** Pooled connections to tenants, under one budget for the whole process. */
export class Connections {
  #opened: TenantConnections | undefined

  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /**
   * A knex on a tenant's database, by slug or id, logged in as the tenant. It connects with its first query, is shared
   * by all who ask for it, and belongs to the tenancy: `destroy()` does nothing. Throws `TENANT_NOT_FOUND`,
   * `TENANT_NOT_READY`, `TENANT_SUSPENDED`, `TENANT_DROPPING` or `TENANT_FAILED`, as do its queries when that comes to
   * be so later; a query that gets no connection in time throws `POOL_TIMEOUT`.
   */
  async get(slugOrId: string): Promise<Knex> {
    return (this.#opened ?? (await this.#open())).get(slugOrId)
  }

  /** What the pools do now, and have done so far. Opens nothing. */
  stats(): ConnectionStats {
    return this.#opened?.stats ?? { ...nothing }
  }

  /** @internal See `tenancy.run()`. */
  async run<T>(slugOrId: string, work: (context: TenantContext) => T | Promise<T>): Promise<T> {
    const connections = this.#opened ?? (await this.#open())
    const context = connections.enter(slugOrId)
    return runInContext(context instanceof Promise ? await context : context, work)
  }

  async #open(): Promise<TenantConnections> {
    this.#opened = await (await this.parts.get()).connections()
    return this.#opened
  }
}

const nothing: ConnectionStats = {
  ...{ pools: 0, connections: 0, idle: 0, waiting: 0, evictions: 0, timeouts: 0 },
  ...{ known: 0, hits: 0, misses: 0 },
}
