import { AsyncResource } from 'node:async_hooks'
import type { Knex } from 'knex'
import type { ResolvedConfig } from '../config/config.ts'
import { asTenancyError, TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { sqlstateOf } from '../postgres/sqlstate.ts'
import type { DomainRegistry } from '../registry/domain-registry.ts'
import { defaultServer, type Servers } from '../registry/servers.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { TenantRegistry } from '../registry/tenant-registry.ts'
import { ConnectionPool } from './connection-pool.ts'
import { KnownDomains } from './known-domains.ts'
import { type KnownTenant, KnownTenants } from './known-tenants.ts'
import type { PoolObserver, PoolStats } from './pool-types.ts'
import { RegistryWatch } from './registry-watch.ts'
import { TenantConnection } from './tenant-connection.ts'
import { type CreateTenantKnex, loadTenantKnex } from './tenant-knex.ts'

/** Numbers of this process, for a dashboard: gauges as they are now, counters since it began. */
export interface ConnectionStats extends PoolStats {
  /** Tenants that were looked up in the registry and are remembered. */
  known: number
  /** Look-ups that memory answered, since the start. */
  hits: number
  /** Look-ups that the registry answered, since the start. */
  misses: number
}

interface Entered {
  tenant: Tenant
  connection: Knex
}

/**
 * Connections outlive the request for which they were opened, so they must not be opened in its asynchronous context:
 * what their sockets call later on would run in the context of a request that is long over, or of another tenant.
 */
const outside = new AsyncResource('tenantctl.connections')

/** From a tenant to a knex on its database, logged in as its role. */
export class TenantConnections {
  readonly watch: RegistryWatch
  readonly #known: KnownTenants
  readonly #domains: KnownDomains
  readonly #pool: ConnectionPool<TenantConnection>
  readonly #handles = new Map<string, Knex>()
  readonly #acquireTimeoutMs: number
  /** Beyond so many, the knex that was made first is forgotten; who holds it can go on using it. */
  readonly #keptHandles: number
  #createKnex: CreateTenantKnex | undefined
  #loading: Promise<CreateTenantKnex> | undefined
  #closed = false

  constructor(
    registry: Pick<TenantRegistry, 'findLogin'>,
    domains: Pick<DomainRegistry, 'find'>,
    private readonly servers: Servers,
    private readonly config: { connections: ResolvedConfig['connections']; onEvent?: Listener },
  ) {
    const { connections, onEvent } = config
    this.#acquireTimeoutMs = connections.acquireTimeoutMs
    // As many as can have connections, and as many again: one takes some tens of kilobytes.
    this.#keptHandles = 2 * connections.max
    this.#pool = new ConnectionPool(connections, this.#observer(onEvent))
    this.watch = new RegistryWatch(
      servers.admin(defaultServer),
      {
        changed: tenantId => this.#changed(tenantId),
        lost: () => notify(onEvent, { event: 'registry_lost' }),
        back: () => notify(onEvent, { event: 'registry_back' }),
      },
      connections.registryTtlMs,
    )
    this.#known = new KnownTenants(registry, this.watch, connections.registryTtlMs)
    this.#domains = new KnownDomains(domains, this.watch, connections.registryTtlMs)
  }

  /**
   * Opened on first use and shared afterwards; belongs to the tenancy, so do not destroy it. Connects with the first
   * query. Throws `TENANT_NOT_FOUND`, `TENANT_NOT_READY`, `TENANT_SUSPENDED`, `TENANT_DROPPING` or `TENANT_FAILED`.
   */
  async get(slugOrId: string): Promise<Knex> {
    const known = this.#known.get(slugOrId)
    return this.#handle((known instanceof Promise ? await known : known).tenant)
  }

  /** The tenant and its knex, at once when both are known: a request must not pay for what it does not need. */
  enter(slugOrId: string): Entered | Promise<Entered> {
    const known = this.#known.get(slugOrId)
    const handle = known instanceof Promise ? undefined : this.#handles.get(known.tenantId)
    return known instanceof Promise || !handle ? this.#enter(known) : { tenant: known.tenant, connection: handle }
  }

  async #enter(found: KnownTenant | Promise<KnownTenant>): Promise<Entered> {
    const { tenant } = await found
    return { tenant, connection: await this.#handle(tenant) }
  }

  /** Slug of the tenant that a domain belongs to. */
  slugOfDomain(domain: string): Promise<string | undefined> {
    return this.#domains.slugOf(domain)
  }

  get stats(): ConnectionStats {
    return { ...this.#pool.stats, ...this.#known.counts }
  }

  /**
   * Lets go of a tenant's connections: idle ones now, busy ones when their queries and transactions have ended, for
   * which it waits as long as a request would wait for a connection.
   */
  async release(tenantId: string): Promise<void> {
    this.#known.outdate(tenantId)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, this.#acquireTimeoutMs)
    })
    await Promise.race([this.#pool.drain(tenantId), late])
    clearTimeout(timer)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#handles.clear()
    await Promise.all([this.#pool.close(), this.watch.close()])
  }

  #handle(tenant: Tenant): Knex | Promise<Knex> {
    if (this.#closed) throw new TenancyError('CLOSED', 'the tenancy was closed')
    const handle = this.#handles.get(tenant.id)
    if (handle) return handle
    if (this.#createKnex) return this.#make(tenant.id, this.#createKnex)
    this.#loading ??= loadTenantKnex(message => notify(this.config.onEvent, { event: 'notice', message }))
    return this.#loading.then(createKnex => {
      this.#createKnex = createKnex
      return this.#handles.get(tenant.id) ?? this.#make(tenant.id, createKnex)
    })
  }

  #make(id: string, createKnex: CreateTenantKnex): Knex {
    const knex = createKnex({
      acquire: async () => {
        // Asked each time, since a handle may be kept for days: the tenant may have been suspended or dropped.
        const known = this.#known.get(id)
        const { tenant } = known instanceof Promise ? await known : known
        const connection = await this.#pool.acquire({
          id,
          slug: tenant.slug,
          place: placeOf(tenant),
          open: () => outside.runInAsyncScope(() => this.#open(id)),
        })
        return connection.lend()
      },
      release: lease => this.#pool.release(lease.connection),
    })
    this.#handles.set(id, knex)
    if (this.#handles.size > this.#keptHandles) {
      const [oldest] = this.#handles.keys()
      this.#handles.delete(oldest as string)
    }
    return knex
  }

  /** Logs in; what the server refuses is tried once more when the registry knows better. */
  async #open(id: string): Promise<TenantConnection> {
    const known = await this.#known.get(id)
    try {
      return await TenantConnection.open(known.tenant, this.#address(known))
    } catch (error) {
      if (!mayBeOutdated(error)) throw asTenancyError(error).with({ tenant: known.tenant.slug })
      const now = await this.#known.reread(id)
      if (isSameLogin(known, now)) throw asTenancyError(error).with({ tenant: known.tenant.slug })
      return TenantConnection.open(now.tenant, this.#address(now))
    }
  }

  #address({ tenant, credentials }: KnownTenant): ServerAddress {
    if (!credentials) throw new TenancyError('INTERNAL', `no credentials of tenant "${tenant.slug}" were read`)
    return this.servers.application(tenant, credentials)
  }

  #changed(tenantId: string): void {
    this.#known.outdate(tenantId)
    this.#domains.outdate(tenantId)
    if (!this.#pool.has(tenantId)) return
    // A tenant whose connections we hold is looked at now: it may have been suspended, dropped or moved.
    void this.#look(tenantId)
  }

  async #look(tenantId: string): Promise<void> {
    try {
      const { tenant } = await this.#known.get(tenantId)
      this.#pool.moved(tenantId, placeOf(tenant))
    } catch (error) {
      const refusal = asTenancyError(error)
      if (refusal.code.startsWith('TENANT_')) await this.#pool.drain(tenantId, refusal)
    }
  }

  #observer(onEvent: Listener | undefined): PoolObserver {
    return {
      poolOpened: tenant => notify(onEvent, { event: 'pool_opened', tenant }),
      poolClosed: (tenant, id) => {
        this.#handles.delete(id)
        notify(onEvent, { event: 'pool_closed', tenant })
      },
      connectionOpened: (tenant, durationMs) => notify(onEvent, { event: 'connection_opened', tenant, durationMs }),
      connectionClosed: (tenant, reason) => notify(onEvent, { event: 'connection_closed', tenant, reason }),
      waited: (tenant, durationMs) => notify(onEvent, { event: 'connection_waited', tenant, durationMs }),
      timedOut: (tenant, durationMs) => notify(onEvent, { event: 'connection_timed_out', tenant, durationMs }),
    }
  }
}

/** Wrong password, no login, no such database, no CONNECT, or a database that takes no connections. */
const refusals = new Set(['28P01', '28000', '3D000', '42501', '55000', '08P01'])

function mayBeOutdated(error: unknown): boolean {
  return refusals.has(sqlstateOf(error) ?? '') || asTenancyError(error).code === 'TENANT_MISMATCH'
}

function isSameLogin(one: KnownTenant, other: KnownTenant): boolean {
  if (placeOf(one.tenant) !== placeOf(other.tenant) || !one.credentials || !other.credentials) return false
  return one.credentials.password.equals(other.credentials.password)
}

function placeOf({ server, database, username }: Tenant): string {
  return JSON.stringify([server, database, username])
}
