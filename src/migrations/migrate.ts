import { type ErrorCode, TenancyError, throwIfAborted } from '../errors.ts'
import { notify } from '../events.ts'
import type { Client } from '../postgres/connect.ts'
import { advisoryUnlock } from '../postgres/locks.ts'
import { databaseLockKey, type LockOptions, withDatabaseLock } from './database-lock.ts'
import { type AppliedMigration, MigrationHistory } from './history.ts'
import { bindKnex } from './knex-binding.ts'
import { forgetProgressText, runStatements } from './non-transactional.ts'
import { planDown, planUp, type RollbackTarget } from './plan.ts'
import { describeFailure, nameBlockers, waitForKnexLock } from './problems.ts'
import type { Migration } from './source.ts'
import type { SqlScript } from './sql-file.ts'
import { canGoTogether, sendTogether } from './together.ts'

export interface MigrateOptions extends LockOptions {
  /** Up to and including this migration; default: all. */
  to?: string | undefined
  /** Go back instead. */
  rollback?: RollbackTarget | undefined
  /** Write down that they are applied, and run nothing: the schema has them already. Default: false. */
  recordOnly?: boolean | undefined
  /** Milliseconds; 0: none. */
  statementTimeoutMs: number
  /** Schema of knex's tables; default `public`. */
  schema?: string
  /**
   * Where nothing seems to be pending: whether a history that has these migrations applied needs nothing at all. It is
   * read without the lock then, and if so, that is all.
   */
  needsNothing?: ((applied: readonly string[]) => boolean) | undefined
  /** Called under the lock when there is something to do, before anything is done. */
  beforeFirst?: ((plan: readonly Migration[], from: string | null) => Promise<void>) | undefined
  /** Called under the lock when all is done, also when there was nothing to do. */
  afterLast?: ((result: MigrateResult) => Promise<void>) | undefined
  /** The session ends right after, and the lock with it, so that it is not released before. Default: false. */
  sessionEnds?: boolean | undefined
}

export interface MigrateResult {
  from: string | null
  to: string | null
  /** Names of the migrations that ran, in the order in which they ran. */
  ran: string[]
  /** Names of all that are applied now, oldest first. */
  applied: string[]
}

/** Of bookkeeping statements; the migrations themselves have `statementTimeoutMs`. */
export const bookkeepingTimeoutMs = 60_000

/**
 * Brings one database to the state asked for, under an advisory lock that is taken before the history is read. The
 * row in knex_migrations is written in the migration's own transaction. Throws at the first migration that fails.
 */
export async function migrateDatabase(
  client: Client,
  migrations: readonly Migration[],
  options: MigrateOptions,
): Promise<MigrateResult> {
  const history = new MigrationHistory(client, options.schema)
  try {
    if (options.needsNothing) {
      const applied = (await history.read()).map(each => each.name)
      const at = applied.at(-1) ?? null
      if (options.needsNothing(applied)) return { from: at, to: at, ran: [], applied }
    }
    const opened = await history.open(databaseLockKey)
    // Somebody holds the lock, the tables are not there yet, or a pooler is in between.
    if (!opened) {
      return await withDatabaseLock(client, options, async () =>
        migrateLocked(client, migrations, options, { history, before: await history.read() }),
      )
    }
    try {
      return await migrateLocked(client, migrations, options, { history, ...opened })
    } finally {
      if (!options.sessionEnds) await advisoryUnlock(client, databaseLockKey)
    }
  } catch (error) {
    throw await nameBlockers(error, client)
  }
}

interface OpenedHistory {
  history: MigrationHistory
  before: AppliedMigration[]
  /** Whether knex's lock was seen to be free. */
  unlocked?: boolean
}

async function migrateLocked(
  client: Client,
  migrations: readonly Migration[],
  options: MigrateOptions,
  { history, before, unlocked }: OpenedHistory,
): Promise<MigrateResult> {
  const plan = options.rollback
    ? planDown(migrations, before, options.rollback)
    : planUp(migrations, before, options.to)
  const result = { from: before.at(-1)?.name ?? null, ran: [] as string[] }
  if (plan.length > 0) {
    await options.beforeFirst?.(plan, result.from)
    if (before.length === 0) await history.ensureTables()
    if (!unlocked) await waitForKnexLock(client, history, options)
    await Promise.all(plan.map(migration => (migration.sql ? undefined : migration.load())))
    const run: Run = {
      ...{ client, history, options, ran: result.ran },
      batch: before.reduce((last, each) => Math.max(last, each.batch), 0) + 1,
    }
    for (const migration of plan) {
      throwIfAborted(options.signal)
      await runMigration(run, migration)
      result.ran.push(migration.name)
    }
  }
  const applied = applyPlan(before, result.ran, options.rollback !== undefined)
  const done = { ...result, to: applied.at(-1) ?? null, applied }
  await options.afterLast?.(done)
  return done
}

interface Run {
  client: Client
  history: MigrationHistory
  options: MigrateOptions
  batch: number
  /** Names of those that ran in this session. */
  ran: readonly string[]
}

