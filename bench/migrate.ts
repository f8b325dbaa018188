/**
 * One small migration over a whole fleet, against a loop that somebody who knows pg well would write by hand: connect
 * as the tenant, lock, DDL and its row in knex_migrations in one transaction, disconnect. Best of several rounds each,
 * in turn, on a server of its own with fsync on. Also what it costs when nothing is pending.
 * Run: npm run build && node --expose-gc node_modules/.bin/jiti bench/migrate.ts [tenants] [rounds]
 */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { startServer } from '../test/support/servers.ts'

const tenants = Number(process.argv[2] ?? 300)
const rounds = Number(process.argv[3] ?? 3)
const bin = fileURLToPath(new URL('../bin/tenantctl.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const migrations = join(folder, 'migrations')
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_connections: 100 } })
const url = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
const key = generateEncryptionKey()
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
    seeds: { directory: folder },
  })
}

function nextMigration(): string {
  file += 1
  const name = `${String(file).padStart(4, '0')}_column`
  writeFileSync(join(migrations, `${name}.sql`), `ALTER TABLE notes ADD COLUMN c${file} int;\n`)
  return name
}

async function timed(work: () => unknown): Promise<Cost> {
  const before = { ...process.cpuUsage(), server: serverTime() }
  const startedAt = performance.now()
  await work()
  const milliseconds = performance.now() - startedAt
  // The last sessions are still on their way out.
  await sleep(100)
  const { user, system } = process.cpuUsage()
  return {
    milliseconds,
    client: (user - before.user + system - before.system) / 1000,
    server: serverTime() - before.server,
  }
}

/** Wall-clock time, and processor time on both sides: on a busy machine only the latter can be compared. */
interface Cost {
  milliseconds: number
  client: number
  server: number
}

/** Processor time in milliseconds of all sessions of the server that have ended (proc(5), cutime and cstime). */
function serverTime(): number {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10
}

function report(what: string, { milliseconds, client, server }: Cost, base?: Cost): void {
  const rate = `${Math.round((tenants / milliseconds) * 60_000)}/min`
  const ratio = base === undefined ? '' : `${(milliseconds / base.milliseconds).toFixed(2)} x`
  const each = (cost: number) => (cost / tenants).toFixed(2).padStart(6)
  const time = `${milliseconds.toFixed(0).padStart(7)} ms ${rate.padStart(11)} ${ratio.padStart(8)}`
  console.log(`${what.padEnd(40)} ${time}   cpu per tenant: client${each(client)} ms, server${each(server)} ms`)
}

async function byHand(logins: readonly Login[], name: string, concurrency: number): Promise<void> {
  const { hostname: host, port } = new URL(server.superUrl)
  const queue = logins[Symbol.iterator]()
  const worker = async () => {
    for (const login of queue) {
      const client = new pg.Client({ ...login, host, port: Number(port), ssl: false })
      await client.connect()
      const { rows } = await client.query('SELECT pg_try_advisory_lock(42) AS locked')
      if (!rows[0].locked) throw new Error('locked')
      await client.query(
        `BEGIN; ALTER TABLE notes ADD COLUMN h${file} int;
         INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('${name}.sql', ${file}, now()); COMMIT`,
      )
      await client.end()
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
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

try {
  mkdirSync(migrations)
  writeFileSync(join(migrations, '0001_notes.sql'), 'CREATE TABLE notes (id int PRIMARY KEY, body text);\n')
  const tenancy = open()
  const inputs = Array.from({ length: tenants }, (_, index) => ({ name: `tenant ${index}` }))
  const made = await timed(async () => {
    const result = await tenancy.tenants.createMany(inputs)
    if (result.failed > 0) throw new Error(JSON.stringify(result.failures))
  })
  report('create', made)
  const logins: Login[] = []
  for (const { id } of await tenancy.tenants.list()) {
    const info = await tenancy.tenants.connectionInfo(id)
    logins.push({ user: info.username, password: info.password.reveal(), database: info.database })
  }
  await tenancy.close()

  const best = new Map<string, Cost>()
  const note = (what: string, cost: Cost) => {
    if (cost.milliseconds < (best.get(what)?.milliseconds ?? Number.POSITIVE_INFINITY)) best.set(what, cost)
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const concurrency of (process.env.ONLY ?? '4,8,16,32').split(',').map(Number)) {
      file += 1
      // The row is taken back, so that tenantctl does not meet a file that it does not know.
      note(`by hand, ${concurrency} at once`, await timed(() => byHand(logins, `hand_${randomUUID()}`, concurrency)))
      for (const login of logins) await forget(login)
      nextMigration()
      note(`migrate --concurrency ${concurrency}`, await timed(() => byTenantctl(concurrency)))
    }
    nextMigration()
    note('migrate, concurrency found by itself', await timed(() => byTenantctl()))
  }
  const hands = [...best].flatMap(([what, cost]) => (what.startsWith('by hand') ? [cost] : []))
  const [hand] = hands.sort((a, b) => a.milliseconds - b.milliseconds)
  for (const [what, cost] of best) report(what, cost, hand)

  const env = { ...process.env, TENANTCTL_REGISTRY_URL: url, TENANTCTL_ENCRYPTION_KEY: key }
  const args = [bin, 'migrate', '--all', '--json', '--migrations', migrations]
  const times = Array.from({ length: 5 }, () => {
    const startedAt = performance.now()
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, env, encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
    return performance.now() - startedAt
  })
  console.log(`nothing pending, as a process: ${Math.min(...times).toFixed(0)} ms`)
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}

async function forget(login: Login): Promise<void> {
  const { hostname: host, port } = new URL(server.superUrl)
  const client = new pg.Client({ ...login, host, port: Number(port), ssl: false })
  await client.connect()
  await client.query(`DELETE FROM knex_migrations WHERE name LIKE 'hand\\_%'`)
  await client.end()
}
