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
      const [locked, applied, knexLock] = results as unknown as [
        { rows: { locked: boolean | null }[] },
        { rows: HistoryRow[] },
        { rows: LockRow[] },
      ]
      if (locked.rows[0]?.locked) return { before: toApplied(applied.rows), unlocked: !knexLock.rows.some(isLocked) }
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
      return toApplied(await query<HistoryRow>(this.client, 'reading knex_migrations', this.#readText()))
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
      return (await query<LockRow>(this.client, 'reading knex_migrations_lock', this.#lockedText())).some(isLocked)
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  /**
   * Neither sorted nor filtered by the server: what a session has to look up before it can compare numbers takes as
   * long as a tenth of its login, and a fleet pays it for each tenant.
   */
  #readText(): string {
    return `SELECT pg_catalog.left(id::text, 20) AS id, pg_catalog.left(COALESCE(name::text, ''), 255) AS name,
      pg_catalog.left(batch::text, 10) AS batch FROM ${this.#table} LIMIT ${longestHistory}`
  }

  /** knex has one row. */
  #lockedText(): string {
    return `SELECT pg_catalog.left(is_locked::text, 10) AS locked FROM ${this.#lockTable} LIMIT 100`
  }

  /** Text that keeps the knex CLI out until the end of the transaction: it updates a row there before it starts. */
  lockText(): string {
    return `LOCK TABLE ${this.#lockTable} IN SHARE MODE`
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
  id: string
  name: string
  batch: string
}

interface LockRow {
  locked: string | null
}

/** Oldest first. */
function toApplied(rows: HistoryRow[]): AppliedMigration[] {
  return rows
    .sort((a, b) => Number(a.id) - Number(b.id))
    .map(({ name, batch }) => ({ name: withoutExtension(name), batch: Number(batch) || 0 }))
}

function isLocked({ locked }: LockRow): boolean {
  return locked !== null && Number(locked) !== 0
}

function isMissing(error: unknown): boolean {
  const state = sqlstateOf(error)
  return state === sqlstate.undefinedTable || state === sqlstate.invalidSchemaName
}
