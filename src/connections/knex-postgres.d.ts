/** The class that knex's documentation tells to extend for a dialect of one's own; knex declares no types for it. */
declare module 'knex/lib/dialects/postgres/index.js' {
  import type { Knex } from 'knex'

  const PostgresClient: new (
    config: Knex.Config,
  ) => Omit<Knex.Client, 'cancelQuery' | 'destroy'> & {
    /** Cancels what runs on a connection, after `.timeout(ms, { cancel: true })`. */
    cancelQuery(connection: unknown): Promise<void>
    destroy(done?: () => void): Promise<void>
  }
  export default PostgresClient
}
