/**
 * One small migration over a whole fleet, against a loop that somebody who knows pg well would write by hand: connect
 * as the tenant, lock, DDL and its row in knex_migrations in one transaction, disconnect. The loop is run with several
 * numbers of tenants at once, and what tenantctl takes is compared with the best of them. In turn, on a server of its
 * own with fsync on. Processor time is told as well: on a busy machine it is what can be compared.
 * Run: npm run build && node --expose-gc node_modules/.bin/jiti bench/migrate.ts [tenants] [rounds]
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { startServer } from '../test/support/servers.ts'
import { type Cost, costed, inTurn, median, ratioOf, report, timed } from './measure.ts'

const tenants = Number(process.argv[2] ?? 500)
const rounds = Number(process.argv[3] ?? 5)
const numbers = (process.env.AT_ONCE ?? '8,16,32').split(',').map(Number)
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const [migrations, seeds] = ['migrations', 'seeds'].map(name => join(folder, name)) as [string, string]
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_connections: 100 } })
const url = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
const key = generateEncryptionKey()
const costs = new Map<string, Cost[]>()
let file = 1

interface Login {
  user: string
  password: string
  database: string
}

function open(): Tenancy {
  return createTenancy({
    registry: { url },
    encryption: { keys: [key] },
    migrations: { directory: migrations },
    seeds: { directory: seeds },
  })
}

/** Small, and one that no tenant has. */
function nextMigration(): void {
  file += 1
  writeFileSync(
    join(migrations, `${String(file).padStart(4, '0')}_column.sql`),
    `ALTER TABLE notes ADD COLUMN c${file} int;\n`,
  )
}

function connectAs(login: Login): Promise<pg.Client> {
  const { hostname: host, port } = new URL(server.superUrl)
  const client = new pg.Client({ ...login, host, port: Number(port), ssl: false })
  return client.connect().then(() => client)
}

async function byHand(logins: readonly Login[], atOnce: number): Promise<void> {
  const queue = logins[Symbol.iterator]()
  const worker = async () => {
    for (const login of queue) {
      const client = await connectAs(login)
      const { rows } = await client.query('SELECT pg_try_advisory_lock(42) AS locked')
      if (!rows[0].locked) throw new Error('locked')
      await client.query(
        `BEGIN; ALTER TABLE notes ADD COLUMN h${file} int;
         INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('hand_${randomUUID()}', ${file}, now()); COMMIT`,
      )
      await client.end()
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

/** tenantctl must not meet a file that it does not know. */
async function forget(logins: readonly Login[]): Promise<void> {
  for (const login of logins) {
    const client = await connectAs(login)
    await client.query(`DELETE FROM knex_migrations WHERE name LIKE 'hand\\_%'`)
    await client.end()
  }
}

async function byTenantctl(concurrency?: number): Promise<void> {
  const tenancy = open()
  const result = await tenancy.migrations.run(
    { all: true },
    {
      ...(concurrency === undefined ? {} : { concurrency }),
      onEvent: event => {
        if (process.env.VERBOSE && event.event === 'concurrency')
          console.log(`    ${event.concurrency}: ${event.reason}`)
      },
    },
  )
  await tenancy.close()
  if (result.succeeded !== tenants) throw new Error(JSON.stringify({ ...result, tenants: result.tenants.length }))
}

async function noted(what: string, work: () => Promise<void>): Promise<number> {
  const cost = await costed(server.pid, work)
  costs.set(what, [...(costs.get(what) ?? []), cost])
  return cost.milliseconds
}

function perTenant(what: string): string {
  const of = (part: keyof Cost) => (median((costs.get(what) ?? []).map(cost => cost[part])) / tenants).toFixed(2)
  return `processor time per tenant: client ${of('client')} ms, server ${of('server')} ms`
}

try {
  mkdirSync(migrations)
  mkdirSync(seeds)
  writeFileSync(join(migrations, '0001_notes.sql'), 'CREATE TABLE notes (id int PRIMARY KEY, body text);\n')
  const tenancy = open()
  const logins: Login[] = []
  const made = await timed(async () => {
    const result = await tenancy.tenants.createMany(
      Array.from({ length: tenants }, (_, n) => ({ name: `tenant ${n}` })),
    )
    if (result.failed > 0) throw new Error(JSON.stringify(result.failures))
  })
  console.log(`${tenants} tenants, made in ${(made / 1000).toFixed(0)} s`)
  for (const { id } of await tenancy.tenants.list()) {
    const info = await tenancy.tenants.connectionInfo(id)
    logins.push({ user: info.username, password: info.password.reveal(), database: info.database })
  }
  await tenancy.close()

  const hand = (atOnce: number) => `by hand, ${atOnce} at once`
  const found = 'migrate --all, concurrency found by itself'
  const given = 'migrate --all --concurrency 16'
  const ours = (what: string, concurrency?: number) => async () => {
    nextMigration()
    return noted(what, () => byTenantctl(concurrency))
  }
  const times = await inTurn(rounds, {
    ...Object.fromEntries(
      numbers.map(atOnce => [
        hand(atOnce),
        async () => {
          file += 1
          const took = await noted(hand(atOnce), () => byHand(logins, atOnce))
          await forget(logins)
          return took
        },
      ]),
    ),
    [found]: ours(found),
    [given]: ours(given, 16),
  } as Record<string, () => Promise<number>>)

  const timesOf = (what: string) => times[what] as number[]
  const [best] = numbers.map(hand).sort((a, b) => median(timesOf(a)) - median(timesOf(b))) as [string]
  const rate = (what: string) => (tenants / median(timesOf(what))) * 60_000
  for (const atOnce of numbers) {
    report({ what: hand(atOnce), value: rate(hand(atOnce)), unit: 'tenants/min', note: perTenant(hand(atOnce)) })
  }
  for (const what of [found, given]) {
    report({
      ...{ what, value: rate(what), unit: 'tenants/min', against: best },
      ratio: ratioOf(timesOf(what), timesOf(best)),
      target: { atMost: 1.3 },
      note: perTenant(what),
    })
  }
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}
