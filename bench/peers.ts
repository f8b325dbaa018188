/**
 * One small migration pending on many databases: `tenantctl migrate --all` against other ways to do that, each as one
 * process or shell command as one would type it, in turn, on a server of its own with fsync on.
 *
 * All log in as the tenant, apply ALTER TABLE … ADD COLUMN and keep their books in a table of their own in each
 * database, which an earlier migration has already made. Where a tool leaves open how many databases it works on at a
 * time, it is eight; the knex CLI, which takes some hundred milliseconds, gets a few of the databases only. What is
 * reported is the time for a database, the start of the process included; afterwards it is checked that the columns are
 * there.
 * Run: npm run build && node_modules/.bin/jiti bench/peers.ts [tenants] [rounds] [tenants for the knex CLI] [names of
 * contenders, as in psql,dbmate]
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createTenancy, generateEncryptionKey } from '../src/index.ts'
import { startServer } from '../test/support/servers.ts'
import { type Figure, inTurn, median, ratioOf, report, timed } from './measure.ts'

const count = Number(process.argv[2] ?? 200)
const rounds = Number(process.argv[3] ?? 3)
const few = Math.min(count, Number(process.argv[4] ?? 15))
const chosen = process.argv[5]?.split(',')
const concurrency = 8
const place = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tenantctl-bench-'))
const server = await startServer({ settings: { fsync: 'on', full_page_writes: 'on', max_wal_size: '8GB' } })
const registry = `${server.superUrl.replace(/\/[^/]*$/, '/tenantctl')}?sslmode=disable`
const key = generateEncryptionKey()

interface Contender {
  what: string
  /** Of the columns that it adds, and of its folder. */
  name: string
  /** In the shell; the addresses of the databases come on stdin. */
  command: string
  /** For the first migration, when the command itself would take too long. */
  prepare?: string
  /** Name and content of a file with a migration. */
  file(number: number, sql: string): [name: string, content: string]
  only?: number
  target?: Figure['target']
}

const ours = 'tenantctl migrate --all'
const node = (script: string, ...args: (string | number)[]) =>
  `'${process.execPath}' '${place(`peers/${script}.mjs`)}' ${args.join(' ')}`
const directory = (name: string) => join(folder, name)
const padded = (number: number) => String(number).padStart(6, '0')
const knexFile = (number: number, sql: string): [string, string] => [
  `${padded(number)}_column.js`,
  `exports.up = knex => knex.raw('${sql}')\nexports.down = () => undefined\n`,
]
const sqlFile = (number: number, sql: string): [string, string] => [`${padded(number)}_column.sql`, `${sql};\n`]
let hash: string | undefined

/** Debian's `psql` is a script that looks for the newest one, and takes longer than that. */
function psql(): string {
  const versions = '/usr/lib/postgresql'
  const newest = existsSync(versions) ? Math.max(...readdirSync(versions).map(Number).filter(Number.isInteger)) : 0
  return newest > 0 ? `${versions}/${newest}/bin/psql` : 'psql'
}

const all: Contender[] = [
  {
    ...{ what: ours, name: 'tenantctl', file: sqlFile },
    command: `'${process.execPath}' '${place('../bin/tenantctl.js')}' migrate --all --json --migrations ${directory('tenantctl')}`,
  },
  {
    ...{ what: 'a shell loop of the knex CLI', name: 'knex_cli', file: knexFile, only: few, target: { atLeast: 30 } },
    command: `while read -r url; do
      DATABASE_URL="$url" '${place('../node_modules/.bin/knex')}' migrate:latest --knexfile ${join(folder, 'knexfile.cjs')} || exit 1
    done`,
    prepare: node('knex', directory('knex_cli'), 'knex_cli', concurrency),
  },
  {
    ...{ what: 'knex.migrate.latest in one process', name: 'knex', file: knexFile },
    command: node('knex', directory('knex'), 'knex_in_process', concurrency),
  },
  {
    ...{ what: 'node-pg-migrate in one process', name: 'node_pg_migrate' },
    command: node('node-pg-migrate', directory('node_pg_migrate'), concurrency),
    file: (number, sql) => [
      `${1_700_000_000_000 + number}_column.sql`,
      `-- Up Migration\n${sql};\n-- Down Migration\n`,
    ],
  },
  {
    ...{ what: 'umzug in one process', name: 'umzug', file: sqlFile },
    command: node('umzug', directory('umzug'), concurrency),
  },
  {
    ...{ what: 'graphile-migrate in one process', name: 'graphile' },
    command: node('graphile-migrate', directory('graphile'), concurrency),
    file: (number, sql) => {
      const previous = hash
      hash = `sha1:${createHash('sha1')
        .update(`${previous ?? ''}\n${sql};`.trim())
        .update('\n')
        .digest('hex')}`
      return [`committed/${padded(number)}.sql`, `--! Previous: ${previous ?? '-'}\n--! Hash: ${hash}\n\n${sql};\n`]
    },
  },
  {
    ...{ what: `xargs -P ${concurrency} dbmate migrate`, name: 'dbmate' },
    command: `xargs -P ${concurrency} -I{} '${place(`node_modules/@dbmate/${process.platform}-${process.arch}/bin/dbmate`)}' --url {} --migrations-dir ${directory('dbmate')} --no-dump-schema migrate`,
    file: (number, sql) => [
      `${20_260_101_000_000 + number}_column.sql`,
      `-- migrate:up\n${sql};\n-- migrate:down\nSELECT 1;\n`,
    ],
  },
  {
    ...{ what: `xargs -P ${concurrency} psql -f`, name: 'psql' },
    command: `xargs -P ${concurrency} -I{} ${psql()} -X -q -v ON_ERROR_STOP=1 -f ${directory('psql')}/step.sql {}`,
    file: (number, sql) => [
      'step.sql',
      `BEGIN; SELECT pg_advisory_xact_lock(42); ${sql};
       CREATE TABLE IF NOT EXISTS psql_migrations (name text PRIMARY KEY);
       INSERT INTO psql_migrations VALUES ('${number}'); COMMIT;\n`,
    ],
  },
]

