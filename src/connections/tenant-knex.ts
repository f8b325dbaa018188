import type { Knex } from 'knex'
import type { Client } from '../postgres/connect.ts'
import type { Lease } from './tenant-connection.ts'

/** Where a tenant's knex gets its connections. */
interface LeaseSource {
  /** Throws what keeps a connection from being had. */
  acquire(): Promise<Lease>
  release(lease: Lease): void
}

export type CreateTenantKnex = (source: LeaseSource) => Knex

/** Loads knex, and makes it able to work on connections that are not its own. */
export async function loadTenantKnex(onDeprecated: (message: string) => void): Promise<CreateTenantKnex> {
  const [{ default: createKnex }, { default: PostgresClient }] = await Promise.all([
    import('knex'),
    import('knex/lib/dialects/postgres/index.js'),
  ])
  /** Of the connections that knex holds now: what it gives back is the client alone. */
  const leases = new WeakMap<Client, Lease>()

  class TenantClient extends PostgresClient {
    /** Of the process's budget, see `ConnectionPool`; knex counts the connections of one database only. */
    override async cancelQuery(client: Client): Promise<void> {
      await leases.get(client)?.cancel()
    }

    /** It belongs to the tenancy, and others use it: `tenancy.close()` is what ends it. */
    override destroy(done?: () => void): Promise<void> {
      done?.()
      return Promise.resolve()
    }
  }

  function make(): (source: LeaseSource) => Knex {
    let source: LeaseSource
    const knex = createKnex({
      client: TenantClient as unknown as typeof Knex.Client,
      connectionPool: {
        acquire: () => ({
          promise: source.acquire().then(lease => {
            leases.set(lease.client, lease)
            return lease.client
          }),
        }),
        release(client: Client) {
          const lease = leases.get(client)
          // knex gives a connection back twice after a stream, when it may already be another request's.
          if (!lease?.end()) return false
          source.release(lease)
          return true
        },
        destroy: () => Promise.resolve(),
        // What makes knex take this for a pool of its own kind.
        numFree: () => 0,
        numUsed: () => 0,
        numPendingAcquires: () => 0,
      } as Knex.TarnPoolLike,
      // What it would warn of is thrown as well, and a library does not write to the console.
      log: {
        debug: () => undefined,
        warn: () => undefined,
        error: () => undefined,
        deprecate: (method, alternative) => onDeprecated(`knex: ${method} is deprecated, use ${alternative}`),
      },
    })
    return of => {
      source = of
      return knex
    }
  }

  // knex takes half a millisecond to make one of itself: the next is made while a new tenant's login is under way.
  let spare: ReturnType<typeof make> | undefined
  return source => {
    const bind = spare ?? make()
    spare = undefined
    setImmediate(() => {
      spare ??= make()
    })
    return bind(source)
  }
}
