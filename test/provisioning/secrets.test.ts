import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createTenancy, generateEncryptionKey, type Tenancy } from '../../src/index.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { live } from '../faults/life.ts'
import { useNamespace } from '../support/namespace.ts'
import { startServer, type TestServer } from '../support/servers.ts'

describe('a server that logs everything', () => {
  let server: TestServer
  beforeAll(async () => {
    const settings = {
      log_statement: 'all',
      log_min_duration_statement: 0,
      log_parameter_max_length: -1,
      log_min_messages: 'info',
      shared_preload_libraries: 'pg_stat_statements,auto_explain',
      'pg_stat_statements.track': 'all',
      'auto_explain.log_min_duration': 0,
      'auto_explain.log_nested_statements': 'on',
    }
    server = await startServer({ settings })
  })
  afterAll(() => server.remove())
  const logged = useNamespace({ server: () => server })
  const loggedAsSuper = useNamespace({ server: () => server, admin: 'superuser' })

  test('never sees a password or a key', async () => {
    for (const namespace of [logged, loggedAsSuper]) {
      namespace.writeMigrations({ '001_a.sql': 'CREATE TABLE a ()' })
      const events: unknown[] = []
      const tenancy = namespace.track(createTenancy(namespace.config({ onEvent: event => void events.push(event) })))
      await tenancy.tenants.create({ name: 'Acme' })
      await tenancy.migrations.run({ all: true }, { verify: true })
      const { password } = await tenancy.tenants.connectionInfo('acme')
      const described = await tenancy.tenants.describe('acme')
      const registry = await namespace.superSql(
        'SELECT t::text FROM tenantctl.tenants t UNION ALL SELECT o::text FROM tenantctl.operations o UNION ALL SELECT s::text FROM tenantctl.operation_steps s',
        [],
        `${namespace.prefix}_registry`,
      )
      await tenancy.tenants.drop({ all: true })
      const log = await server.log()
      expect(log).toContain(`CREATE DATABASE`)
      const verifiers = log.match(/SCRAM-SHA-256\$/g) ?? []
      for (const secret of [password.reveal(), namespace.encryptionKey]) {
        expect(log.includes(secret)).toBe(false)
        expect(JSON.stringify([events, described, registry, password]).includes(secret)).toBe(false)
      }
      // A superuser may keep the verifier out of the log as well.
      if (namespace === loggedAsSuper) expect(verifiers).toHaveLength(1)
    }
  })

  test('nor do errors tell one, whichever statement fails', async () => {
    // The admin's own password was set by this test's namespace, in clear.
    await logged.superSql('CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()')
    const logBefore = (await server.log()).length
    const revealed = new Set<string>([logged.encryptionKey, new URL(logged.adminUrl).password])
    const { reveal } = Secret.prototype
    const watching = vi.spyOn(Secret.prototype, 'reveal').mockImplementation(function (this: Secret) {
      const text = reveal.call(this)
      // The server gets verifiers, and a plain admin cannot keep them out of its log.
      if (!text.includes('SCRAM-SHA-256$')) revealed.add(text)
      return text
    })
    const told: unknown[] = []
    /** Runs it with every seventh statement failing, in turn, until all go through; returns how often it failed. */
    async function failing(work: (tenancy: Tenancy, at: number) => Promise<unknown>): Promise<number> {
      for (let at = 1; ; at += 7) {
        const tenancy = logged.track(createTenancy(logged.config({ onEvent: event => void told.push(event) })))
        const moment = at % 2 === 0 ? 'cut' : 'lost'
        const ending = await live({ at, moment }, async () => await work(tenancy, at))
        told.push(ending)
        await tenancy.close()
        if (ending.statement === undefined) return at
      }
    }
    const count = await failing((tenancy, at) => tenancy.tenants.create({ name: `failing${at}` }))
    expect(count).toBeGreaterThan(20)
    await failing(tenancy => tenancy.tenants.rotatePassword({ tenants: [`failing${count}`] }))
    await failing((tenancy, at) => tenancy.tenants.drop({ tenants: [`failing${at}`] }, { ifExists: true }))
    const tenancy = logged.track(createTenancy(logged.config()))
    told.push(await tenancy.operations.list({ limit: 1000 }))
    await tenancy.close()
    watching.mockRestore()
    expect(told.some(each => inspect(each).includes("kind: 'threw'"))).toBe(true)
    const places = {
      told: inspect(told, { depth: 20, showHidden: true }) + JSON.stringify(told),
      log: (await server.log()).slice(logBefore),
      statements: JSON.stringify(await logged.superSql('SELECT query FROM pg_stat_statements')),
      registry: JSON.stringify(
        await logged.superSql(
          'SELECT t::text FROM tenantctl.tenants t UNION ALL SELECT o::text FROM tenantctl.operations o UNION ALL SELECT s::text FROM tenantctl.operation_steps s',
          [],
          `${logged.prefix}_registry`,
        ),
      ),
    }
    expect(places.log).toContain('Query Text')
    expect(places.statements).toContain('CREATE DATABASE')
    const secrets = [...revealed].filter(each => each.length > 7)
    expect(secrets.length).toBeGreaterThan(5)
    const found = Object.entries(places).flatMap(([place, text]) =>
      secrets.filter(secret => text.includes(secret)).map(secret => [place, secret]),
    )
    expect(found).toEqual([])
  })
})

