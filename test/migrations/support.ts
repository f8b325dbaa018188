import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TenancyEvent } from '../../src/events.ts'
import { type MigrateOptions, type MigrateResult, migrateDatabase } from '../../src/migrations/migrate.ts'
import { readMigrations } from '../../src/migrations/source.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { withClient } from '../../src/postgres/connect.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { type Row, urlWith } from '../support/client.ts'
import type { Namespace } from '../support/namespace.ts'

/** An empty database with a folder of migrations beside it, for the runner alone: no registry, no tenant. */
export interface Bench {
  database: string
  url: string
  directory: string
  write(files: Record<string, string>): void
  migrate(options?: Partial<MigrateOptions>): Promise<MigrateResult>
  /** The error of a run that must fail. */
  failure(options?: Partial<MigrateOptions>): Promise<unknown>
  sql<R extends object = Row>(text: string, values?: unknown[]): Promise<R[]>
  /** Names in knex_migrations, oldest first. */
  applied(): Promise<string[]>
  events: TenancyEvent[]
}

export async function makeBench(namespace: Namespace): Promise<Bench> {
  const database = `${namespace.prefix}_${randomBytes(3).toString('hex')}`
  await namespace.sql(`CREATE DATABASE ${database}`)
  const url = urlWith(namespace.adminUrl, { database })
  const directory = join(namespace.directory, database)
  mkdirSync(directory)
  const events: TenancyEvent[] = []
  const bench: Bench = {
    database,
    url,
    directory,
    events,
    write(files) {
      for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content)
    },
    async migrate(options = {}) {
      const migrations = await readMigrations(directory)
      const connection = { settings: { lock_timeout: 300 }, signal: options.signal }
      return withClient(parseAddress(new Secret(url)), connection, client =>
        migrateDatabase(client, migrations, {
          statementTimeoutMs: 0,
          waitMs: 10_000,
          tenant: 'acme',
          onEvent: event => void events.push(event),
          ...options,
        }),
      )
    },
    async failure(options) {
      const result = await bench.migrate(options).catch((error: unknown) => error)
      if (!(result instanceof Error)) throw new Error('the run did not fail')
      return result
    },
    sql: (text, values) => namespace.sql(text, values, database),
    async applied() {
      const rows = await bench.sql<{ name: string }>('SELECT name FROM knex_migrations ORDER BY id')
      return rows.map(row => row.name)
    },
  }
  return bench
}
