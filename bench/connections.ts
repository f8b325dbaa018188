/**
 * What the connection service costs, against bare pg and knex in the same run, on a server of its own.
 * Run: node --expose-gc node_modules/.bin/jiti bench/connections.ts
 */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import createKnex, { type Knex } from 'knex'
import pg from 'pg'
import { createTenancy, currentConnection, generateEncryptionKey, type Tenancy } from '../src/index.ts'
import { parseAddress } from '../src/postgres/address.ts'
import { RegistryConnection } from '../src/registry/connection.ts'
import { TenantRegistry } from '../src/registry/tenant-registry.ts'
import { createCipher } from '../src/secrets/provider.ts'
import { Secret } from '../src/secrets/secret.ts'
import { startServer } from '../test/support/servers.ts'

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

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
}

async function timed(work: () => unknown): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

function report(what: string, value: string, goal: string): void {
  console.log(`${what.padEnd(64)} ${value.padStart(12)}   ${goal}`)
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
  const rounds = 20_000
  const batches: number[] = []
  for (let batch = 0; batch < 10; batch += 1) {
    batches.push(
      await timed(async () => {
        for (let index = 0; index < rounds; index += 1) await tenancy.connections.get(slugs[index % 20] as string)
      }),
    )
  }
  const took = Math.min(...batches)
  report('get of a warm tenant, the best of ten', `${((took / rounds) * 1000).toFixed(2)} µs`, '< 5 µs')
}

async function oneQuery(tenancy: Tenancy): Promise<void> {
  const bare = createKnex({ client: 'pg', connection: await urlOf(tenancy, 'tenant-0'), pool: { min: 0, max: 5 } })
  const query = (knex: Knex) => knex.select(knex.raw('1 AS one'))
  const ours = () => tenancy.run('tenant-0', () => query(currentConnection()))
  const rounds = 100
  const batch = (work: () => PromiseLike<unknown>) =>
    timed(async () => {
      for (let count = 0; count < rounds; count += 1) await work()
    })
  await batch(() => query(bare))
  await batch(ours)
  const times: [number[], number[]] = [[], []]
  for (let index = 0; index < 40; index += 1) {
    times[0].push((await batch(() => query(bare))) / rounds)
    times[1].push((await batch(ours)) / rounds)
  }
  await bare.destroy()
  const [knex, run] = times.map(median) as [number, number]
  report('one query of a bare knex pool', `${(knex * 1000).toFixed(0)} µs`, '')
  report('run + the same query', `${(run / knex).toFixed(2)} x`, '< 1.1 x')
}

async function coldOpen(): Promise<void> {
  const times: [number[], number[]] = [[], []]
  const tenancy = open({ max: databases, perTenant: 1 })
  await tenancy.connections.get('tenant-0')
  for (let index = 1; index < databases; index += 1) {
    const connectionString = await urlOf(tenancy, `tenant-${index}`)
    const client = new pg.Client({ connectionString })
    times[0].push(await timed(() => client.connect()))
    await client.end()
    times[1].push(await timed(async () => (await tenancy.connections.get(`tenant-${index}`)).raw('SELECT 1')))
  }
  await tenancy.close()
  const [connect, cold] = times.map(median) as [number, number]
  report("pg's connect", `${connect.toFixed(2)} ms`, '')
  report(
    'look-up, login, identity check and first query of a new tenant',
    `${(cold / connect).toFixed(2)} x`,
    '< 1.2 x',
  )
}

async function manyTenants(): Promise<void> {
  const tenancy = open({ max: budget, perTenant: 5, acquireTimeout: '30s' })
  const all = await copies(tenancy)
  let most = 0
  const watcher = new pg.Client({ connectionString: server.superUrl })
  await watcher.connect()
  let watching = true
  const watch = (async () => {
    while (watching) {
      const { rows } = await watcher.query(
        "SELECT count(*)::int FROM pg_stat_activity WHERE datname LIKE 'tenant\\_%' AND backend_type = 'client backend'",
      )
      most = Math.max(most, rows[0].count)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  })()
  const waits: number[] = []
  let errors = 0
  const requests = 4_000
  const took = await timed(async () => {
    let next = 0
    const client = async () => {
      while (next++ < requests) {
        const slug = all[Math.floor(Math.random() * all.length)] as string
        const wait = await timed(() =>
          tenancy.run(slug, () => currentConnection().raw('SELECT pg_sleep(0.001)')).catch(() => errors++),
        )
        waits.push(wait)
      }
    }
    await Promise.all(Array.from({ length: 200 }, client))
  })
  watching = false
  await watch
  await watcher.end()
  const sorted = waits.toSorted((a, b) => a - b)
  const at = (share: number) => `${(sorted[Math.floor(sorted.length * share)] as number).toFixed(0)} ms`
  const { evictions, timeouts } = tenancy.connections.stats()
  report(`${all.length} tenants at random, 200 at once, budget of ${budget}: errors`, String(errors + timeouts), '0')
  report('  most sessions that the server saw', String(most), `<= ${budget}`)
  report('  wait at the median, 99 %, at most', [at(0.5), at(0.99), at(0.99999)].join(', '), 'bounded')
  report('  requests a second', ((requests / took) * 1000).toFixed(0), '')
  report('  connections closed to make room', String(evictions), '')
  await tenancy.close()
}

async function manyKnown(): Promise<void> {
  const registry = new RegistryConnection(parseAddress(new Secret(`${registryUrl}?sslmode=disable`)))
  const tenants = new TenantRegistry(registry, createCipher([new Secret(key)], undefined))
  const slugs = Array.from({ length: 10_000 }, (_, index) => `known-${index}`)
  for (const slug of slugs) await reserve(tenants, slug, 'default', slug, new Secret('x'.repeat(32)))
  await registry.query('activating', "UPDATE tenantctl.tenants SET status = 'active'")
  await registry.close()
  const tenancy = open({ max: 20 })
  await tenancy.connections.get('tenant-0')
  const used = () => {
    globalThis.gc?.()
    return process.memoryUsage()
  }
  const before = used()
  for (const slug of slugs) await tenancy.connections.get(slug)
  const after = used()
  const grown = (after.heapUsed - before.heapUsed) / 1024 / 1024
  const size = `${grown.toFixed(0)} MB more, ${(after.rss / 1024 / 1024).toFixed(0)} MB in all`
  report(`${tenancy.connections.stats().known} tenants known`, size, '< 150 MB')
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
