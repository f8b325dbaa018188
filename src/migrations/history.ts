import type { Client } from '../postgres/connect.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import { advisoryUnlock } from '../postgres/locks.ts'
import { query } from '../postgres/query.ts'
import { sqlstate, sqlstateOf, toTenancyError } from '../postgres/sqlstate.ts'
import { withoutExtension } from './source.ts'

/** A row of knex_migrations. */
export interface AppliedMigration {
  /** Without extension. */
  name: string
  batch: number
}

/** More migrations than anybody has. */
const longestHistory = 100_000

/** Where knex keeps its books; `public` for tenants, as with the knex CLI's defaults. */
export class MigrationHistory {
  readonly #table: string
  readonly #lockTable: string

  constructor(
    private readonly client: Client,
    schema = 'public',
  ) {
    this.#table = `${quoteIdentifier(schema)}."knex_migrations"`
    this.#lockTable = `${quoteIdentifier(schema)}."knex_migrations_lock"`
  }

  /**
   * Takes the advisory lock, and reads the history under it, with one way to the server. Undefined, without the lock,
   * when somebody holds it, when the tables are not there, or when a pooler has made up the process id that the client
   * knows: a lock of a session would be somebody else's then.
   */
  async open(lockKey: string): Promise<{ before: AppliedMigration[]; unlocked: boolean } | undefined> {
    const { processID } = this.client as unknown as { processID: number | null }
    const lock = `SELECT CASE WHEN pg_catalog.pg_backend_pid() = ${Number(processID)}
      THEN pg_catalog.pg_try_advisory_lock(${BigInt(lockKey)}::bigint) END AS locked`
    try {
      const results = await this.client.query(`${lock};\n${this.#readText()};\n${this.#lockedText()}`)
      const [locked, applied, busy] = results as unknown as [
        { rows: { locked: boolean | null }[] },
        { rows: HistoryRow[] },
        { rows: unknown[] },
      ]
      if (locked.rows[0]?.locked) return { before: applied.rows.map(toApplied), unlocked: busy.rows.length === 0 }
    } catch (error) {
      if (!isMissing(error)) throw toTenancyError(error, 'reading knex_migrations')
      // Locks of a session outlive the statement that failed.
      await advisoryUnlock(this.client, lockKey)
    }
    return undefined
  }

  /**
   * Applied migrations, oldest first; none when the table is not there. The tenant may have put anything in its place:
   * what comes back is bounded, and of the types that knex uses.
   */
  async read(): Promise<AppliedMigration[]> {
    try {
      return (await query<HistoryRow>(this.client, 'reading knex_migrations', this.#readText())).map(toApplied)
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  }

  /** Makes the two tables as knex 3 makes them. */
  async ensureTables(): Promise<void> {
    await query(
      this.client,
      'creating knex_migrations',
      `CREATE TABLE IF NOT EXISTS ${this.#table} (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz);
       CREATE TABLE IF NOT EXISTS ${this.#lockTable} (index serial PRIMARY KEY, is_locked integer);
       INSERT INTO ${this.#lockTable} (is_locked) SELECT 0 WHERE NOT EXISTS (SELECT FROM ${this.#lockTable})`,
    )
  }

  /** Whether knex's lock is set by a committed transaction: a knex CLI at work, or one that was killed. */
  async isLocked(): Promise<boolean> {
    try {
      return (await query(this.client, 'reading knex_migrations_lock', this.#lockedText())).length > 0
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  #readText(): string {
    return `SELECT pg_catalog.left(COALESCE(name::text, ''), 255) AS name, pg_catalog.left(batch::text, 10) AS batch
      FROM ${this.#table} ORDER BY id LIMIT ${longestHistory}`
  }

  #lockedText(): string {
    return `SELECT FROM ${this.#lockTable} WHERE is_locked <> 0 LIMIT 1`
  }

  /** Text that keeps the knex CLI out until the end of the transaction: it updates this row before it starts. */
  lockText(): string {
    return `SELECT pg_catalog.count(*) FROM (SELECT FROM ${this.#lockTable} FOR UPDATE) AS locked`
  }

  recordText(file: string, batch: number): string {
    return `INSERT INTO ${this.#table} (name, batch, migration_time) VALUES (${quoteLiteral(file)}, ${Number(batch)}, clock_timestamp())`
  }

  /** The extension that the file had when it was applied does not matter. */
  forgetText(name: string): string {
    const files = ['', '.sql', '.js', '.mjs', '.ts', '.mts'].map(extension => quoteLiteral(name + extension))
    return `DELETE FROM ${this.#table} WHERE name IN (${files.join(', ')})`
  }
}

interface HistoryRow {
  name: string
  batch: string
}

function toApplied(row: HistoryRow): AppliedMigration {
  return { name: withoutExtension(row.name), batch: Number(row.batch) || 0 }
}

function isMissing(error: unknown): boolean {
  const state = sqlstateOf(error)
  return state === sqlstate.undefinedTable || state === sqlstate.invalidSchemaName
}
