import { createHash } from 'node:crypto'
import pg from 'pg'
import { TenancyError } from '../errors.ts'
import { hostAndPort, type ServerAddress } from '../postgres/address.ts'
import { adminSettings, openPool, toClientConfig, withAdmin } from '../postgres/connect.ts'
import { GuardedClient } from '../postgres/guarded-client.ts'
import { quoteLiteral } from '../postgres/identifiers.ts'
import { lockKey, withAdvisoryLock } from '../postgres/locks.ts'
import { isUnprepared, reachCodes, toTenancyError } from '../postgres/sqlstate.ts'
import { Batch } from './batch.ts'
import { type HeldLock, LockSession } from './lock-session.ts'

/** More would not make a journal any faster, and every process of a fleet has its own. */
const maxConnections = 5

/**
 * Milliseconds after which a statement's answer is not waited for any longer: where the network swallows what is sent,
 * TCP tries for a quarter of an hour, and keepalive waits for it. Locks are waited for no longer than `lock_timeout`.
 */
const answerTimeoutMs = 120_000

const aloneWithinMs = 60_000

/** A small pool on the registry database. */
export class RegistryConnection {
  #pool: Promise<pg.Pool> | undefined
  #closed = false
  /** Names of the statements that sessions prepare, by text; undefined once that has turned out not to work here. */
  #prepared: Map<string, string> | undefined = new Map()
  readonly #lockSessions: LockSession[] = []
  readonly #writes = new Batch<PendingWrite>(writes => this.#writeTogether(writes))

  constructor(
    readonly address: ServerAddress,
    private readonly timeoutMs = answerTimeoutMs,
  ) {}

  async query<Row extends object>(doing: string, text: string, values: unknown[] = []): Promise<Row[]> {
    try {
      const pool = await this.#open()
      return (await pool.query(text, values)).rows as Row[]
    } catch (error) {
      throw this.#failure(error, doing)
    }
  }

