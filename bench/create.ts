/**
 * Creating tenants as copies of a template, against the bare statements sent by pg from one process that keeps its
 * admin's connection; and against the knex CLI's migrate:latest and seed:run per tenant, to which the creation of its
 * database is not counted. A schema of 20 migrations and two seeds, on a server of its own with fsync on. The sides run
 * in turn; medians of the rounds. What they make, 10 MB each, stays until the end: a file system that has just removed
 * files by the thousand may take several times as long to make new ones, and whoever comes next would pay for that.
 * Run: npm run build && node_modules/.bin/jiti bench/create.ts [tenants per round] [rounds] [strategies]
 * With `strategies`, what STRATEGY makes of CREATE DATABASE is measured as well.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { scramVerifier } from '../src/postgres/scram.ts'
import { Secret } from '../src/secrets/secret.ts'
import { startServer } from '../test/support/servers.ts'
import { type Cost, costed, type Figure, inTurn, median, ratioOf, report, timed } from './measure.ts'

const perRound = Number(process.argv[2] ?? 10)
const rounds = Number(process.argv[3] ?? 5)
const strategies = process.argv[4] === 'strategies'
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const [migrations, seeds] = ['migrations', 'seeds'].map(name => join(folder, name)) as [string, string]
// Large enough that no checkpoint falls into a round of one side alone.
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_wal_size: '8GB' } })
const registry = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
const key = generateEncryptionKey()
let made = 0
let forKnex: string[] = []

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

function open(): Tenancy {
  return createTenancy({
    registry: { url: registry },
    encryption: { keys: [key] },
    migrations: { directory: migrations },
    seeds: { directory: seeds },
  })
}

/** What one of `count` costs; what was made is written afterwards, so that nobody does it for another. */
async function each(count: number, work: () => unknown): Promise<Cost> {
  const cost = await costed(server.pid, work)
  await connected('postgres', admin => admin.query('CHECKPOINT'))
  return { milliseconds: cost.milliseconds / count, client: cost.client / count, server: cost.server / count }
}

interface Side {
  what: string
  /** Not timed. */
  prepare?: () => Promise<void>
  work: () => unknown
}

/** Runs both sides in turn, and reports the medians and the ratio of the second to the first. */
async function compare(base: Side, other: Side, count: number, target?: Figure['target']): Promise<void> {
  const costs: Record<'base' | 'other', Cost[]> = { base: [], other: [] }
  const run =
    (side: 'base' | 'other', { prepare, work }: Side) =>
    async () => {
      await prepare?.()
      const cost = await each(count, work)
      costs[side].push(cost)
      return cost.milliseconds
    }
  const times = await inTurn(rounds, { base: run('base', base), other: run('other', other) })
  const figure = (side: 'base' | 'other', what: string): Figure => {
    const client = median(costs[side].map(cost => cost.client))
    return {
      what,
      value: median(times[side]),
      unit: 'ms',
      note: `processor time of the client: ${client.toFixed(1)} ms`,
    }
  }
  report(figure('base', base.what))
  const faster = target !== undefined && 'atLeast' in target
  const ratio = faster ? ratioOf(times.base, times.other) : ratioOf(times.other, times.base)
  report({ ...figure('other', other.what), against: base.what, ratio, ...(target ? { target } : {}) })
}

async function connected<T>(database: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(server.superUrl.replace(/\/[^/]*$/, `/${database}`))
  await client.connect()
  return work(client).finally(() => client.end())
}

/** Milliseconds of each CREATE DATABASE by hand: what no client can do anything about. */
const copying: number[] = []

/** What a careful person would send: the same role, restricted database, change of ownership and grants. */
async function byHand(template: string, count: number, concurrency: number, strategy = ''): Promise<void> {
  const numbers = Array.from({ length: count }, () => ++made)[Symbol.iterator]()
  const worker = () =>
    connected('postgres', async admin => {
      for (const number of numbers) {
        const name = `hand_${number}`
        const verifier = await scramVerifier(new Secret(randomBytes(16).toString('hex')))
        await admin.query(`CREATE ROLE ${name} LOGIN PASSWORD '${verifier.reveal()}'`)
        copying.push(await timed(() => admin.query(`CREATE DATABASE ${name} TEMPLATE ${template} ${strategy}`)))
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

/** Empty databases for it to fill. */
async function prepareKnex(count: number): Promise<void> {
  forKnex = Array.from({ length: count }, () => `knex_${++made}`)
  await connected('postgres', async admin => {
    for (const name of forKnex) await admin.query(`CREATE DATABASE ${name}`)
  })
}

function byKnex(): void {
  const bin = fileURLToPath(new URL('../node_modules/.bin/knex', import.meta.url))
  for (const database of forKnex) {
    const connection = server.superUrl.replace(/\/[^/]*$/, `/${database}`)
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
  const tenancy = open()
  await tenancy.tenants.create({ name: 'first', slug: 'first' })
  const template = await connected('postgres', async admin => {
    const { rows } = await admin.query("SELECT datname FROM pg_database WHERE datname ~ '^tenantctl_template_'")
    return rows[0].datname as string
  })
  for (const concurrency of [1, 4]) {
    copying.length = 0
    const what = `create a tenant, ${concurrency} at once`
    await compare(
      { what: `${what}: bare statements`, work: () => byHand(template, perRound, concurrency) },
      { what: `${what}: tenantctl, from the template`, work: () => byTenantctl(tenancy, perRound, concurrency) },
      perRound,
      { atMost: 1.25 },
    )
    report({ what: `CREATE DATABASE alone, ${concurrency} at once`, value: median(copying), unit: 'ms' })
  }
  const few = Math.max(3, Math.floor(perRound / 4))
  await compare(
    {
      what: 'a schema of 20 migrations: knex migrate:latest and seed:run',
      prepare: () => prepareKnex(few),
      work: byKnex,
    },
    { what: 'a schema of 20 migrations: tenantctl, from the template', work: () => byTenantctl(tenancy, few, 1) },
    few,
    { atLeast: 10 },
  )
  if (strategies) {
    const by = (strategy: string, concurrency: number) => ({
      what: `bare statements, ${concurrency} at once: ${strategy}`,
      work: () => byHand(template, perRound, concurrency, `STRATEGY ${strategy}`),
    })
    for (const concurrency of [1, 4]) await compare(by('WAL_LOG', concurrency), by('FILE_COPY', concurrency), perRound)
  }
  await tenancy.close()
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}
