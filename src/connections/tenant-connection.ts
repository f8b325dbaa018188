import { AsyncResource } from 'node:async_hooks'
import { TenancyError } from '../errors.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { requestCancel } from '../postgres/cancel.ts'
import { type Client, close, connect } from '../postgres/connect.ts'
import { query } from '../postgres/query.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { PooledConnection } from './pool-types.ts'

/** An error reaches whoever waits for a query before the server has said that it is ready for the next. */
const settlesWithinMs = 1_000

/** What pg keeps to itself: whether a statement runs, and how the server saw the transaction last. */
interface Internals {
  readyForQuery: boolean
  _queryable: boolean
  _ended: boolean
  getTransactionStatus(): 'I' | 'T' | 'E' | null
  /** Set by knex on a connection that must not be used again. */
  __knex__disposed?: unknown
  ref(): void
  unref(): void
}

/** One session on a tenant's database, logged in as its role, and proven to be that. */
export class TenantConnection implements PooledConnection {
  #lost = false
  #holdsProcess = true
  readonly #client: Client & Internals

  private constructor(client: Client) {
    this.#client = client as Client & Internals
  }

  /** Throws `TENANT_MISMATCH` when somebody else's database answers. */
  static async open(tenant: Tenant, address: ServerAddress): Promise<TenantConnection> {
    const doing = `logging in to database "${tenant.database}" as role "${tenant.username}"`
    const client = await connect(address, { doing })
    try {
      await verifyIdentity(client, tenant)
      return new TenantConnection(client)
    } catch (error) {
      await close(client)
      throw error
    }
  }

  get clean(): boolean {
    const { readyForQuery, _queryable, __knex__disposed } = this.#client
    const alive = !this.#lost && _queryable && __knex__disposed === undefined
    return alive && readyForQuery && this.#client.getTransactionStatus() === 'I'
  }

  settle(): Promise<void> {
    const client = this.#client
    if (client.readyForQuery || !client._queryable || client.__knex__disposed !== undefined) return Promise.resolve()
    return new Promise(resolve => {
      const done = () => {
        clearTimeout(timer)
        client.off('drain', done)
        client.off('end', done)
        resolve()
      }
      const timer = setTimeout(done, settlesWithinMs)
      client.on('drain', done)
      client.on('end', done)
    })
  }

  onLost(listener: () => void): void {
    const lose = () => {
      this.#lost = true
      listener()
    }
    this.#client.on('error', lose)
    this.#client.on('end', lose)
  }

  setBusy(busy: boolean): void {
    if (busy === this.#holdsProcess) return
    this.#holdsProcess = busy
    if (busy) this.#client.ref()
    else this.#client.unref()
  }

  close(): Promise<void> {
    this.setBusy(true)
    return close(this.#client)
  }

  /**
   * The client, for one who borrows it. Once he has given it back he cannot use it any more: two requests never share
   * a session, not even when one of them keeps a reference for too long.
   */
  lend(): Lease {
    const client = this.#client
    let over = false
    const ask = (...args: unknown[]) => Reflect.apply(client.query, client, args.map(inContext))
    const borrowed = new Proxy(client, {
      get(target, key) {
        if (key === 'query') return over ? refuseQuery : ask
        const value: unknown = Reflect.get(target, key)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    return {
      client: borrowed,
      connection: this,
      end: () => {
        const wasOver = over
        over = true
        return !wasOver
      },
      cancel: () => requestCancel(client),
    }
  }
}

/** A connection that somebody has borrowed. */
export interface Lease {
  client: Client
  connection: TenantConnection
  /** True the first time. */
  end(): boolean
  /** Cancels the statement that runs. */
  cancel(): Promise<void>
}

function refuseQuery(): never {
  throw new TenancyError('CLOSED', 'this connection was given back to the pool already', {
    hint: 'a query was started on a transaction or connection after its end: is an await missing?',
  })
}

/**
 * Cursors and streams of rows are driven by the socket, whose asynchronous context is nobody's: they are brought back
 * into the context of the one who asked, so that his listeners find his tenant.
 */
function inContext(argument: unknown): unknown {
  const submittable = argument as Record<string, unknown> | null
  if (typeof submittable !== 'object' || typeof submittable?.submit !== 'function') return argument
  for (const name of handlers) {
    const handler = submittable[name]
    if (typeof handler === 'function') submittable[name] = AsyncResource.bind(handler.bind(submittable))
  }
  return submittable
}

const handlers = [
  'handleRowDescription',
  'handleDataRow',
  'handlePortalSuspended',
  'handleCommandComplete',
  'handleReadyForQuery',
  'handleEmptyQuery',
  'handleError',
  'handleCopyInResponse',
  'handleCopyData',
]

/**
 * A pooler, or a server that was swapped behind an address, must not hand out somebody else's database. The session's
 * user: `current_user` is what a SET ROLE says that another client of the same pooler may have left behind. Words of the
 * grammar, which no search_path leads astray, and for which a new session has the fewest catalogs to read.
 */
async function verifyIdentity(client: Client, tenant: Tenant): Promise<void> {
  const [found] = await query<{ database: string; role: string }>(
    client,
    `checking who answers for tenant "${tenant.slug}"`,
    'SELECT current_catalog AS database, session_user AS role',
  )
  if (found?.database === tenant.database && found.role === tenant.username) return
  throw new TenancyError(
    'TENANT_MISMATCH',
    `connected to database "${found?.database}" as "${found?.role}" instead of "${tenant.database}" as "${tenant.username}"`,
    { tenant: tenant.slug },
  )
}
