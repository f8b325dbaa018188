/**
 * What the connection service costs, against bare pg and knex in the same run, on a server of its own.
 * Run: npm run build && node_modules/.bin/jiti bench/connections.ts
 *
 * One query is a hundred of them, one after the other, on the bare pool and through `run()` in turn. A cold tenant is
 * opened as the pool does it for the first query: look-up in the registry, login, identity check; pg's connect is the
 * login alone. The two thousand tenants are fifty databases of one server that is known under forty names: to pool,
 * cache and registry they are two thousand.
 */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import createKnex, { type Knex } from 'knex'
import pg from 'pg'
import { createTenancy, currentConnection, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { parseAddress } from '../src/postgres/address.ts'
import { RegistryConnection } from '../src/registry/connection.ts'
import { TenantRegistry } from '../src/registry/tenant-registry.ts'
import { createCipher } from '../src/secrets/provider.ts'
import { Secret } from '../src/secrets/secret.ts'
import { startServer } from '../test/support/servers.ts'
import { inTurn, median, ratioOf, report, timed } from './measure.ts'

const databases = 50
const serversOfTheSameName = 40
const budget = 50
const key = generateEncryptionKey()
const server = await startServer()
const registryUrl = server.superUrl.replace(/\/[^/]*$/, '/tenantctl')
// The same server under forty names: two thousand tenants without two thousand databases on the disk.
const names = Array.from({ length: serversOfTheSameName - 1 }, (_, index) => `copy-${index + 1}`)
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const opened: Tenancy[] = []

function open(connections: object): Tenancy {
  const tenancy = createTenancy({
    registry: { url: `${registryUrl}?sslmode=disable` },
    servers: Object.fromEntries(names.map(name => [name, { url: `${server.superUrl}?sslmode=disable` }])),
    encryption: { keys: [key] },
    migrations: { directory: folder },
    seeds: { directory: folder },
    connections,
  })
  opened.push(tenancy)
  return tenancy
}

try {
  const tenancy = open({ max: 20, perTenant: 5 })
  for (let index = 0; index < databases; index += 1)
    await tenancy.tenants.create({ name: `tenant-${index}`, slug: `tenant-${index}` })
  await warmGet(tenancy)
  await oneQuery(tenancy)
  await tenancy.close()
  await coldOpen()
  await manyKnown()
  await manyTenants()
} finally {
  await Promise.all(opened.map(tenancy => tenancy.close()))
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}

async function warmGet(tenancy: Tenancy): Promise<void> {
  const slugs = Array.from({ length: 20 }, (_, index) => `tenant-${index}`)
  for (const slug of slugs) await tenancy.connections.get(slug)
  const gets = 20_000
  const { get } = await inTurn(20, {
    get: () =>
      timed(async () => {
        for (let index = 0; index < gets; index += 1) await tenancy.connections.get(slugs[index % 20] as string)
      }),
  })
  report({ what: 'get of a warm tenant', value: (median(get) / gets) * 1000, unit: 'µs', target: { atMost: 5 } })
}

async function oneQuery(tenancy: Tenancy): Promise<void> {
  const bare = createKnex({ client: 'pg', connection: await urlOf(tenancy, 'tenant-0'), pool: { min: 0, max: 5 } })
  const query = (knex: Knex) => knex.select(knex.raw('1 AS one'))
  const queries = 100
  const batch = async (work: () => PromiseLike<unknown>) => {
    const took = await timed(async () => {
      for (let count = 0; count < queries; count += 1) await work()
    })
    return (took / queries) * 1000
  }
  const cases = {
    pool: () => batch(() => query(bare)),
    run: () => batch(() => tenancy.run('tenant-0', () => query(currentConnection()))),
  }
  await inTurn(5, cases)
  const { pool, run } = await inTurn(60, cases)
  await bare.destroy()
  const against = 'one query of a bare knex pool'
  report({ what: against, value: median(pool), unit: 'µs' })
  const ratio = ratioOf(run, pool)
  report({ what: 'run() and the same query', value: median(run), unit: 'µs', against, ratio, target: { atMost: 1.1 } })
}

async function coldOpen(): Promise<void> {
  const [first, second] = [open({ max: databases, perTenant: 1 }), open({ max: databases, perTenant: 1 })]
  // What a process does once, whoever comes first.
  for (const tenancy of [first, second]) await (await tenancy.connections.get('tenant-0')).raw('SELECT 1')
  const slugs = Array.from({ length: databases - 1 }, (_, index) => `tenant-${index + 1}`)
  const urls = await Promise.all(slugs.map(slug => urlOf(first, slug)))
  const bare = async (index: number, work: (client: pg.Client) => Promise<unknown>) => {
    const client = new pg.Client({ connectionString: urls[index] as string })
    const took = await timed(() => work(client))
    await client.end()
    return took
  }
  const times = await inTurn(slugs.length, {
    connect: index => bare(index, client => client.connect()),
    open: index =>
      timed(async () => {
        const { client } = await first.connections.get(slugs[index] as string)
        client.releaseConnection(await client.acquireConnection())
      }),
    connectAndQuery: index => bare(index, client => client.connect().then(() => client.query('SELECT 1'))),
    openAndQuery: index => timed(async () => (await second.connections.get(slugs[index] as string)).raw('SELECT 1')),
  })
  await Promise.all([first.close(), second.close()])
  const connect = "pg's connect"
  report({ what: connect, value: median(times.connect), unit: 'ms' })
  report({
    ...{ what: 'look-up, login and identity check of a new tenant', value: median(times.open), unit: 'ms' },
    ...{ against: connect, ratio: ratioOf(times.open, times.connect), target: { atMost: 1.2 } },
  })
  const query = "pg's connect and its first query"
  report({ what: query, value: median(times.connectAndQuery), unit: 'ms' })
  report({
    ...{ what: 'the same of a new tenant and its first query', value: median(times.openAndQuery), unit: 'ms' },
    ...{ against: query, ratio: ratioOf(times.openAndQuery, times.connectAndQuery) },
  })
}

async function manyTenants(): Promise<void> {
  const tenancy = open({ max: budget, perTenant: 5, acquireTimeout: '30s' })
  const all = await copies(tenancy)
  const seen = await mostSessions(async () => {
    const requests = 4_000
    const waits: number[] = []
    let errors = 0
    const took = await timed(async () => {
      let next = 0
      const client = async () => {
        while (next++ < requests) {
          const slug = all[Math.floor(Math.random() * all.length)] as string
          waits.push(
            await timed(() =>
              tenancy.run(slug, () => currentConnection().raw('SELECT pg_sleep(0.001)')).catch(() => errors++),
            ),
          )
        }
      }
      await Promise.all(Array.from({ length: 200 }, client))
    })
    const { evictions, timeouts } = tenancy.connections.stats()
    const what = `${all.length} tenants at random, 200 requests at once, ${budget} connections`
    report({ what: `${what}: errors`, value: errors + timeouts, unit: '', target: { atMost: 0 } })
    const sorted = waits.toSorted((a, b) => a - b)
    for (const [share, name] of [
      [0.5, 'median'],
      [0.99, '99 %'],
      [1, 'longest'],
    ] as const) {
      const value = sorted[Math.ceil(sorted.length * share) - 1] as number
      report({ what: `${what}: ${name} request`, value, unit: 'ms' })
    }
    const rate = (requests / took) * 1000
    report({ what: `${what}: rate`, value: rate, unit: '/s', note: `${evictions} connections closed to make room` })
  })
  const what = `most sessions that the server saw meanwhile`
  report({ what, value: seen, unit: '', target: { atMost: budget } })
  await tenancy.close()
}

/** The most sessions on tenants' databases that were open at any time during `work`. */
async function mostSessions(work: () => Promise<void>): Promise<number> {
  const watcher = new pg.Client({ connectionString: server.superUrl })
  await watcher.connect()
  let most = 0
  let watching = true
  const watch = (async () => {
    while (watching) {
      const { rows } = await watcher.query(
        "SELECT count(*)::int FROM pg_stat_activity WHERE datname LIKE 'tenant\\_%' AND backend_type = 'client backend'",
      )
      most = Math.max(most, rows[0].count)
      await sleep(20)
    }
  })()
  await work()
  watching = false
  await watch
  await watcher.end()
  return most
}

async function manyKnown(): Promise<void> {
  const registry = new RegistryConnection(parseAddress(new Secret(`${registryUrl}?sslmode=disable`)))
  const tenants = new TenantRegistry(registry, createCipher([new Secret(key)], undefined))
  const count = 10_000
  for (let index = 0; index < count; index += 1) {
    await reserve(tenants, `known-${index}`, 'default', `known-${index}`, new Secret('x'.repeat(32)))
  }
  await registry.query('activating', "UPDATE tenantctl.tenants SET status = 'active'")
  await registry.close()
  const script = fileURLToPath(new URL('known-tenants.mjs', import.meta.url))
  const args = ['--expose-gc', script, `${registryUrl}?sslmode=disable`, key, 'known-', String(count)]
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd: folder })
  if (stdout === '') throw new Error(stderr)
  const { known, rss, grown } = JSON.parse(stdout)
  const megabytes = (bytes: number) => bytes / 1024 / 1024
  const what = `memory of a process that knows ${known} tenants`
  const note = `${megabytes(grown).toFixed(0)} MB of it for them`
  report({ what, value: megabytes(rss), unit: 'MB', target: { atMost: 150 }, note })
}

