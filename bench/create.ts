/**
 * Creating tenants as copies of a template, against the bare statements sent by pg from one process, in turn, best of
 * several rounds; and against the knex CLI's migrate:latest and seed:run per tenant. A schema of 20 migrations and two
 * seeds, on a server of its own with fsync on. What STRATEGY costs is measured first.
 * Run: npm run build && node_modules/.bin/jiti bench/create.ts [tenants per round] [rounds]
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { scramVerifier } from '../src/postgres/scram.ts'
import { Secret } from '../src/secrets/secret.ts'
import { startServer } from '../test/support/servers.ts'

const perRound = Number(process.argv[2] ?? 20)
const rounds = Number(process.argv[3] ?? 3)
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const [migrations, seeds] = ['migrations', 'seeds'].map(name => join(folder, name)) as [string, string]
// Large enough that no checkpoint falls into a round of one side alone.
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_wal_size: '8GB' } })
const registry = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
const key = generateEncryptionKey()
let made = 0

mkdirSync(migrations)
mkdirSync(seeds)
for (let n = 1; n <= 20; n += 1) {
  const table = `things_${n}`
  writeFileSync(
    join(migrations, `${String(n).padStart(3, '0')}_${table}.js`),
    `exports.up = async knex => {
       await knex.schema.createTable('${table}', t => {
         t.increments(); t.text('name').notNullable(); t.jsonb('more'); t.timestamps(true, true); t.index('name')
       })
     }
     exports.down = knex => knex.schema.dropTable('${table}')\n`,
  )
}
for (const n of [1, 2]) {
  const rows = JSON.stringify(Array.from({ length: 20 }, (_, row) => ({ name: `row ${row}` })))
  writeFileSync(join(seeds, `0${n}_rows.js`), `exports.seed = knex => knex('things_${n}').insert(${rows})\n`)
}

function open(template: boolean): Tenancy {
  return createTenancy({
    registry: { url: registry },
    encryption: { keys: [key] },
    migrations: { directory: migrations },
    seeds: { directory: seeds },
    template,
  })
}

/** Processor time in milliseconds of all sessions of the server that have ended (proc(5), cutime and cstime). */
function serverTime(): number {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10
}

interface Cost {
  milliseconds: number
  client: number
  server: number
}

async function timed(count: number, work: () => unknown): Promise<Cost> {
  const before = { ...process.cpuUsage(), server: serverTime() }
  const startedAt = performance.now()
  await work()
  const milliseconds = (performance.now() - startedAt) / count
  await sleep(100)
  const { user, system } = process.cpuUsage()
  return {
    milliseconds,
    client: (user - before.user + system - before.system) / 1000 / count,
    server: (serverTime() - before.server) / count,
  }
}

function best(costs: readonly Cost[]): Cost {
  return costs.reduce((a, b) => (a.milliseconds <= b.milliseconds ? a : b))
}

function report(what: string, cost: Cost, base?: Cost): void {
  const ratio = base === undefined ? '' : `${(cost.milliseconds / base.milliseconds).toFixed(2)} x`
  const cpu = `cpu: client ${cost.client.toFixed(1)} ms, server ${cost.server.toFixed(1)} ms`
  console.log(`${what.padEnd(46)} ${cost.milliseconds.toFixed(1).padStart(8)} ms each ${ratio.padStart(8)}   ${cpu}`)
}

async function connected<T>(database: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(server.superUrl.replace(/\/[^/]*$/, `/${database}`))
  await client.connect()
  return work(client).finally(() => client.end())
}

/** What a careful person would send: the same role, restricted database, change of ownership and grants. */
async function byHand(template: string, count: number, concurrency: number, strategy = ''): Promise<void> {
  const numbers = Array.from({ length: count }, () => ++made)[Symbol.iterator]()
  const worker = () =>
    connected('postgres', async admin => {
      for (const number of numbers) {
        const name = `hand_${number}`
        const verifier = await scramVerifier(new Secret(randomBytes(16).toString('hex')))
        await admin.query(`CREATE ROLE ${name} LOGIN PASSWORD '${verifier.reveal()}'`)
        await admin.query(`CREATE DATABASE ${name} TEMPLATE ${template} ${strategy}`)
        await admin.query(`REVOKE ALL ON DATABASE ${name} FROM PUBLIC`)
        await connected(name, client => client.query(`REASSIGN OWNED BY ${template} TO ${name}`))
        await admin.query(`GRANT CONNECT, TEMPORARY, CREATE ON DATABASE ${name} TO ${name}`)
      }
    })
  await Promise.all(Array.from({ length: concurrency }, worker))
}

