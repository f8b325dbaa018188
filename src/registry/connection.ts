import pg from 'pg'
import { TenancyError } from '../errors.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { adminSettings, poolTls, toClientConfig } from '../postgres/connect.ts'
import { GuardedClient } from '../postgres/guarded-client.ts'
import { toTenancyError } from '../postgres/sqlstate.ts'

/** More would not make a journal any faster, and every process of a fleet has its own; one holds the lock of a run. */
const maxConnections = 5

/** A small pool on the registry database. */
export class RegistryConnection {
  #pool: Promise<pg.Pool> | undefined
  #closed = false

  constructor(readonly address: ServerAddress) {}

  async query<Row extends object>(doing: string, text: string, values: unknown[] = []): Promise<Row[]> {
    try {
      const pool = await this.#open()
      return (await pool.query(text, values)).rows as Row[]
    } catch (error) {
      throw toTenancyError(error, `registry: ${doing}`)
    }
  }

  /** For a library that brings its own statements, several in one text among them. */
  async execute(doing: string, text: string, values?: unknown[]): Promise<{ rows: never[] }> {
    try {
      const pool = await this.#open()
      return values === undefined ? await pool.query(text) : await pool.query(text, values)
    } catch (error) {
      throw toTenancyError(error, `registry: ${doing}`)
    }
  }

  async transaction<T>(doing: string, work: (query: RegistryQuery) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined
    let failure: Error | undefined
    try {
      client = await (await this.#open()).connect()
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
      throw toTenancyError(error, `registry: ${doing}`)
    } finally {
      // A connection that could not roll back is not given to the next one.
      client?.release(failure)
    }
  }

  /** A connection for a lock that has to last; `onLost` is called when it ends before it was released. */
  async hold(doing: string, onLost: () => void): Promise<HeldConnection> {
    try {
      const client = await (await this.#open()).connect()
      client.once('end', onLost)
      return {
        query: async (text, values = []) => (await client.query(text, values)).rows as never,
        release: () => {
          client.off('end', onLost)
          // Its session goes, and every lock with it.
          client.release(true)
        },
      }
    } catch (error) {
      throw toTenancyError(error, `registry: ${doing}`)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const pool = await this.#pool?.catch(() => undefined)
    this.#pool = undefined
    await pool?.end()
  }

  #open(): Promise<pg.Pool> {
    if (this.#closed) throw new TenancyError('CLOSED', 'the tenancy was closed')
    this.#pool ??= this.#create().catch(error => {
      this.#pool = undefined
      throw error
    })
    return this.#pool
  }

  async #create(): Promise<pg.Pool> {
    const pool = new pg.Pool({
      ...toClientConfig(this.address, await poolTls(this.address), adminSettings),
      Client: GuardedClient,
      max: maxConnections,
      idleTimeoutMillis: 30_000,
      allowExitOnIdle: true,
    })
    pool.on('error', () => undefined)
    return pool
  }
}

export interface HeldConnection {
  query: RegistryQuery
  release(): void
}

export type RegistryQuery = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>
