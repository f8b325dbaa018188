import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorCode, isTenancyError, TenancyError, throwIfAborted } from '../errors.ts'
import type { Client } from '../postgres/connect.ts'
import { query } from '../postgres/query.ts'
import { sessionsOf } from '../postgres/sessions.ts'
import { sqlstateOf, toTenancyError } from '../postgres/sqlstate.ts'
import type { MigrationHistory } from './history.ts'
import { lineOf } from './sql-file.ts'
import type { Statement } from './sql-lexer.ts'

/** Not the file's fault: these keep their own code. */
const circumstances: ErrorCode[] = [
  'CONNECTION_FAILED',
  'OUT_OF_RESOURCES',
  'LOCK_TIMEOUT',
  'STATEMENT_TIMEOUT',
  'ABORTED',
]

/** The error of a migration or seed: file, line, PostgreSQL's message, what to do next. */
export async function describeFailure(
  error: unknown,
  file: string,
  options: { statement?: Statement | undefined; client?: Client; code?: ErrorCode } = {},
): Promise<TenancyError> {
  if (isTenancyError(error) && error.code !== 'QUERY_FAILED')
    return nameBlockers(error.with({ migration: file }), options.client)
  const { message } = error as Error
  const line = options.statement && lineIn(options.statement, error)
  const place = line === undefined ? file : `${file}, line ${line}`
  const known = sqlstateOf(error) === undefined && !isConnectionLost(message) ? undefined : toTenancyError(error, place)
  if (known && circumstances.includes(known.code)) {
    return nameBlockers(known.with({ migration: file, line }), options.client)
  }
  // Of classes 22 and 23 the file may be as it should be.
  const remedy = /^2[23]/.test(known?.sqlstate ?? '') ? 'mend the rows or correct the file' : 'correct the file'
  return new TenancyError(options.code ?? 'MIGRATION_FAILED', `${place}: ${message}`, {
    migration: file,
    line,
    sqlstate: known?.sqlstate,
    detail: known?.detail,
    hint: known?.hint ?? `${remedy}, then run the same command again: what was applied before it stays applied`,
    cause: error,
  })
}

/** PostgreSQL gives the position in the statement; of what fails inside of a DO block, only the line in its body. */
function lineIn({ text, line }: Statement, error: unknown): number {
  const { position, where } = error as { position?: string; where?: string }
  if (position !== undefined) return lineOf(text, line, Number(position))
  const inBody = /inline_code_block\D+(\d+)/.exec(where ?? '')?.[1]
  const body = text.search(/\$[^$\s]*\$|'/)
  return inBody === undefined || body < 0 ? line : lineOf(text, line, body + 1) + Number(inBody) - 1
}

function isConnectionLost(message: string): boolean {
  return /connection terminated|not queryable|ECONNRESET|connection error/i.test(message)
}

/** To a lock timeout adds who holds locks on the tenant's tables, longest transaction first. */
export async function nameBlockers<T>(failure: T, client: Client | undefined): Promise<T | TenancyError> {
  if (!isTenancyError(failure) || failure.code !== 'LOCK_TIMEOUT' || failure.hint !== undefined || client === undefined)
    return failure
  try {
    const blockers = await query<{
      pid: number
      role: string
      application: string
      state: string
      since: string
      relation: string
    }>(
      client,
      'looking for blocking sessions',
      `SELECT DISTINCT ON (a.xact_start, a.pid) a.pid, a.usename::text AS role, a.application_name AS application, a.state,
              pg_catalog.to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') AS since, l.relation::pg_catalog.regclass::text AS relation
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.granted AND l.relation >= 16384 AND l.pid <> pg_catalog.pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        ORDER BY a.xact_start, a.pid LIMIT 3`,
    )
    if (blockers.length === 0) return failure
    const list = blockers.map(
      each =>
        `pid ${each.pid} (${each.role}${each.application ? `, ${each.application}` : ''}, ${each.state ?? 'active'} since ${each.since} UTC, on ${each.relation})`,
    )
    return failure.with({ hint: `held by ${list.join('; ')}` })
  } catch {
    return failure
  }
}

/**
 * Waits for a knex CLI that has set its lock; when it stays set, says whether one can be at work at all: a killed knex
 * leaves the row set for ever.
 */
export async function waitForKnexLock(
  client: Client,
  history: MigrationHistory,
  options: { tenant: string; waitMs: number; signal?: AbortSignal | undefined },
): Promise<void> {
  const deadline = Date.now() + Math.min(options.waitMs, 10_000)
  while (await history.isLocked()) {
    throwIfAborted(options.signal)
    if (Date.now() < deadline) {
      await sleep(250)
      continue
    }
    const [{ database } = { database: '' }] = await query<{ database: string }>(
      client,
      'asking for the database',
      'SELECT pg_catalog.current_database() AS database',
    )
    const others = await sessionsOf(client, { database })
    const who = others.map(each => `pid ${each.pid} (${each.user}${each.application ? `, ${each.application}` : ''})`)
    throw new TenancyError(
      'MIGRATIONS_LOCKED',
      'knex_migrations_lock is set: a knex CLI is migrating this database, or one was killed and left it set',
      {
        tenant: options.tenant,
        hint:
          who.length === 0
            ? 'nobody else is connected, so it was left behind: UPDATE knex_migrations_lock SET is_locked = 0; (or "knex migrate:unlock")'
            : `connected now: ${who.join('; ')}. If none of these is a knex run: UPDATE knex_migrations_lock SET is_locked = 0;`,
      },
    )
  }
}
