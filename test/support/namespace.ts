/** A corner of the server for one test file: its own admin, registry, names and folders, gone afterwards. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, inject } from 'vitest'
import type { TenancyConfig } from '../../src/config/config.ts'
import { type Row, sql, urlWith } from './client.ts'

export interface Namespace {
  /** Begins the name of every database and role that the file makes; matches `t[0-9a-f]{7}`. */
  prefix: string
  /** What `naming.prefix` is set to, so `acme` becomes the database `${tenantPrefix}acme`. */
  tenantPrefix: string
  /** The namespace's admin, on the maintenance database `postgres`. */
  adminUrl: string
  /** The server's superuser, on the maintenance database. */
  superUrl: string
  /** The namespace's admin, on a registry database which the library makes on first use. */
  registryUrl: string
  /** Major version of the server. */
  major: number
  encryptionKey: string
  /** A folder of its own; the ones of migrations and seeds lie in it. */
  directory: string
  migrationsDirectory: string
  seedsDirectory: string
  /** For createTenancy(). */
  config(overrides?: TenancyConfig): TenancyConfig
  /** Writes the same as `tenantctl.config.json` into `directory`, for `runBin(args, { cwd: directory })`. */
  writeConfig(overrides?: TenancyConfig): string
  /** Replaces the folder of tenant migrations. */
  writeMigrations(files: Record<string, string>): void
  /** Replaces the folder of seeds. */
  writeSeeds(files: Record<string, string>): void
  /** Writes one file below `directory` and gives back its path. */
  writeFile(name: string, content: string): string
  /** Closes it when the file's tests are over: `tenancy = namespace.track(createTenancy(namespace.config()))`. */
  track<T extends { close(): Promise<void> }>(tenancy: T): T
  /** A query as the admin, on the maintenance database or another one. */
  sql<R extends object = Row>(text: string, values?: unknown[], database?: string): Promise<R[]>
  /** A query as the superuser. */
  superSql<R extends object = Row>(text: string, values?: unknown[], database?: string): Promise<R[]>
  /** Names of the tenants' databases and roles that the server has, sorted. */
  leftovers(): Promise<{ databases: string[]; roles: string[] }>
  /** Sessions of this namespace that are open now. */
  sessions(): Promise<Session[]>
}

export interface Session {
  database: string | null
  user: string
  application: string
  state: string | null
  query: string
}

export interface NamespaceOptions {
  /** Rights of the namespace's admin. Default `plain`: LOGIN CREATEDB CREATEROLE, as managed services have it. */
  admin?: 'plain' | 'superuser'
  /** Another server than the run's, started in a `beforeAll` that stands before this call. */
  server?: () => { superUrl: string; major: number }
  /** For tests that leave sessions open on purpose. */
  allowSessions?: boolean
}

/**
 * Call it once, at the top level of a test file or of a describe; its URLs work from `beforeAll` on.
 * At the end it closes what was tracked, fails when sessions are still open, and drops everything.
 */
