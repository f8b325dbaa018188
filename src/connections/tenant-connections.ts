import type { Knex } from 'knex'
import type { ResolvedConfig } from '../config/config.ts'
import { type ErrorCode, TenancyError } from '../errors.ts'
import { toClientConfig } from '../postgres/connect.ts'
import { tlsOptions } from '../postgres/tls.ts'
import type { Servers } from '../registry/servers.ts'
import type { Tenant, TenantStatus } from '../registry/tenant.ts'
import type { TenantRegistry } from '../registry/tenant-registry.ts'

interface Pool {
  knex: Promise<Knex>
  lastUsed: number
}

const unusable: Partial<Record<TenantStatus, [ErrorCode, string]>> = {
  provisioning: ['TENANT_NOT_READY', 'is still being made'],
  suspended: ['TENANT_SUSPENDED', 'is suspended'],
  dropping: ['TENANT_DROPPING', 'is being dropped'],
  failed: ['TENANT_FAILED', 'is half-made: its last operation failed'],
}

/** From a tenant to a pooled knex on its database, logged in as its role. */
export class TenantConnections {
  readonly #pools = new Map<string, Pool>()
  #closed = false

  constructor(
    private readonly registry: TenantRegistry,
    private readonly servers: Servers,
    private readonly limits: ResolvedConfig['connections'],
  ) {}

  /** Opened on first use and shared afterwards; belongs to the tenancy, so do not destroy it. */
  async get(slugOrId: string): Promise<Knex> {
    if (this.#closed) throw new TenancyError('CLOSED', 'the tenancy was closed')
    const tenant = await this.registry.get(slugOrId)
    refuseUnusable(tenant)
    const pool = this.#pools.get(tenant.id) ?? this.#open(tenant)
    pool.lastUsed = Date.now()
    return pool.knex
  }

  /** Lets go of a tenant's pool, once its running queries have ended. */
  async release(tenantId: string): Promise<void> {
    const pool = this.#pools.get(tenantId)
    this.#pools.delete(tenantId)
    await pool?.knex.then(knex => knex.destroy()).catch(() => undefined)
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#pools.keys()].map(id => this.release(id)))
  }

  #open(tenant: Tenant): Pool {
    const pool: Pool = { knex: this.#createKnex(tenant), lastUsed: Date.now() }
    // One that could not be opened must not be remembered as if it had been.
    pool.knex.catch(() => this.#pools.delete(tenant.id))
    this.#pools.set(tenant.id, pool)
    return pool
  }

  async #createKnex(tenant: Tenant): Promise<Knex> {
    const address = this.servers.tenant(tenant, await this.registry.credentials(tenant))
    const [{ default: createKnex }, ssl] = await Promise.all([import('knex'), tlsOptions(address)])
    return createKnex({
      client: 'pg',
      connection: toClientConfig(address, ssl) as Knex.PgConnectionConfig,
      pool: {
        min: 0,
        max: this.limits.perTenant,
        idleTimeoutMillis: this.limits.idleTimeoutMs,
        acquireTimeoutMillis: this.limits.acquireTimeoutMs,
        afterCreate: (connection: ProbedConnection, done: (error?: Error) => void) =>
          void verifyIdentity(connection, tenant).then(
            () => done(),
            (error: Error) => done(error),
          ),
      },
    })
  }
}

function refuseUnusable({ slug, status }: Tenant): void {
  const problem = unusable[status]
  if (problem) throw new TenancyError(problem[0], `tenant "${slug}" ${problem[1]}`, { tenant: slug })
}

interface ProbedConnection {
  query(text: string): Promise<{ rows: { database: string; role: string }[] }>
}

/** A pooler, or a server that was swapped behind an address, must not hand out somebody else's database. */
async function verifyIdentity(connection: ProbedConnection, tenant: Tenant): Promise<void> {
  const { rows } = await connection.query('SELECT pg_catalog.current_database() AS database, current_user AS role')
  if (rows[0]?.database === tenant.database && rows[0].role === tenant.username) return
  throw new TenancyError(
    'TENANT_MISMATCH',
    `connected to database "${rows[0]?.database}" as "${rows[0]?.role}" instead of "${tenant.database}" as "${tenant.username}"`,
    { tenant: tenant.slug },
  )
}
