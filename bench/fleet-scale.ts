/**
 * A fleet of 10,000 tenants, as whole processes: how long `migrate --all` takes that finds nothing to do, with and
 * without asking every database; how much memory it takes at 1,000 and at 10,000 tenants; `list --json` against psql.
 *
 * Ten thousand databases do not fit on a small disk: the tenants share a hundred databases, each of them a row of its
 * own in the registry, which is all that tenantctl sees. A run that connects to each of them does so 10,000 times.
 * Run: npm run build && node_modules/.bin/jiti bench/fleet-scale.ts [tenants] [rounds] [parts: registry,verify,memory]
 */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createTenancy, generateEncryptionKey } from '../src/index.ts'
import { sealPassword } from '../src/registry/tenant-passwords.ts'
import { createCipher } from '../src/secrets/provider.ts'
import { Secret } from '../src/secrets/secret.ts'
import { startServer } from '../test/support/servers.ts'
import { inTurn, median, ratioOf, report, timed } from './measure.ts'

const many = Number(process.argv[2] ?? 10_000)
const rounds = Number(process.argv[3] ?? 5)
const parts = (process.argv[4] ?? 'registry,verify,memory').split(',')
const few = many / 10
const databases = 100
const bin = fileURLToPath(new URL('../bin/tenantctl.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const [migrations, seeds] = ['migrations', 'seeds'].map(name => join(folder, name)) as [string, string]
const server = await startServer({ settings: { max_connections: 100 } })
const registryUrl = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
const key = generateEncryptionKey()

const all = ['--all']
const group = ['--label', 'group=few']

interface Login {
  user: string
  password: string
  database: string
}

/** Real tenants, and their rows again and again under other names, until there are `many`. */
async function populate(): Promise<Login[]> {
  const tenancy = createTenancy({
    registry: { url: registryUrl },
    encryption: { keys: [key] },
    migrations: { directory: migrations },
    seeds: { directory: seeds },
  })
  const inputs = Array.from({ length: databases }, (_, index) => ({ name: `tenant ${index}` }))
  const { failed } = await tenancy.tenants.createMany(inputs)
  if (failed > 0) throw new Error(`${failed} tenants could not be made`)
  const cipher = createCipher([new Secret(key)], undefined)
  const logins: Login[] = []
  const copies: object[] = []
  for (const { id, slug } of await tenancy.tenants.list()) {
    const info = await tenancy.tenants.connectionInfo(id)
    logins.push({ user: info.username, password: info.password.reveal(), database: info.database })
    for (let copy = 1; copy < many / databases; copy += 1) {
      const uuid = randomUUID()
      const password = await sealPassword(cipher, info.password, uuid, 'app')
      copies.push({ uuid, of: id, slug: `${nameOfCopy(copy)}-${slug}`, password })
    }
  }
  await tenancy.close()
  const registry = new pg.Client({ connectionString: registryUrl })
  await registry.connect()
  await registry.query(
    `ALTER TABLE tenantctl.tenants DROP CONSTRAINT tenants_server_id_db_name_key;
     ALTER TABLE tenantctl.tenants DROP CONSTRAINT tenants_server_id_db_username_key`,
  )
  await registry.query(
    `INSERT INTO tenantctl.tenants (uuid, slug, name, status, server_id, db_name, db_username, db_password, labels,
       schema_version, migrations_hash)
     SELECT n.uuid, n.slug, n.slug, 'active', t.server_id, t.db_name, t.db_username, n.password,
            CASE WHEN n.slug < $2 THEN '{"group": "few"}' ELSE '{}' END::jsonb, t.schema_version, t.migrations_hash
       FROM jsonb_to_recordset($1::jsonb) AS n(uuid uuid, of uuid, slug text, password text)
       JOIN tenantctl.tenants t ON t.uuid = n.of`,
    [JSON.stringify(copies), nameOfCopy(few / databases)],
  )
  await registry.query(`UPDATE tenantctl.tenants SET labels = '{"group": "few"}' WHERE slug LIKE 'tenant-%'`)
  await registry.query('VACUUM ANALYZE tenantctl.tenants')
  await registry.end()
  return logins
}

function nameOfCopy(copy: number): string {
  return `copy-${String(copy).padStart(3, '0')}`
}

/** What it prints: to read it is not part of what is timed. */
function run(args: string[], options: string[] = []): { stdout: Buffer; stderr: Buffer } {
  const env = { ...process.env, TENANTCTL_REGISTRY_URL: registryUrl, TENANTCTL_ENCRYPTION_KEY: key }
  const { status, stdout, stderr } = spawnSync(process.execPath, [...options, bin, ...args], {
    ...{ cwd: folder, env, maxBuffer: 1e9 },
  })
  if (status !== 0) throw new Error(`${args.join(' ')}: exit ${status}\n${stderr}`)
  return { stdout, stderr }
}

/** How long a process takes that finds as many tenants up to date as are expected. */
async function migrate(selection: string[], expected: number, ...more: string[]): Promise<number> {
  let stdout: Buffer = Buffer.alloc(0)
  const milliseconds = await timed(() => {
    stdout = run(['migrate', ...selection, '--json', '--migrations', migrations, ...more]).stdout
  })
  const { upToDate } = JSON.parse(stdout.toString())
  if (upToDate !== expected) throw new Error(`${upToDate} of ${expected} tenants are up to date`)
  return milliseconds
}

/** Peak memory in megabytes, which the process tells when it ends. */
function peakOf(selection: string[]): number {
  const tell = `data:text/javascript,process.on('exit', () => process._rawDebug('peak ' + process.resourceUsage().maxRSS))`
  const { stderr } = run(
    ['migrate', ...selection, '--verify', '--json', '--migrations', migrations],
    ['--import', tell],
  )
  return Number(/peak (\d+)/.exec(stderr.toString())?.[1]) / 1024
}

async function byHand(logins: readonly Login[], times: number, atOnce: number): Promise<void> {
  const { hostname: host, port } = new URL(server.superUrl)
  let next = 0
  const worker = async () => {
    while (next < times) {
      const login = logins[next++ % logins.length] as Login
      const client = new pg.Client({ ...login, host, port: Number(port), ssl: false })
      await client.connect()
      await client.query('SELECT name FROM knex_migrations')
      await client.end()
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

try {
  mkdirSync(migrations)
  mkdirSync(seeds)
  writeFileSync(join(migrations, '0001_notes.sql'), 'CREATE TABLE notes (id int PRIMARY KEY, body text);\n')
  const logins = await populate()
  if (parts.includes('registry')) await fromRegistry()
  if (parts.includes('verify')) await verified(logins)
  if (parts.includes('memory')) peaks()
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}

async function fromRegistry(): Promise<void> {
  const psqlQuery = `SELECT t.uuid, t.slug, t.name, t.status, s.name AS server, t.db_name, t.db_username, t.schema_version,
    t.labels, t.roles, t.protected, t.created_at, t.updated_at
    FROM tenantctl.tenants t JOIN tenantctl.servers s ON s.id = t.server_id ORDER BY t.slug`
  const hasPsql = spawnSync('psql', ['--version']).status === 0
  const quick = await inTurn(rounds, {
    nothing: () => migrate(all, many),
    list: () => timed(() => run(['list', '--json'])),
    psql: () => timed(() => hasPsql && spawnSync('psql', [registryUrl, '-XAtc', psqlQuery], { maxBuffer: 1e9 })),
  })
  report({
    what: `nothing pending, ${many} tenants`,
    value: median(quick.nothing),
    unit: 'ms',
    target: { atMost: 500 },
  })
  if (hasPsql) {
    report({ what: `psql, ${many} rows`, value: median(quick.psql), unit: 'ms' })
    report({
      ...{ what: `list --json, ${many} tenants`, value: median(quick.list), unit: 'ms' },
      ...{ against: `psql, ${many} rows`, ratio: ratioOf(quick.list, quick.psql), target: { atMost: 3 } },
    })
  }
}

async function verified(logins: readonly Login[]): Promise<void> {
  const atOnce = [8, 16].map(number => [`by hand, ${number} at once`, number] as const)
  const times = await inTurn(rounds, {
    ...Object.fromEntries(atOnce.map(([what, number]) => [what, () => timed(() => byHand(logins, few, number))])),
    verify: () => migrate(group, few, '--verify'),
  } as Record<string, () => Promise<number>>)
  const timesOf = (what: string) => times[what] as number[]
  const [best] = atOnce.map(([what]) => what).sort((a, b) => median(timesOf(a)) - median(timesOf(b))) as [string]
  report({ what: `connect, one query, disconnect, ${best}`, value: median(timesOf(best)) / few, unit: 'ms/tenant' })
  report({
    ...{
      what: `migrate --verify, ${few} tenants, a process`,
      value: median(timesOf('verify')) / few,
      unit: 'ms/tenant',
    },
    ...{ against: best, ratio: ratioOf(timesOf('verify'), timesOf(best)), target: { atMost: 1.2 } },
  })
}

function peaks(): void {
  const small = peakOf(group)
  const large = peakOf(all)
  report({ what: `peak memory, ${few} tenants visited`, value: small, unit: 'MB' })
  report({
    ...{ what: `peak memory, ${many} tenants visited`, value: large, unit: 'MB', target: { atMost: 1.15 } },
    ...{ against: `peak memory, ${few} tenants visited`, ratio: large / small },
  })
}