/** Rows for the same databases and roles under the other names of the server. */
async function copies(tenancy: Tenancy): Promise<string[]> {
  const registry = new RegistryConnection(parseAddress(new Secret(`${registryUrl}?sslmode=disable`)))
  const tenants = new TenantRegistry(registry, createCipher([new Secret(key)], undefined))
  const slugs: string[] = []
  for (let index = 0; index < databases; index += 1) {
    slugs.push(`tenant-${index}`)
    const { database, password } = await tenancy.tenants.connectionInfo(`tenant-${index}`)
    for (const name of names) {
      const slug = `${name}-${index}`
      await reserve(tenants, slug, name, database, password)
      slugs.push(slug)
    }
  }
  await registry.query('activating', "UPDATE tenantctl.tenants SET status = 'active'")
  await registry.close()
  return slugs
}

async function reserve(
  tenants: TenantRegistry,
  slug: string,
  server: string,
  database: string,
  password: Secret,
): Promise<void> {
  const tenant = { id: randomUUID(), slug, name: slug, server, database, username: database, password, labels: {} }
  await tenants.reserve({ ...tenant, protected: false, migratorPassword: undefined })
}

async function urlOf(tenancy: Tenancy, slug: string): Promise<string> {
  return (await tenancy.tenants.url(slug)).reveal()
}
