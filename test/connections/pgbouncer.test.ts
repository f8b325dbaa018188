import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy } from '../../src/index.ts'
import { tryLogin, urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

/** Of Debian's package `pgbouncer`; undefined when it is not installed. */
const version = (() => {
  for (const file of ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer']) {
    try {
      return { file, text: execFileSync(file, ['--version'], { encoding: 'utf8' }) }
    } catch {
      // Not there.
    }
  }
  console.warn('PgBouncer is not installed, so nothing is tested behind it: apt-get install pgbouncer')
  return undefined
})()

const namespace = useNamespace()
const slugs = ['acme', 'globex', 'initech']
const stops: (() => Promise<void>)[] = []
afterAll(async () => {
  for (const stop of stops) await stop()
})

let tenancy: Tenancy
beforeAll(async () => {
  namespace.writeMigrations({ '001.sql': 'CREATE TABLE marks (tenant text NOT NULL);' })
  tenancy = namespace.track(createTenancy(namespace.config({ connections: { perTenant: 3 } })))
  await tenancy.tenants.createMany(slugs.map(slug => ({ name: slug, slug })))
}, 120_000)

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

/** PgBouncer refuses to run as root, as PostgreSQL does. */
function account(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  return { uid: 65_534, gid: 65_534 }
}

/** Starts it, and waits until it listens. */
async function startPgBouncer(ini: string, userlist: string, port: number): Promise<void> {
  const file = namespace.writeFile(`pgbouncer-${port}/pgbouncer.ini`, '')
  const directory = join(file, '..')
  const list = join(directory, 'userlist.txt')
  writeFileSync(list, userlist)
  writeFileSync(
    file,
    `${ini.replace('/etc/pgbouncer/userlist.txt', list)}unix_socket_dir =\nlogfile = ${directory}/log\n`,
  )
  const run = account()
  chmodSync(namespace.directory, 0o755)
  if (run) for (const path of [directory, file, list]) chownSync(path, run.uid, run.gid)
  const child = spawn(version?.file as string, ['-q', file], { ...run, stdio: 'ignore' })
  const ended = new Promise<void>(resolve => child.on('exit', () => resolve()))
  stops.push(async () => {
    child.kill('SIGINT')
    await Promise.race([ended, sleep(2_000)])
    child.kill('SIGKILL')
    await ended
  })
  const url = urlWith(namespace.superUrl, { user: 'nobody', password: 'x' }).replace(/:\d+\//, `:${port}/`)
  for (const end = Date.now() + 5_000; ; await sleep(20)) {
    const login = await tryLogin(url)
    if (!login.ok && login.code !== 'ECONNREFUSED') return
    if (Date.now() > end) throw new Error(`PgBouncer does not listen: ${readFileSync(`${directory}/log`, 'utf8')}`)
  }
}

describe.runIf(version)('behind PgBouncer in transaction mode', () => {
  let port: number
  let pooled: Tenancy
  beforeAll(async () => {
    port = await freePort()
    const { ini, userlist } = await tenancy.pgbouncer({ listen: { host: '127.0.0.1', port }, userlist: true })
    await startPgBouncer(ini, userlist?.reveal() as string, port)
    const via = { host: '127.0.0.1', port, sslmode: 'disable' } as const
    pooled = namespace.track(createTenancy(namespace.config({ connections: { via, max: 6, perTenant: 3 } })))
  }, 60_000)

  test('tenants get their own databases', async () => {
    for (const slug of slugs) {
      const name = `${namespace.tenantPrefix}${slug}`
      const { rows } = await (await pooled.connections.get(slug)).raw(
        'SELECT current_database() AS database, current_user AS role, inet_server_port() AS port',
      )
      expect(rows).toEqual([{ database: name, role: name, port: Number(new URL(namespace.superUrl).port) }])
    }
  })

  test('connections are the pooler’s, and are shared by transactions', async () => {
    const db = await pooled.connections.get('acme')
    const clients = await Promise.all(
      Array.from({ length: 30 }, () =>
        db.transaction(async trx => (await trx.raw('SELECT pg_backend_pid() AS pid')).rows[0].pid),
      ),
    )
    expect(new Set(clients).size).toBeLessThanOrEqual(3)
    const sessions = await namespace.superSql<{ address: string }>(
      'SELECT application_name AS address FROM pg_stat_activity WHERE datname = $1',
      [`${namespace.tenantPrefix}acme`],
    )
    expect(sessions.length).toBeLessThanOrEqual(3)
  })

  test('queries, transactions and streams of many tenants do not mix', async () => {
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const slug = slugs[index % 3] as string
        await pooled.run(slug, ({ connection }) =>
          connection.transaction(async trx => {
            await trx('marks').insert({ tenant: slug })
            expect(new Set(await trx('marks').pluck('tenant'))).toEqual(new Set([slug]))
          }),
        )
      }),
    )
    expect(pooled.connections.stats()).toMatchObject({ waiting: 0, timeouts: 0 })
  })

  test('a role that another client has set does not make the identity wrong', async () => {
    const name = `${namespace.tenantPrefix}globex`
    await namespace.superSql(`CREATE ROLE "${name}_other" NOLOGIN; GRANT "${name}_other" TO "${name}"`)
    const db = await pooled.connections.get('globex')
    await db.raw(`SET ROLE "${name}_other"`)
    const other = namespace.track(
      createTenancy(namespace.config({ connections: { via: { host: '127.0.0.1', port, sslmode: 'disable' } } })),
    )
    await (await other.connections.get('globex')).raw('SELECT 1')
    await db.raw('RESET ROLE')
    await namespace.superSql(`DROP ROLE "${name}_other"`)
  })

  test('a query that takes too long is cancelled through the pooler', async () => {
    const db = await pooled.connections.get('acme')
    await expect(db.raw('SELECT pg_sleep(21)').timeout(150, { cancel: true })).rejects.toThrow('timeout of 150ms')
    for (const end = Date.now() + 3_000; ; await sleep(20)) {
      const [row] = await namespace.superSql<{ count: number }>(
        "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%pg_sleep(21)%' AND state = 'active' AND pid <> pg_backend_pid()",
      )
      if (row?.count === 0) break
      if (Date.now() > end) throw new Error('it still runs')
    }
  })

  test('migrations go to the server itself', async () => {
    namespace.writeMigrations({
      '001.sql': 'CREATE TABLE marks (tenant text NOT NULL);',
      '002.sql': 'ALTER TABLE marks ADD COLUMN number int;',
    })
    const result = await createAndRun()
    expect(result).toMatchObject({ succeeded: 3, failed: 0 })
  })

  async function createAndRun() {
    const via = { host: '127.0.0.1', port: 1, sslmode: 'disable' } as const
    const broken = namespace.track(createTenancy(namespace.config({ connections: { via } })))
    const result = await broken.migrations.run({ all: true })
    await expect((await broken.connections.get('acme')).raw('SELECT 1')).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
      tenant: 'acme',
    })
    return result
  }

  test('a pooler that leads to another database is found out', async () => {
    const wrong = await freePort()
    const { ini, userlist } = await tenancy.pgbouncer({ listen: { host: '127.0.0.1', port: wrong }, userlist: true })
    const [acme, globex] = ['acme', 'globex'].map(slug => `${namespace.tenantPrefix}${slug}`)
    await namespace.superSql(`GRANT CONNECT ON DATABASE "${globex}" TO "${acme}"`)
    await startPgBouncer(ini.replace(`dbname=${acme}`, `dbname=${globex}`), userlist?.reveal() as string, wrong)
    const via = { host: '127.0.0.1', port: wrong, sslmode: 'disable' } as const
    const misled = namespace.track(createTenancy(namespace.config({ connections: { via } })))
    await expect((await misled.connections.get('acme')).raw('SELECT 1')).rejects.toMatchObject({
      code: 'TENANT_MISMATCH',
    })
    await namespace.superSql(`REVOKE CONNECT ON DATABASE "${globex}" FROM "${acme}"`)
  })
})