describe('sealed passwords', () => {
  const namespace = useNamespace()
  const config = namespace.config.bind(namespace)
  const registry = (text: string, values: unknown[] = []) =>
    namespace.superSql(text, values, `${namespace.prefix}_registry`)

  test('no key: nothing is made, and what to do is said', async () => {
    const tenancy = namespace.track(createTenancy(config({ encryption: {} })))
    await expect(tenancy.tenants.create({ name: 'Acme' })).rejects.toMatchObject({
      code: 'ENCRYPTION_KEY_MISSING',
      hint: expect.stringContaining('tenantctl key generate'),
    })
    expect(await tenancy.tenants.list()).toEqual([])
    expect(await namespace.leftovers()).toEqual({ databases: [], roles: [] })
  })

  test('moved to another row they are refused', async () => {
    const tenancy = namespace.track(createTenancy(config()))
    await tenancy.tenants.create({ name: 'Acme' })
    await tenancy.tenants.create({ name: 'Globex' })
    const [stored] = await registry("SELECT db_password FROM tenantctl.tenants WHERE slug = 'globex'")
    await registry(
      `UPDATE tenantctl.tenants SET db_password = (SELECT db_password FROM tenantctl.tenants WHERE slug = 'acme') WHERE slug = 'globex'`,
    )
    await expect(tenancy.tenants.url('globex')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED', tenant: 'globex' })
    const result = await tenancy.migrations.run({ all: true }, { verify: true })
    expect(result).toMatchObject({ failed: 1, upToDate: 1 })
    expect(result.tenants[1]).toMatchObject({ tenant: 'globex', error: { code: 'DECRYPTION_FAILED' } })
    await registry("UPDATE tenantctl.tenants SET db_password = $1 WHERE slug = 'globex'", [stored?.db_password])
    expect((await tenancy.tenants.url('globex')).reveal()).toContain(namespace.tenantPrefix)
  })

  test('another key is refused, a ring with the old key behind the new one opens them', async () => {
    const other = namespace.track(createTenancy(config({ encryption: { keys: [generateEncryptionKey()] } })))
    await expect(other.tenants.url('acme')).rejects.toMatchObject({ code: 'DECRYPTION_FAILED' })
    const ring = namespace.track(
      createTenancy(config({ encryption: { keys: [generateEncryptionKey(), namespace.encryptionKey] } })),
    )
    expect((await ring.tenants.url('acme')).reveal()).toContain(namespace.tenantPrefix)
    expect(await other.tenants.list()).toHaveLength(2)
    expect(await other.tenants.drop({ all: true })).toMatchObject({ succeeded: 2 })
  })

  test('a clear-text password cannot be stored', async () => {
    const insert = registry(
      `INSERT INTO tenantctl.tenants (uuid, slug, name, server_id, db_name, db_username, db_password)
       SELECT gen_random_uuid(), 'a', 'a', id, 'a', 'a', 'hunter2' FROM tenantctl.servers`,
    )
    await expect(insert).rejects.toMatchObject({ code: '23514' })
  })
})
