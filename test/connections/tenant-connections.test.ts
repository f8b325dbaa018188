import { setTimeout as sleep } from 'node:timers/promises'
import type { Knex } from 'knex'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createTenancy, type Tenancy, type TenancyConfig, type TenancyEvent } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const tenants = ['acme', 'globex', 'initech', 'hooli']

let admin: Tenancy
beforeAll(async () => {
  namespace.writeMigrations({ '001_notes.sql': 'CREATE TABLE notes (id serial PRIMARY KEY, text text NOT NULL);' })
  admin = namespace.track(createTenancy(namespace.config()))
  await admin.tenants.createMany(tenants.map(slug => ({ name: slug, slug })))
}, 120_000)

const opened: Tenancy[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map(tenancy => tenancy.close()))
})

function open(connections: TenancyConfig['connections'] = {}, onEvent?: (event: TenancyEvent) => void): Tenancy {
  const tenancy = createTenancy(namespace.config({ connections, ...(onEvent ? { onEvent } : {}) }))
  opened.push(tenancy)
  return tenancy
}

async function sessionsOf(slugs = tenants): Promise<number> {
  const [row] = await namespace.superSql<{ count: number }>(
    'SELECT count(*)::int FROM pg_stat_activity WHERE datname = ANY($1)',
    [slugs.map(slug => `${namespace.tenantPrefix}${slug}`)],
  )
  return row?.count ?? 0
}

async function until(what: () => boolean | Promise<boolean>, withinMs = 3_000): Promise<void> {
  for (const end = Date.now() + withinMs; !(await what()); await sleep(10)) {
    if (Date.now() > end) throw new Error('it did not come to pass in time')
  }
}

/** As another process would: the registry is changed, and ours hears of it. */
function setInRegistry(slug: string, change: string): Promise<unknown> {
  return namespace.superSql(
    `UPDATE tenantctl.tenants SET ${change} WHERE slug = $1`,
    [slug],
    `${namespace.prefix}_registry`,
  )
}

