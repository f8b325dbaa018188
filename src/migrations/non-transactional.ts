import { createHash } from 'node:crypto'
import { TenancyError } from '../errors.ts'
import type { Client } from '../postgres/connect.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifiers.ts'
import { query } from '../postgres/query.ts'
import { sqlstateOf } from '../postgres/sqlstate.ts'
import { describeFailure } from './problems.ts'
import type { SqlScript } from './sql-file.ts'
import type { Statement } from './sql-lexer.ts'

/** "Cannot run inside a transaction block", and COMMIT in a procedure that was called in one. */
const refusesTransaction = ['25001', '2D000']
/** What was to be made is there already (relation, object); what was to be dropped is not there any more. */
const made = ['42P07', '42710']
const dropped = ['42704']
const createIndexConcurrently =
  /^create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?((?:"(?:[^"]|"")+"|[\w$]+)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[\w$]+))?)\s+on\s/i

interface ScriptRun {
  file: string
  name: string
  checksum: string
  script: SqlScript
  schema: string
  notice(message: string): void
}

/**
 * Runs a script that cannot be one transaction (CREATE INDEX CONCURRENTLY, VACUUM), statement by statement. How far it
 * got stands in a table of the same database, so that a run that was killed goes on where it stopped. Each statement
 * commits together with the note that it was done, wherever PostgreSQL lets it run in a transaction.
 */
export async function runStatements(client: Client, run: ScriptRun): Promise<void> {
  const progress = new ScriptProgress(client, run.schema)
  const { done, same } = await progress.begin(run)
  for (const [index, statement] of run.script.statements.entries()) {
    if (index < done) continue
    const note = progress.noteText(run, index + 1)
    try {
      await runStatement(client, statement, { note, resumed: same && index === done, notice: run.notice })
    } catch (error) {
      // The script's own transaction may be open still.
      await client.query('ROLLBACK').catch(() => undefined)
      throw await describeFailure(error, run.file, { statement, client })
    }
  }
}

/** Text that forgets the progress of a script, for the transaction that records the migration. */
export function forgetProgressText(schema: string, name: string): string {
  return `DELETE FROM ${progressTable(schema)} WHERE name = ${quoteLiteral(name)}`
}

interface StatementRun {
  /** Text that notes that the statement was done. */
  note: string
  /** An earlier run had begun this statement. */
  resumed: boolean
  notice(message: string): void
}

async function runStatement(client: Client, statement: Statement, run: StatementRun): Promise<void> {
  const { text, words } = statement
  const [first = ''] = words
  if (client.getTransactionStatus() === 'T') {
    // A transaction of the script's own counts as done when it commits.
    if (first === 'commit' || first === 'end') await client.query(run.note)
    await client.query(text)
  } else if (first === 'begin' || first === 'start') {
    await client.query(text)
  } else if (createIndexConcurrently.test(text) || !(await runWithNote(client, text, run.note))) {
    await runOutsideTransaction(client, statement, run)
    await client.query(`BEGIN; ${run.note}; COMMIT`)
  }
}

/** Statement and note in one transaction; false when PostgreSQL does not let this statement run in one. */
async function runWithNote(client: Client, text: string, note: string): Promise<boolean> {
  try {
    await client.query('BEGIN')
    await client.query(text)
    await client.query(`${note}; COMMIT`)
    return true
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    if (refusesTransaction.includes(sqlstateOf(error) ?? '')) return false
    throw error
  }
}

async function runOutsideTransaction(client: Client, statement: Statement, run: StatementRun): Promise<void> {
  const index = createIndexConcurrently.exec(statement.text)?.[1]
  if (index !== undefined) {
    const valid = await indexValidity(client, index)
    if (valid === false) {
      // What a failed or killed CREATE INDEX CONCURRENTLY leaves behind (manual, CREATE INDEX).
      run.notice(`index ${index} was left invalid by an earlier attempt; it is built anew`)
      await client.query(`DROP INDEX CONCURRENTLY ${index}`)
    } else if (valid === true && run.resumed) {
      return
    }
  }
  try {
    await client.query(statement.text)
  } catch (error) {
    // The killed run had begun this statement, and may well have finished it.
    const done = statement.words[0] === 'drop' ? dropped : made
    if (!run.resumed || !done.includes(sqlstateOf(error) ?? '')) throw error
    run.notice(`line ${statement.line} had been done by the run that was interrupted`)
  }
}

async function indexValidity(client: Client, index: string): Promise<boolean | undefined> {
  const [row] = await query<{ valid: boolean }>(
    client,
    `looking up index ${index}`,
    'SELECT indisvalid AS valid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass($1)',
    [index],
  )
  return row?.valid
}

class ScriptProgress {
  readonly #table: string

  constructor(
    private readonly client: Client,
    schema: string,
  ) {
    this.#table = progressTable(schema)
  }

  /**
   * How many statements an earlier run has done, and whether it was of the same file. A file may have been corrected
   * since, but not in what was done.
   */
  async begin(run: ScriptRun): Promise<{ done: number; same: boolean }> {
    await query(
      this.client,
      'creating the table of unfinished migrations',
      `CREATE TABLE IF NOT EXISTS ${this.#table} (name text PRIMARY KEY, checksum text NOT NULL, statements_done int NOT NULL,
         started_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())`,
    )
    const [row] = await query<{ checksum: string; statements_done: number }>(
      this.client,
      'reading the unfinished migration',
      `SELECT checksum, statements_done FROM ${this.#table} WHERE name = $1 LIMIT 1`,
      [run.name],
    )
    if (!row) {
      await query(
        this.client,
        'recording the start of the migration',
        `INSERT INTO ${this.#table} (name, checksum, statements_done) VALUES ($1, $2, 0)`,
        [run.name, progressChecksum(run, 0)],
      )
      return { done: 0, same: false }
    }
    const [file, statements] = row.checksum.split('.')
    const same = file === run.checksum
    if (!same && row.statements_done > 0 && statements !== statementsHash(run, row.statements_done)) {
      const done = row.statements_done
      throw new TenancyError(
        'MIGRATION_CHANGED',
        `${run.file} was changed in ${done === 1 ? 'a statement' : `one of ${done} statements`} that an interrupted run had done`,
        {
          migration: run.file,
          hint: `restore what was done and correct only what comes after it, or finish by hand and DELETE FROM ${this.#table}`,
        },
      )
    }
    await query(
      this.client,
      'recording the start of the migration',
      `UPDATE ${this.#table} SET checksum = $2 WHERE name = $1`,
      [run.name, progressChecksum(run, row.statements_done)],
    )
    return { done: row.statements_done, same }
  }

  /** For a transaction, which may have taken another role. */
  noteText(run: ScriptRun, done: number): string {
    return `SET LOCAL ROLE none; UPDATE ${this.#table} SET statements_done = ${Number(done)}, updated_at = pg_catalog.now(),
      checksum = ${quoteLiteral(progressChecksum(run, done))} WHERE name = ${quoteLiteral(run.name)}`
  }
}

/** Of the file, and of the statements of it that were done. */
function progressChecksum(run: ScriptRun, done: number): string {
  return `${run.checksum}.${statementsHash(run, done)}`
}

function statementsHash({ script }: ScriptRun, done: number): string {
  const texts = script.statements.slice(0, done).map(statement => statement.text)
  return createHash('sha256').update(texts.join('\0')).digest('hex').slice(0, 32)
}

function progressTable(schema: string): string {
  return `${quoteIdentifier(schema)}."tenantctl_unfinished_migrations"`
}