export function useNamespace(options: NamespaceOptions = {}): Namespace {
  const run = inject('server')
  const prefix = `t${randomBytes(4).toString('hex').slice(0, 7)}`
  const admin = { user: `${prefix}_admin`, password: randomBytes(12).toString('hex') }
  const superUrl = () => (options.server?.() ?? run).superUrl
  const directory = mkdtempSync(join(tmpdir(), `${prefix}-`))
  const encryptionKey = randomBytes(32).toString('base64')
  const tracked: { close(): Promise<void> }[] = []
  let failed = false

  const namespace: Namespace = {
    prefix,
    tenantPrefix: `${prefix}_t_`,
    get superUrl() {
      return superUrl()
    },
    get adminUrl() {
      return urlWith(superUrl(), admin)
    },
    get registryUrl() {
      return urlWith(superUrl(), { ...admin, database: `${prefix}_registry` })
    },
    get major() {
      return (options.server?.() ?? run).major
    },
    encryptionKey,
    directory,
    migrationsDirectory: join(directory, 'migrations'),
    seedsDirectory: join(directory, 'seeds'),
    config: overrides => ({
      registry: { url: namespace.registryUrl },
      encryption: { keys: [encryptionKey] },
      migrations: { directory: namespace.migrationsDirectory },
      seeds: { directory: namespace.seedsDirectory },
      naming: { prefix: namespace.tenantPrefix },
      // Each file has migrations of its own: a template would be built for one tenant or two.
      template: false,
      ...overrides,
    }),
    writeConfig: overrides =>
      namespace.writeFile('tenantctl.config.json', JSON.stringify(namespace.config(overrides), null, 2)),
    writeMigrations: files => replaceFolder(namespace.migrationsDirectory, files),
    writeSeeds: files => replaceFolder(namespace.seedsDirectory, files),
    writeFile(name, content) {
      const file = join(directory, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content, { mode: 0o600 })
      return file
    },
    track(tenancy) {
      tracked.push(tenancy)
      return tenancy
    },
    sql: (text, values, database) =>
      sql(database === undefined ? namespace.adminUrl : urlWith(namespace.adminUrl, { database }), text, values),
    superSql: (text, values, database) =>
      sql(database === undefined ? superUrl() : urlWith(superUrl(), { database }), text, values),
    async leftovers() {
      const { databases, roles } = await owned(superUrl(), prefix)
      const own = (name: string) => name !== admin.user && name !== `${prefix}_registry`
      return { databases: databases.filter(own), roles: roles.filter(own) }
    },
    sessions: () => openSessions(superUrl(), prefix),
  }
  mkdirSync(namespace.migrationsDirectory)
  mkdirSync(namespace.seedsDirectory)

  beforeAll(async () => {
    const rights = options.admin === 'superuser' ? 'SUPERUSER' : 'CREATEDB CREATEROLE'
    await sql(superUrl(), `CREATE ROLE ${admin.user} LOGIN ${rights} PASSWORD '${admin.password}'`)
  })

  beforeEach(context => {
    context.onTestFailed(() => {
      failed = true
    })
  })

  afterAll(async () => {
    const closed = await Promise.allSettled(tracked.map(tenancy => tenancy.close()))
    const open = options.allowSessions ? [] : await sessionsThatStay(superUrl(), prefix)
    if (failed && run.keep) {
      console.info(`kept for a look: ${namespace.registryUrl} and the databases ${prefix}_*, files in ${directory}`)
    } else {
      await dropAll(superUrl(), prefix)
      rmSync(directory, { recursive: true, force: true })
    }
    const errors = closed.flatMap(result => (result.status === 'rejected' ? [result.reason as unknown] : []))
    if (errors.length > 0) throw new AggregateError(errors, 'close() failed')
    if (open.length > 0) throw new Error(`sessions left open:\n${open.map(it => JSON.stringify(it)).join('\n')}`)
  })

  return namespace
}

function replaceFolder(folder: string, files: Record<string, string>): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
}

/** Databases and roles by the prefix of their names, or made by the namespace's admin. */
async function owned(url: string, prefix: string): Promise<{ databases: string[]; roles: string[] }> {
  const [row] = await sql<{ databases: string[]; roles: string[] }>(
    url,
    `WITH admin AS (SELECT oid FROM pg_roles WHERE rolname = $1 || '_admin')
     SELECT array(SELECT datname::text FROM pg_database
                  WHERE starts_with(datname::text, $1) OR datdba IN (SELECT oid FROM admin)
                  ORDER BY datname) AS databases,
            array(SELECT rolname::text FROM pg_roles
                  WHERE starts_with(rolname::text, $1)
                     OR oid >= 16384 AND oid IN (SELECT roleid FROM pg_auth_members WHERE member IN (SELECT oid FROM admin))
                  ORDER BY rolname) AS roles`,
    [prefix],
  )
  return row ?? { databases: [], roles: [] }
}

function openSessions(url: string, prefix: string): Promise<Session[]> {
  return sql<Session>(
    url,
    `SELECT datname AS database, usename AS "user", application_name AS application, state, left(query, 200) AS query
     FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
       AND (starts_with(datname::text, $1) OR starts_with(usename::text, $1))`,
    [prefix],
  )
}

/** A server ends a session a moment after the client has closed it. */
async function sessionsThatStay(url: string, prefix: string): Promise<Session[]> {
  for (const until = Date.now() + 3_000; ; await sleep(20)) {
    const open = await openSessions(url, prefix)
    if (open.length === 0 || Date.now() > until) return open
  }
}

async function dropAll(url: string, prefix: string): Promise<void> {
  const { databases, roles } = await owned(url, prefix)
  for (const database of databases) {
    await sql(url, `ALTER DATABASE ${quote(database)} IS_TEMPLATE false`)
    await sql(url, `DROP DATABASE IF EXISTS ${quote(database)} WITH (FORCE)`)
  }
  // The admin last: it granted what the others have.
  for (const role of roles.sort((a, b) => Number(a.endsWith('_admin')) - Number(b.endsWith('_admin')))) {
    await sql(url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, [role])
    await sql(url, `DROP OWNED BY ${quote(role)}`)
    await sql(url, `DROP ROLE ${quote(role)}`)
  }
}

function quote(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`
}