const contenders = all.filter(({ name }) => name === 'tenantctl' || (chosen?.includes(name) ?? true))

function write({ name, file }: Contender, number: number): void {
  const [path, content] = file(number, `ALTER TABLE notes ADD COLUMN ${name}_${number} int`)
  mkdirSync(dirname(join(directory(name), path)), { recursive: true })
  writeFileSync(join(directory(name), path), content)
}

function run(command: string, urls: readonly string[]): void {
  const ours = { TENANTCTL_REGISTRY_URL: registry, TENANTCTL_ENCRYPTION_KEY: key }
  // The knex CLI looks for knex beside its knexfile.
  const env = { ...process.env, ...ours, NODE_PATH: place('../node_modules') }
  const input = `${urls.join('\n')}\n`
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: folder, env, input, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command}: exit ${status}\n${stdout}${stderr}`)
}

/** A database a line, by tenant. */
async function makeFleet(): Promise<string[]> {
  mkdirSync(directory('tenantctl'))
  writeFileSync(join(directory('tenantctl'), '000000_notes.sql'), 'CREATE TABLE notes (id int PRIMARY KEY);\n')
  const options = { migrations: { directory: directory('tenantctl') }, seeds: { directory: folder } }
  const tenancy = createTenancy({ registry: { url: registry }, encryption: { keys: [key] }, ...options })
  const inputs = Array.from({ length: count }, (_, index) => ({ name: `tenant ${index}` }))
  const { failures = [], tenants } = await tenancy.tenants.createMany(inputs)
  if (failures.length > 0) throw new Error(JSON.stringify(failures))
  const urls = []
  for (const { tenant } of tenants) urls.push((await tenancy.tenants.url(tenant)).reveal())
  await tenancy.close()
  // graphile-migrate wants a schema of its own.
  const admin = new pg.Client({ connectionString: server.superUrl })
  await admin.connect()
  for (const url of urls) {
    const { username, pathname } = new URL(url)
    await admin.query(`GRANT CREATE ON DATABASE ${pathname.slice(1)} TO ${username}`)
  }
  await admin.end()
  return urls
}

async function check(url: string, { name }: Contender): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query(
    `SELECT count(*)::int AS columns FROM information_schema.columns WHERE table_name = 'notes' AND column_name LIKE $1`,
    [`${name.replaceAll('_', '\\_')}\\__`],
  )
  await client.end()
  if (rows[0].columns !== rounds + 1) throw new Error(`${name} made ${rows[0].columns} columns in ${url}`)
}

try {
  // Not `npm ci`: the lock file holds dbmate's program for the platform it was written on alone.
  if (!existsSync(place('node_modules')))
    run(`npm install --no-save --prefix '${place('.')}' --no-progress --loglevel=error`, [])
  const urls = await makeFleet()
  const databasesOf = ({ only }: Contender) => urls.slice(0, only)
  writeFileSync(
    join(folder, 'knexfile.cjs'),
    `module.exports = { client: 'pg', connection: process.env.DATABASE_URL,
       migrations: { directory: '${directory('knex_cli')}', tableName: 'knex_cli' } }\n`,
  )
  for (const contender of contenders) {
    write(contender, 1)
    run(contender.prepare ?? contender.command, databasesOf(contender))
  }
  const times = await inTurn(
    rounds,
    Object.fromEntries(
      contenders.map(contender => [
        contender.what,
        async (round: number) => {
          write(contender, round + 2)
          const databases = databasesOf(contender)
          return (await timed(() => run(contender.command, databases))) / databases.length
        },
      ]),
    ),
  )
  for (const contender of contenders) for (const url of databasesOf(contender)) await check(url, contender)

  for (const { what, only, target } of contenders) {
    const values = times[what] as number[]
    const note = `${only ?? count} databases, ${Math.round(60_000 / median(values))}/min`
    const compared = {
      against: ours,
      ratio: ratioOf(values, times[ours] as number[]),
      target: target ?? { atLeast: 1 },
    }
    report({ what, value: median(values), unit: 'ms each', note, ...(what === ours ? {} : compared) })
  }
} finally {
  await server.remove()
  rmSync(folder, { recursive: true, force: true })
}
