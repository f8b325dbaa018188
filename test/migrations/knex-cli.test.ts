import { symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { runBin } from '../support/process.ts'

const namespace = useNamespace()
const knexFolder = dirname(createRequire(import.meta.url).resolve('knex/package.json'))
let tenancy: Tenancy
let url: string

/** knex's own command line on the tenant's database and the very same folder. */
async function knexCli(...args: string[]): Promise<string> {
  const connection = JSON.stringify(url)
  const directory = JSON.stringify(namespace.migrationsDirectory)
  const knexfile = namespace.writeFile(
    'knexfile.cjs',
    `module.exports = { client: 'pg', connection: ${connection}, migrations: { directory: ${directory} } }`,
  )
  const { exitCode, all } = await runBin([...args, '--knexfile', knexfile], {
    file: join(knexFolder, 'bin/cli.js'),
    cwd: namespace.directory,
  })
  expect({ exitCode, all }).toEqual({ exitCode: 0, all })
  return all
}

const table = (name: string) => `
  exports.up = knex => knex.schema.createTable('${name}', t => { t.increments() })
  exports.down = knex => knex.schema.dropTable('${name}')`

const history = () => sql<{ name: string; batch: number }>(url, 'SELECT name, batch FROM knex_migrations ORDER BY id')
const tables = async () => {
  const rows = await sql<{ name: string }>(
    url,
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname ~ '^[a-z]$' ORDER BY 1`,
  )
  return rows.map(row => row.name).join('')
}

/** The folder is read anew, as by another run of the command. */
async function tenantctl<T>(work: (tenancy: Tenancy) => Promise<T>): Promise<T> {
  const fresh = createTenancy(namespace.config())
  try {
    return await work(fresh)
  } finally {
    await fresh.close()
  }
}

beforeAll(async () => {
  // knex looks for itself beside the knexfile.
  symlinkSync(dirname(knexFolder), join(namespace.directory, 'node_modules'))
  namespace.writeMigrations({ '001_a.js': table('a') })
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.tenants.create({ name: 'Acme' })
  url = (await tenancy.tenants.url('acme')).reveal()
})

test('the knex CLI and tenantctl take turns on one database', async () => {
  expect(await knexCli('migrate:latest')).toContain('Already up to date')

  namespace.writeFile('migrations/002_b.js', table('b'))
  expect(await knexCli('migrate:latest')).toContain('1 migrations')
  const status = await tenantctl(each => each.migrations.status({ all: true }))
  expect(status.tenants[0]).toMatchObject({ status: 'up_to_date', applied: ['001_a', '002_b'], pending: [] })
  expect(await tenantctl(each => each.migrations.run({ all: true }))).toMatchObject({ upToDate: 1, failed: 0 })
  expect(await tenancy.tenants.get('acme')).toMatchObject({ schemaVersion: '002_b' })

  namespace.writeFile('migrations/003_c.js', table('c'))
  namespace.writeFile('migrations/004_d.js', table('d'))
  expect((await tenantctl(each => each.migrations.run({ all: true }))).tenants[0]).toMatchObject({
    ...{ status: 'migrated', from: '002_b', to: '004_d', applied: ['003_c', '004_d'] },
  })
  expect(await knexCli('migrate:latest')).toContain('Already up to date')
  expect(await knexCli('migrate:list')).toMatch(/Found 4 Completed Migration[\s\S]*No Pending/)
  expect(await history()).toEqual([
    { name: '001_a.js', batch: 1 },
    { name: '002_b.js', batch: 2 },
    { name: '003_c.js', batch: 3 },
    { name: '004_d.js', batch: 3 },
  ])

  // knex takes back the batch of tenantctl, and tenantctl what knex has run.
  expect(await knexCli('migrate:rollback')).toContain('2 migrations')
  expect(await tables()).toBe('ab')
  expect(await tenantctl(each => each.migrations.rollback({ all: true }, { steps: 1 }))).toMatchObject({ succeeded: 1 })
  expect(await tables()).toBe('a')
  expect(await knexCli('migrate:up')).toContain('002_b.js')
  expect((await tenantctl(each => each.migrations.run({ all: true }, { verify: true }))).tenants[0]).toMatchObject({
    ...{ from: '002_b', to: '004_d' },
  })
  expect(await knexCli('migrate:down')).toContain('004_d.js')
  expect(await tables()).toBe('abc')
})

test('the lock of the knex CLI is respected, and what unlocks it is said', async () => {
  namespace.writeFile('migrations/005_e.js', table('e'))
  await sql(url, 'UPDATE knex_migrations_lock SET is_locked = 1')
  const waiting = tenantctl(each => each.migrations.run({ all: true }, { verify: true }))
  await new Promise(resolve => setTimeout(resolve, 700))
  await knexCli('migrate:unlock')
  expect((await waiting).tenants[0]).toMatchObject({ status: 'migrated', to: '005_e' })
})
