import { TenancyError, throwIfAborted } from './errors.ts'
import { type Listener, notify } from './events.ts'
import { bindKnex } from './migrations/knex-binding.ts'
import { bookkeepingTimeoutMs, runScript } from './migrations/migrate.ts'
import { describeFailure } from './migrations/problems.ts'
import { type Seed, withoutExtension } from './migrations/source.ts'
import { type Client, withTransaction } from './postgres/connect.ts'
import { query } from './postgres/query.ts'

export interface SeedOptions {
  /** Milliseconds; 0: none. */
  statementTimeoutMs: number
  /** Slug, for events and messages. */
  tenant: string
  /** Called with the transaction's id before it commits: what is written down then can be asked for after a crash. */
  beforeCommit?: (seed: Seed, transactionId: string) => Promise<void>
  signal?: AbortSignal | undefined
  onEvent?: Listener | undefined
}

/** Runs seed files in order, each in a transaction of its own; returns the names of those that ran. */
export async function seedDatabase(client: Client, seeds: readonly Seed[], options: SeedOptions): Promise<string[]> {
  const ran: string[] = []
  for (const seed of seeds) {
    throwIfAborted(options.signal)
    const startedAt = performance.now()
    await runSeed(client, seed, options)
    ran.push(seed.name)
    const durationMs = Math.round(performance.now() - startedAt)
    notify(options.onEvent, { event: 'seed_finished', tenant: options.tenant, seed: seed.name, durationMs })
  }
  return ran
}

/** Throws `SEED_NOT_FOUND`. */
export function findSeed(seeds: readonly Seed[], name: string): Seed {
  const found = seeds.find(seed => seed.name === withoutExtension(name))
  if (found) return found
  throw new TenancyError('SEED_NOT_FOUND', `there is no seed "${name}"`, {
    hint: seeds.length > 0 ? `there are: ${seeds.map(seed => seed.file).join(', ')}` : 'the seeds folder is empty',
  })
}

/** Whether a transaction that a crash cut off was committed (manual, 9.27.9); null when too old to be known. */
export async function wasCommitted(client: Client, transactionId: string): Promise<boolean | null> {
  const [row] = await query<{ status: string | null }>(
    client,
    'asking what became of a seed',
    'SELECT pg_catalog.pg_xact_status($1::xid8) AS status',
    [transactionId],
  )
  return row?.status ? row.status === 'committed' : null
}

async function runSeed(client: Client, seed: Seed, options: SeedOptions): Promise<void> {
  const open = `SET LOCAL statement_timeout = ${options.statementTimeoutMs}`
  const beforeCommit = async () => {
    await client.query(`SET LOCAL statement_timeout = ${bookkeepingTimeoutMs}`)
    if (!options.beforeCommit) return
    const result = await client.query('SELECT pg_catalog.pg_current_xact_id()::text AS id')
    await options.beforeCommit(seed, result.rows[0].id)
  }
  try {
    await client.query('RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL')
    const { sql } = seed
    if (sql) {
      await withTransaction(client, async () => {
        await client.query(open)
        await runScript(client, seed.file, sql, 'SEED_FAILED')
        await beforeCommit()
      })
    } else {
      const run = await seed.load()
      const knex = await bindKnex(client)
      await knex.transaction(async transaction => {
        await client.query(open)
        await run(transaction)
        await beforeCommit()
      })
    }
  } catch (error) {
    throw await describeFailure(error, seed.file, { client, code: 'SEED_FAILED' })
  }
}