async function runMigration(run: Run, migration: Migration): Promise<void> {
  const { tenant, onEvent } = run.options
  const direction = run.options.rollback ? 'down' : 'up'
  const startedAt = performance.now()
  notify(onEvent, { event: 'migration_started', tenant, migration: migration.name })
  if (run.options.recordOnly) await inTransaction(run, migration, async () => undefined)
  else await (migration.sql ? runSqlMigration(run, migration) : runModule(run, migration))
  const durationMs = Math.round(performance.now() - startedAt)
  notify(onEvent, { event: 'migration_finished', tenant, migration: migration.name, direction, durationMs })
}

async function runSqlMigration(run: Run, migration: Migration): Promise<void> {
  const { client, options } = run
  const { transactional, up, down } = migration.sql as NonNullable<Migration['sql']>
  const script = options.rollback ? down : up
  if (!script) throw noWayBack(migration)
  if (transactional) {
    await (canGoTogether(script.text)
      ? runTogether(run, migration, script)
      : inTransaction(run, migration, () => runScript(client, migration.file, script)))
    return
  }
  const schema = options.schema ?? 'public'
  // Up and down are told apart, should one be killed and the other be run.
  const name = options.rollback ? `${migration.name} (down)` : migration.name
  const open = [...cleanSession, `SET statement_timeout = ${options.statementTimeoutMs}`].join('; ')
  await client.query(open).catch(async error => {
    throw await describeFailure(error, migration.file, { client })
  })
  await runStatements(client, {
    name,
    script,
    schema,
    file: migration.file,
    checksum: migration.checksum,
    notice: message => notify(options.onEvent, { event: 'notice', tenant: options.tenant, message }),
  })
  await inTransaction(run, migration, async () => {
    await client.query(forgetProgressText(schema, name))
  })
}

/** BEGIN, the work, its row in knex_migrations, COMMIT: all or nothing, also when we are killed in between. */
async function inTransaction(run: Run, migration: Migration, work: () => Promise<void>): Promise<void> {
  const { client } = run
  try {
    await client.query([...cleanSession, 'BEGIN', ...openTexts(run)].join('; '))
    await work()
    await client.query([...closeTexts(run, migration), 'COMMIT'].join('; '))
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw await describeFailure(error, migration.file, { client })
  }
}

/** The same with one way to the server. */
async function runTogether(run: Run, migration: Migration, script: SqlScript): Promise<void> {
  const { client } = run
  // Nobody's file has been here before the first one.
  const head = [...(run.ran.length > 0 ? cleanSession : []), 'BEGIN', ...openTexts(run)]
  const statements = script.statements.map(statement => statement.text)
  const failure = await sendTogether(client, [...head, ...statements, ...closeTexts(run, migration), 'COMMIT'])
  if (!failure) return
  await client.query('ROLLBACK').catch(() => undefined)
  const statement = script.statements[failure.index - head.length]
  throw await describeFailure(failure.error, migration.file, { statement, client })
}

async function runModule(run: Run, migration: Migration): Promise<void> {
  const { client, options } = run
  const module = await migration.load()
  const work = options.rollback ? module.down : module.up
  if (!work) throw noWayBack(migration)
  const knex = await bindKnex(client)
  try {
    await client.query(cleanSession.join('; '))
    if (module.transactional) {
      await knex.transaction(async transaction => {
        await client.query(openTexts(run).join('; '))
        await work(transaction)
        await client.query(closeTexts(run, migration).join('; '))
      })
    } else {
      await work(knex)
      await inTransaction(run, migration, async () => undefined)
    }
  } catch (error) {
    throw await describeFailure(error, migration.file, { client })
  }
}

/** Statement by statement, so that an error without a position has a line as well. */
export async function runScript(
  client: Client,
  file: string,
  script: SqlScript,
  code: ErrorCode = 'MIGRATION_FAILED',
): Promise<void> {
  for (const statement of script.statements) {
    try {
      await client.query(statement.text)
    } catch (error) {
      throw await describeFailure(error, file, { statement, code })
    }
  }
}

/** What an earlier file has SET must not reach the next one. */
const cleanSession = ['RESET SESSION AUTHORIZATION', 'RESET ROLE', 'RESET ALL']

/** What the tenant has made of knex's tables has the bookkeeping's time to answer, not the migration's. */
function openTexts({ history, options }: Run): string[] {
  return [history.lockText(), `SET LOCAL statement_timeout = ${options.statementTimeoutMs}`]
}

function closeTexts({ history, options, batch }: Run, migration: Migration): string[] {
  const record = options.rollback ? history.forgetText(migration.name) : history.recordText(migration.file, batch)
  // COMMIT knows no timeout: deferred constraints and triggers are run before it.
  const clock = `SET LOCAL statement_timeout = ${bookkeepingTimeoutMs}`
  return ['SET CONSTRAINTS ALL IMMEDIATE', 'RESET ROLE', clock, record]
}

function applyPlan(before: AppliedMigration[], ran: string[], rollback: boolean): string[] {
  const names = before.map(each => each.name)
  return rollback ? names.filter(name => !ran.includes(name)) : [...names, ...ran]
}

function noWayBack(migration: Migration): TenancyError {
  return new TenancyError('MIGRATION_FAILED', `${migration.file} has no way back: it lacks a "down" half`, {
    migration: migration.file,
    hint: migration.sql ? 'add "-- migrate:down" and what undoes it' : 'export a function "down"',
  })
}
