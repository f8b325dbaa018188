import { TenancyError } from '../errors.ts'
import { type Statement, splitStatements } from './sql-lexer.ts'

/** One direction of an SQL file. */
export interface SqlScript {
  text: string
  /** Line of the file on which the text begins. */
  firstLine: number
  statements: Statement[]
}

export interface SqlMigration {
  up: SqlScript
  down: SqlScript | undefined
  transactional: boolean
}

const downMarker = /^[ \t]*--[ \t]*migrate:down[ \t]*\r?$/m
const noTransaction = /^\uFEFF?[ \t]*--[ \t]*migrate:no-transaction[ \t]*(\r?\n|$)/
const endsTransaction = ['begin', 'start', 'commit', 'end', 'rollback', 'abort', 'prepare']

/** Reads an SQL migration: `-- migrate:down` between its halves, `-- migrate:no-transaction` on its first line. */
export function parseSqlMigration(file: string, content: string): SqlMigration {
  const transactional = !noTransaction.test(content)
  const sql = content.replace(/^\uFEFF/, '')
  const marker = downMarker.exec(sql)
  const upText = marker ? sql.slice(0, marker.index) : sql
  const up = parseScript(file, upText, 1, transactional)
  const down = marker ? parseScript(file, sql.slice(marker.index), upText.split('\n').length, transactional) : undefined
  return { up, down, transactional }
}

/** Reads one script; with `transactional`, statements that would end the transaction around it are refused. */
export function parseScript(file: string, text: string, firstLine: number, transactional: boolean): SqlScript {
  try {
    const statements = splitStatements(text, firstLine)
    const stray = transactional && statements.find(statement => controlsTransaction(statement))
    if (stray) {
      throw new TenancyError(
        'MIGRATIONS_INVALID',
        `line ${stray.line}: ${stray.words[0]?.toUpperCase()} would end the transaction the file runs in`,
        { line: stray.line, hint: 'remove it, or put "-- migrate:no-transaction" on the first line' },
      )
    }
    return { text, firstLine, statements }
  } catch (error) {
    if (!(error instanceof TenancyError)) throw error
    throw new TenancyError(error.code, `${file}: ${error.message}`, {
      migration: file,
      line: error.line,
      hint: error.hint,
    })
  }
}

/** `ROLLBACK TO` a savepoint and `PREPARE` of a statement stay inside the transaction. */
function controlsTransaction({ words: [first = '', second = '', third] }: Statement): boolean {
  if (first === 'rollback') return second !== 'to' && third !== 'to'
  if (first === 'prepare' || first === 'start') return second === 'transaction'
  return endsTransaction.includes(first)
}

/** The line of a file at which PostgreSQL saw an error; `position` counts characters from 1. */
export function lineOf(text: string, firstLine: number, position: number): number {
  const before = Array.from(text).slice(0, Math.max(0, position - 1))
  return firstLine + before.filter(char => char === '\n').length
}