describe('auth_query', () => {
  test('gives the verifiers of tenants’ logins, and of nobody else', async () => {
    const { sql, ini, sqlDatabase } = await tenancy.pgbouncer({ authQuery: true })
    expect(ini).toContain('auth_query = SELECT usename, passwd FROM pgbouncer.get_auth($1)')
    expect(ini).toMatch(/^\* = host=/m)
    expect(ini).not.toContain(`${namespace.tenantPrefix}acme`)
    expect(sqlDatabase).toBe(`${namespace.prefix}_registry`)
    // The role is the server's; other test files may make it as well.
    const role = `${namespace.prefix}_pgbouncer`
    const own = (sql as string).replaceAll('"pgbouncer"', `"${role}"`)
    await namespace.superSql(own, undefined, sqlDatabase as string)
    const ask = (name: string) =>
      namespace.superSql<{ passwd: string }>(`SELECT passwd FROM "${role}".get_auth($1)`, [name], sqlDatabase as string)
    expect((await ask(`${namespace.tenantPrefix}acme`))[0]?.passwd).toMatch(/^SCRAM-SHA-256\$/)
    expect(await ask(`${namespace.prefix}_admin`)).toEqual([])
    expect(await ask(decodeURIComponent(new URL(namespace.superUrl).username))).toEqual([])
    const tenantUrl = (await tenancy.tenants.url('acme')).reveal()
    expect(await tryLogin(urlWith(tenantUrl, { database: sqlDatabase as string }))).toMatchObject({ ok: false })
  })
})

test('names that need it are quoted', async () => {
  const { pgbouncerIni } = await import('../../src/postgres/pgbouncer.ts')
  const { parseAddress } = await import('../../src/postgres/address.ts')
  const { Secret } = await import('../../src/secrets/secret.ts')
  const ini = pgbouncerIni({
    server: 'default',
    address: parseAddress(new Secret('postgresql://admin@db.example:5433/postgres?sslmode=require')),
    databases: ['tenant_acme', 'O"Neill\'s'],
    marker: 'tenantctl x',
    poolSize: 5,
    listen: { host: '0.0.0.0', port: 6432 },
    authQuery: false,
  })
  expect(ini).toContain('\ntenant_acme = host=db.example port=5433 dbname=tenant_acme\n')
  expect(ini).toContain(`\n"O""Neill's" = host=db.example port=5433 dbname='O"Neill''s'\n`)
  expect(ini).toContain('\nserver_tls_sslmode = require\n')
})