async function byTenantctl(tenancy: Tenancy, count: number, concurrency: number): Promise<void> {
  const inputs = Array.from({ length: count }, () => {
    made += 1
    return { name: `made-${made}`, slug: `made-${made}` }
  })
  if (concurrency === 1) {
    for (const input of inputs) await tenancy.tenants.create(input)
    return
  }
  const { succeeded, tenants } = await tenancy.tenants.createMany(inputs, { concurrency })
  if (succeeded !== count) throw new Error(JSON.stringify(tenants.find(each => each.error)))
}

async function dropAll(): Promise<void> {
  await connected('postgres', async admin => {
    const { rows } = await admin.query("SELECT datname FROM pg_database WHERE datname ~ '^(hand|tenant|knex)_[a-z0-9]'")
    for (const { datname } of rows) await admin.query(`DROP DATABASE ${datname} WITH (FORCE)`)
    await admin.query('CHECKPOINT')
  })
}

function byKnex(count: number): void {
  const bin = fileURLToPath(new URL('../node_modules/.bin/knex', import.meta.url))
  for (let n = 1; n <= count; n += 1) {
    const connection = server.superUrl.replace(/\/[^/]*$/, `/knex_${n}`)
    const config = { client: 'pg', connection, migrations: { directory: migrations }, seeds: { directory: seeds } }
    writeFileSync(join(folder, 'knexfile.cjs'), `module.exports = ${JSON.stringify(config)}\n`)
    for (const command of ['migrate:latest', 'seed:run']) {
      const { status, stderr, stdout } = spawnSync(bin, [command, '--knexfile', join(folder, 'knexfile.cjs')], {
        encoding: 'utf8',
        env: { ...process.env, NODE_PATH: fileURLToPath(new URL('../node_modules', import.meta.url)) },
      })
      if (status !== 0) throw new Error(stderr + stdout)
    }
  }
}

try {
  const tenancy = open(true)
  await tenancy.tenants.create({ name: 'first', slug: 'first' })
  const template = await connected('postgres', async admin => {
    const { rows } = await admin.query("SELECT datname FROM pg_database WHERE datname ~ '^tenantctl_template_'")
    const { rows: sizes } = await admin.query('SELECT pg_database_size($1) / 1024 / 1024 AS mb', [rows[0].datname])
    console.log(
      `template of ${sizes[0].mb} MB, PostgreSQL ${server.major}, fsync on; ${perRound} tenants a round, best of ${rounds}`,
    )
    return rows[0].datname as string
  })

  for (const concurrency of [1, 4]) {
    const costs: Record<string, Cost[]> = { WAL_LOG: [], FILE_COPY: [] }
    for (let round = 0; round < rounds; round += 1) {
      for (const strategy of Object.keys(costs)) {
        costs[strategy]?.push(
          await timed(perRound, () => byHand(template, perRound, concurrency, `STRATEGY ${strategy}`)),
        )
        await dropAll()
      }
    }
    const base = best(costs.WAL_LOG as Cost[])
    report(`bare statements, WAL_LOG, ${concurrency} at once`, base)
    report(`bare statements, FILE_COPY, ${concurrency} at once`, best(costs.FILE_COPY as Cost[]), base)
  }

  for (const concurrency of [1, 4]) {
    const hand: Cost[] = []
    const ours: Cost[] = []
    for (let round = 0; round < rounds; round += 1) {
      hand.push(await timed(perRound, () => byHand(template, perRound, concurrency)))
      await connected('postgres', admin => admin.query('CHECKPOINT'))
      ours.push(await timed(perRound, () => byTenantctl(tenancy, perRound, concurrency)))
      await dropAll()
    }
    report(`bare statements, ${concurrency} at once`, best(hand))
    report(`tenantctl, from the template, ${concurrency} at once`, best(ours), best(hand))
  }
  await tenancy.close()

  const plain = open(false)
  const few = Math.max(3, Math.floor(perRound / 4))
  report('tenantctl, without a template, one by one', await timed(few, () => byTenantctl(plain, few, 1)))
  await plain.close()
  await connected('postgres', async admin => {
    for (let n = 1; n <= few; n += 1) await admin.query(`CREATE DATABASE knex_${n}`)
  })
  const knex = await timed(few, () => byKnex(few))
  const again = open(true)
  const copied = await timed(few, () => byTenantctl(again, few, 1))
  report('knex migrate:latest and seed:run, no creation', knex)
  report('tenantctl, from the template', copied, knex)
  await again.close()
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}