  /**
   * A statement that is sent for each request or each new tenant, prepared once per session: it takes longer to plan
   * than to run. Behind a pooler that gives its statements to several sessions, it is planned each time.
   */
  async prepared<Row extends object>(doing: string, text: string, values: unknown[]): Promise<Row[]> {
    if (!this.#prepared) return this.query(doing, text, values)
    // Named by its text: another version of this program may share the session behind a pooler.
    const name = this.#prepared.get(text) ?? `tenantctl_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`
    this.#prepared.set(text, name)
    try {
      const pool = await this.#open()
      return (await pool.query({ name, text, values })).rows as Row[]
    } catch (error) {
      // Before anything is done by it.
      if (!isUnprepared(error)) throw this.#failure(error, doing)
      this.#prepared = undefined
      return this.query(doing, text, values)
    }
  }

  /** For a library that brings its own statements, several in one text among them. */
  async execute(doing: string, text: string, values?: unknown[]): Promise<{ rows: never[] }> {
    try {
      const pool = await this.#open()
      return values === undefined ? await pool.query(text) : await pool.query(text, values)
    } catch (error) {
      throw this.#failure(error, doing)
    }
  }

  /**
   * Group commit: what comes while a write is under way goes with the next, of whatever kind it is, as one message and
   * one transaction. Ends when the row is committed.
   */
  write(kind: BulkWrite, row: object): Promise<void> {
    return this.#writes.add({ kind, row })
  }

  async transaction<T>(doing: string, work: (query: RegistryQuery) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined
    let failure: Error | undefined
    try {
      client = await this.#borrow()
      const held = client
      await held.query('BEGIN')
      const result = await work(async (text, values = []) => (await held.query(text, values)).rows as never)
      await held.query('COMMIT')
      return result
    } catch (error) {
      failure = error as Error
      await client?.query('ROLLBACK').then(
        () => {
          failure = undefined
        },
        () => undefined,
      )
      throw this.#failure(error, doing)
    } finally {
      // A connection that could not roll back is not given to the next one.
      if (client) giveBack(client, failure)
    }
  }

  /**
   * For a lock that a process holds for long, under a name of its own: beside the pool, whose connections are for those
   * who give them back soon. `onLost` is called when its session ends before it was released.
   */
  hold(name: string, doing: string, onLost: () => void): HeldLock {
    if (this.#closed) throw closed()
    let session = this.#lockSessions.find(each => !each.has(name))
    if (!session) {
      session = new LockSession(this.address, this.timeoutMs)
      this.#lockSessions.push(session)
    }
    const held = session.join(name, onLost)
    return {
      ...held,
      query: (text, values) =>
        held.query<never>(text, values).catch(error => {
          throw this.#failure(error, doing)
        }),
    }
  }

  /** Runs `work` while no other process is doing the same. Throws `LOCK_TIMEOUT` when one has been for a minute. */
  async alone<T>(doing: string, work: () => Promise<T>): Promise<T> {
    const onTimeout = () => new TenancyError('LOCK_TIMEOUT', `another process has been ${doing} for a minute`)
    return withAdmin(this.address, { doing: 'the registry' }, admin =>
      withAdvisoryLock(admin, lockKey(doing), { timeoutMs: aloneWithinMs, onTimeout }, work),
    )
  }

  async #writeTogether(writes: readonly PendingWrite[]): Promise<void> {
    const kinds = new Map<BulkWrite, object[]>()
    for (const { kind, row } of writes) {
      const rows = kinds.get(kind)
      if (rows) rows.push(row)
      else kinds.set(kind, [row])
    }
    const texts = [...kinds].map(([kind, rows]) =>
      kind.text({ json: `${quoteLiteral(JSON.stringify(rows))}::jsonb`, count: rows.length }),
    )
    await this.execute([...kinds.keys()].map(kind => kind.doing).join(' and '), texts.join(';\n'))
  }

  /** The pool listens to connections that are idle alone: one lost while it is borrowed must not end the process. */
  async #borrow(): Promise<pg.PoolClient> {
    const client = await (await this.#open()).connect()
    client.on('error', ignore)
    return client
  }

  async close(): Promise<void> {
    this.#closed = true
    const pool = await this.#pool?.catch(() => undefined)
    this.#pool = undefined
    await Promise.all([pool?.end(), ...this.#lockSessions.map(each => each.close())])
  }

  /** A server that is not reached or refuses us is told by its address, anything else by what was being done. */
  #failure(error: unknown, doing: string): TenancyError {
    const failure = toTenancyError(error, `registry: ${doing}`)
    if (!reachCodes.includes(failure.code)) return failure
    return toTenancyError(error, `the registry at ${hostAndPort(this.address)}`)
  }

  #open(): Promise<pg.Pool> {
    if (this.#closed) throw closed()
    this.#pool ??= this.#create().catch(error => {
      this.#pool = undefined
      throw error
    })
    return this.#pool
  }

  #create(): Promise<pg.Pool> {
    return openPool(this.address, ssl => {
      const pool = new pg.Pool({
        ...toClientConfig(this.address, ssl, adminSettings),
        Client: GuardedClient,
        max: maxConnections,
        query_timeout: this.timeoutMs,
        idleTimeoutMillis: 30_000,
        allowExitOnIdle: true,
      })
      pool.on('error', ignore)
      return pool
    })
  }
}

function giveBack(client: pg.PoolClient, failure: Error | boolean | undefined): void {
  client.release(failure)
  // The pool has its own listener again, or has closed the connection for good.
  if (!failure) client.off('error', ignore)
}

function closed(): TenancyError {
  return new TenancyError('CLOSED', 'the tenancy was closed')
}

/** Its next statement fails, and tells. */
function ignore(): void {}

/** A statement that writes any number of rows. */
export interface BulkWrite {
  doing: string
  text(rows: BulkRows): string
}

interface BulkRows {
  /** SQL for a JSON array of them. */
  json: string
  /** For a LIMIT: the planner thinks of a hundred rows otherwise, and would rather read whole tables. */
  count: number
}

interface PendingWrite {
  kind: BulkWrite
  row: object
}

export type RegistryQuery = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>