describe('get', () => {
  test('gives a knex on the database of the tenant, logged in as its role', async () => {
    const db = await open().connections.get('acme')
    const { rows } = await db.raw('SELECT current_database() AS database, current_user AS role')
    const name = `${namespace.tenantPrefix}acme`
    expect(rows).toEqual([{ database: name, role: name }])
    await db('notes').insert({ text: 'builders work' })
    expect(await db('notes').where({ text: 'builders work' }).first()).toMatchObject({ text: 'builders work' })
  })

  test('opens nothing before the first query, and then one for all', async () => {
    const tenancy = open()
    const handles = await Promise.all(Array.from({ length: 50 }, () => tenancy.connections.get('acme')))
    expect(new Set(handles).size).toBe(1)
    expect(tenancy.connections.stats()).toMatchObject({ pools: 0, connections: 0, misses: 1, known: 1 })
    await handles[0]?.raw('SELECT 1')
    expect(tenancy.connections.stats()).toMatchObject({ pools: 1, connections: 1, idle: 1 })
    const { id } = await admin.tenants.get('acme')
    expect(await tenancy.connections.get(id)).toBe(handles[0])
  })

  test('tells the ways apart in which a tenant cannot be used', async () => {
    const tenancy = open()
    await expect(tenancy.connections.get('nobody')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    await tenancy.connections.get('hooli')
    for (const [status, code] of [
      ['provisioning', 'TENANT_NOT_READY'],
      ['suspended', 'TENANT_SUSPENDED'],
      ['dropping', 'TENANT_DROPPING'],
      ['failed', 'TENANT_FAILED'],
    ]) {
      await setInRegistry('hooli', `status = '${status}'`)
      await until(() =>
        tenancy.connections.get('hooli').then(
          () => false,
          error => error.code === code,
        ),
      )
    }
    await setInRegistry('hooli', "status = 'active'")
    // A refusal is never out of date, not even by a moment.
    await tenancy.connections.get('hooli')
  })

  test('finds a tenant as soon as it is there, after having looked for it in vain', async () => {
    const tenancy = open()
    await expect(tenancy.connections.get('late')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    await admin.tenants.create({ name: 'late' })
    await (await tenancy.connections.get('late')).raw('SELECT 1')
    await admin.tenants.drop({ tenants: ['late'] }, { force: true })
    await until(() =>
      tenancy.connections.get('late').then(
        () => false,
        error => error.code === 'TENANT_NOT_FOUND',
      ),
    )
  })

  test('refuses when the tenancy was closed, and so does a knex that was kept', async () => {
    const tenancy = open()
    const db = await tenancy.connections.get('acme')
    await tenancy.close()
    await expect(tenancy.connections.get('acme')).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(db.raw('SELECT 1')).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('a knex of a tenant', () => {
  let tenancy: Tenancy
  let db: Knex
  beforeAll(async () => {
    tenancy = createTenancy(namespace.config({ connections: { max: 3, perTenant: 3, acquireTimeout: '2s' } }))
    db = await tenancy.connections.get('globex')
  })
  afterAll(() => tenancy.close())

  test('has transactions', async () => {
    await db.transaction(async trx => {
      await trx('notes').insert({ text: 'kept' })
    })
    await db
      .transaction(async trx => {
        await trx('notes').insert({ text: 'not kept' })
        throw new Error('no')
      })
      .catch(() => undefined)
    expect(await db('notes').pluck('text')).toEqual(['kept'])
    expect(tenancy.connections.stats()).toMatchObject({ idle: 1, connections: 1 })
  })

  test('goes on with the same connection after an error of a query', async () => {
    const pid = async () => (await db.raw('SELECT pg_backend_pid() AS pid')).rows[0].pid
    const before = await pid()
    await expect(db.raw('SELECT nonsense')).rejects.toMatchObject({ code: '42703' })
    expect(await pid()).toBe(before)
  })

  test('does not hand on a transaction that somebody left open', async () => {
    await db.raw('BEGIN')
    expect(
      (await db.raw('SELECT pg_current_xact_id_if_assigned() AS id, now() = statement_timestamp() AS alone')).rows,
    ).toEqual([{ id: null, alone: true }])
    await until(() => tenancy.connections.stats().connections === 1)
  })

  test('cancels what takes too long', async () => {
    await expect(db.raw('SELECT pg_sleep(20)').timeout(100, { cancel: true })).rejects.toThrow('timeout of 100ms')
    await until(async () => (await running()) === 0)
    await expect(
      db.transaction(async trx => {
        await trx.raw('SELECT pg_sleep(20)').timeout(100, { cancel: true })
      }),
    ).rejects.toThrow('timeout of 100ms')
    await until(async () => (await running()) === 0)
    expect(await db.raw('SELECT 1')).toMatchObject({ rowCount: 1 })
  })

  const running = async () => {
    const [row] = await namespace.superSql<{ count: number }>(
      "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND state = 'active' AND pid <> pg_backend_pid()",
    )
    return row?.count
  }

  test('survives the loss of its connections', async () => {
    await db.raw('SELECT 1')
    await namespace.superSql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [
      `${namespace.tenantPrefix}globex`,
    ])
    await until(() => tenancy.connections.stats().connections === 0)
    await db.raw('SELECT 1')
  })

  test('is not ended by those who only share it', async () => {
    await db.destroy()
    await db.raw('SELECT 1')
  })

  test('does not let a connection be used by one who has given it back', async () => {
    const client = (await db.client.acquireConnection()) as { query(text: string): Promise<unknown> }
    await client.query('SELECT 1')
    db.client.releaseConnection(client)
    db.client.releaseConnection(client)
    expect(() => client.query('SELECT 1')).toThrow('given back')
  })
})

describe('the budget', () => {
  test('holds over all tenants: idle connections make room, and nobody is refused', async () => {
    const tenancy = open({ max: 2, perTenant: 2, acquireTimeout: '10s' })
    let most = 0
    const watching = setInterval(() => void sessionsOf().then(count => (most = Math.max(most, count))), 5)
    await Promise.all(
      Array.from({ length: 120 }, async (_, index) => {
        const db = await tenancy.connections.get(tenants[index % tenants.length] as string)
        await db.raw('SELECT pg_sleep(0.002)')
      }),
    )
    clearInterval(watching)
    await sleep(20)
    expect(most).toBeLessThanOrEqual(2)
    expect(tenancy.connections.stats()).toMatchObject({ timeouts: 0, waiting: 0 })
    expect(tenancy.connections.stats().evictions).toBeGreaterThan(0)
    await tenancy.close()
  })

  test('leaves an open transaction of another tenant alone', async () => {
    const tenancy = open({ max: 1, perTenant: 1, acquireTimeout: '5s' })
    const [acme, globex] = [await tenancy.connections.get('acme'), await tenancy.connections.get('globex')]
    const order: string[] = []
    const transaction = acme.transaction(async trx => {
      await trx.raw('SELECT 1')
      await sleep(100)
      await trx.raw('SELECT 1')
      order.push('acme')
    })
    await sleep(20)
    await Promise.all([globex.raw('SELECT 1').then(() => order.push('globex')), transaction])
    expect(order).toEqual(['acme', 'globex'])
  })

  test('waits no longer than it was told to', async () => {
    const tenancy = open({ max: 1, perTenant: 1, acquireTimeout: '1s' })
    const db = await tenancy.connections.get('acme')
    await db.transaction(async () => {
      await expect(db.raw('SELECT 1')).rejects.toMatchObject({ code: 'POOL_TIMEOUT', tenant: 'acme' })
    })
  })

  test('lets idle connections go', async () => {
    const tenancy = open({ idleTimeout: '50ms' })
    await (await tenancy.connections.get('initech')).raw('SELECT 1')
    await until(async () => (await sessionsOf(['initech'])) === 0)
    expect(tenancy.connections.stats()).toMatchObject({ pools: 0, connections: 0 })
  })

  test('of a role that may hold fewer connections: the others wait for these', async () => {
    await namespace.sql(`ALTER ROLE "${namespace.tenantPrefix}initech" CONNECTION LIMIT 1`)
    const db = await open({ perTenant: 4 }).connections.get('initech')
    await Promise.all(Array.from({ length: 12 }, () => db.raw('SELECT pg_sleep(0.01)')))
    await namespace.sql(`ALTER ROLE "${namespace.tenantPrefix}initech" CONNECTION LIMIT -1`)
  })
})

describe('what other processes change', () => {
  test('a suspended tenant: idle connections go at once, waiting requests are told', async () => {
    const tenancy = open({ perTenant: 1 })
    const db = await tenancy.connections.get('initech')
    let refused: unknown
    const finished = db.transaction(async trx => {
      const waiting = db.raw('SELECT 1').catch(error => (refused = error))
      await sleep(20)
      await setInRegistry('initech', "status = 'suspended'")
      await waiting
      // What runs is not cut by us: suspending ends sessions on the server when that is wanted.
      await trx.raw('SELECT 1')
    })
    await finished
    expect(refused).toMatchObject({ code: 'TENANT_SUSPENDED' })
    await until(() => tenancy.connections.stats().connections === 0)
    await expect(db.raw('SELECT 1')).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' })
    await setInRegistry('initech', "status = 'active'")
    await db.raw('SELECT 1')
  })

  test('a rotated password: what is open stays, what is opened next uses the new one', async () => {
    const tenancy = open({ perTenant: 2 })
    const db = await tenancy.connections.get('initech')
    const pid = async (trx: Knex = db) => (await trx.raw('SELECT pg_backend_pid() AS pid')).rows[0].pid
    const before = await pid()
    await admin.tenants.rotatePassword({ tenants: ['initech'] }, { keepSessions: true })
    expect(await pid()).toBe(before)
    await db.transaction(async trx => {
      expect(await pid(trx)).toBe(before)
      expect(await pid()).not.toBe(before)
    })
  })

  test('a password that was rotated unheard is looked up again when the server refuses the old one', async () => {
    const tenancy = open({ registryTtl: '1h' })
    const db = await tenancy.connections.get('initech')
    await deaf(async () => {
      await admin.tenants.rotatePassword({ tenants: ['initech'] })
    })
    await db.raw('SELECT 1')
  })

  /** Nobody hears what happens meanwhile. */
  async function deaf(work: () => Promise<unknown>): Promise<void> {
    const registry = `${namespace.prefix}_registry`
    await namespace.superSql('ALTER TABLE tenantctl.tenants DISABLE TRIGGER USER', [], registry)
    try {
      await work()
    } finally {
      await namespace.superSql('ALTER TABLE tenantctl.tenants ENABLE TRIGGER USER', [], registry)
    }
  }
})

describe('without the registry', () => {
  test('known tenants work on, unknown ones are refused, and all is well when it is back', async () => {
    const events: string[] = []
    const tenancy = open({ registryTtl: '100ms', idleTimeout: '20ms' }, ({ event }) => events.push(event))
    const db = await tenancy.connections.get('acme')
    await db.raw('SELECT 1')
    const registry = `${namespace.prefix}_registry`
    await namespace.superSql(`ALTER DATABASE "${registry}" ALLOW_CONNECTIONS false`)
    try {
      await namespace.superSql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [registry])
      await until(() => events.includes('registry_lost'))
      await sleep(150)
      for (let round = 0; round < 5; round += 1) {
        const started = performance.now()
        await (await tenancy.connections.get('acme')).raw('SELECT 1')
        expect(performance.now() - started).toBeLessThan(1_000)
        await sleep(60)
      }
      await expect(tenancy.connections.get('unheard-of')).rejects.not.toMatchObject({ code: 'TENANT_NOT_FOUND' })
    } finally {
      await namespace.superSql(`ALTER DATABASE "${registry}" ALLOW_CONNECTIONS true`)
    }
    await until(() => events.includes('registry_back'), 20_000)
    await setInRegistry('acme', "status = 'suspended'")
    await until(() =>
      tenancy.connections.get('acme').then(
        () => false,
        error => error.code === 'TENANT_SUSPENDED',
      ),
    )
    await setInRegistry('acme', "status = 'active'")
    await tenancy.connections.get('acme')
  })
})

test('events tell what the pools do', async () => {
  const events: TenancyEvent[] = []
  const tenancy = open({ max: 1, perTenant: 1 }, event => events.push(event))
  await (await tenancy.connections.get('acme')).raw('SELECT 1')
  await (await tenancy.connections.get('globex')).raw('SELECT 1')
  await tenancy.close()
  const seen = events.filter(event => /^(pool|connection)_/.test(event.event))
  expect(seen.map(event => ['tenant' in event && event.tenant, event.event].join(' '))).toEqual([
    'acme pool_opened',
    'acme connection_opened',
    'globex pool_opened',
    'acme connection_closed',
    'acme pool_closed',
    'globex connection_opened',
    'globex connection_waited',
    'globex connection_closed',
    'globex pool_closed',
  ])
})
