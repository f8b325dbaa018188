import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { ConnectionPool } from '../../src/connections/connection-pool.ts'
import type { PooledConnection, PoolLimits, PoolObserver } from '../../src/connections/pool-types.ts'
import { TenancyError } from '../../src/errors.ts'

/** A server that counts its sessions. */
class Server {
  sessions = 0
  most = 0
  perTenant = new Map<string, number>()
  mostPerTenant = 0
  cut = 0
  openMs = 0
  fail: (() => unknown) | undefined

  async open(id: string): Promise<Fake> {
    this.count(id, 1)
    if (this.openMs > 0) await sleep(this.openMs)
    else await Promise.resolve()
    const failure = this.fail?.()
    if (failure) {
      this.count(id, -1)
      throw failure
    }
    return new Fake(this, id)
  }

  count(id: string, by: number): void {
    this.sessions += by
    const own = (this.perTenant.get(id) ?? 0) + by
    this.perTenant.set(id, own)
    this.most = Math.max(this.most, this.sessions)
    this.mostPerTenant = Math.max(this.mostPerTenant, own)
  }
}

class Fake implements PooledConnection {
  clean = true
  inUse = false
  lose: () => void = () => undefined

  constructor(
    private readonly server: Server,
    readonly id: string,
  ) {}

  settle = async () => undefined
  onLost(listener: () => void): void {
    this.lose = listener
  }
  setBusy(busy: boolean): void {
    this.inUse = busy
  }
  async close(): Promise<void> {
    if (this.inUse && this.clean) this.server.cut += 1
    await Promise.resolve()
    this.server.count(this.id, -1)
  }
}

let server: Server
let events: string[]
let pool: ConnectionPool<Fake>

beforeEach(() => {
  server = new Server()
  use({})
})

function use(limits: Partial<PoolLimits>): void {
  events = []
  const observer: PoolObserver = {
    poolOpened: slug => events.push(`+${slug}`),
    poolClosed: slug => events.push(`-${slug}`),
    connectionOpened: () => undefined,
    connectionClosed: (slug, reason) => events.push(`${slug} ${reason}`),
    waited: slug => events.push(`${slug} waited`),
    timedOut: slug => events.push(`${slug} timed out`),
  }
  const defaults = { max: 3, perTenant: 2, idleTimeoutMs: 60_000, acquireTimeoutMs: 2_000 }
  pool = new ConnectionPool<Fake>({ ...defaults, ...limits }, observer)
}

function acquire(id: string, place = 'here'): Promise<Fake> {
  return pool.acquire({ id, slug: id, place, open: () => server.open(id) })
}

function giveBack(connection: Fake): void {
  // As a query that has ended: not in use any more from here on.
  connection.inUse = false
  pool.release(connection)
}

describe('one tenant', () => {
  test('gets the connection that was used last', async () => {
    const [one, two] = [await acquire('a'), await acquire('a')]
    giveBack(one)
    giveBack(two)
    expect(await acquire('a')).toBe(two)
    expect(server.most).toBe(2)
  })

  test('has no more than its share, and is served in the order of asking', async () => {
    const held = [await acquire('a'), await acquire('a')]
    const order: number[] = []
    const waiting = [1, 2, 3].map(async number => {
      const connection = await acquire('a')
      order.push(number)
      return connection
    })
    await sleep(5)
    expect(order).toEqual([])
    expect(pool.stats).toMatchObject({ pools: 1, connections: 2, idle: 0, waiting: 3 })
    giveBack(held[0] as Fake)
    giveBack((await waiting[0]) as Fake)
    giveBack((await waiting[1]) as Fake)
    await waiting[2]
    expect(order).toEqual([1, 2, 3])
    expect(server.mostPerTenant).toBe(2)
  })

  test('does not get a connection that is not clean', async () => {
    const one = await acquire('a')
    one.clean = false
    giveBack(one)
    expect(await acquire('a')).not.toBe(one)
    expect(events).toContain('a unclean')
  })

  test('does not get a connection that was lost while idle', async () => {
    const one = await acquire('a')
    giveBack(one)
    one.lose()
    expect(await acquire('a')).not.toBe(one)
    expect(events).toContain('a lost')
  })

  test('is told when it is the opening that takes too long', async () => {
    use({ acquireTimeoutMs: 20 })
    server.openMs = 60
    await expect(acquire('a')).rejects.toMatchObject({
      message: 'no connection within 20 ms: the first one for tenant "a" is still being opened',
    })
    await sleep(60)
    expect(pool.stats).toMatchObject({ connections: 1, idle: 1 })
  })

  test('is told when opening fails, and only the one who asked', async () => {
    let first = true
    server.fail = () => {
      const now = first
      first = false
      return now ? new TenancyError('CONNECTION_FAILED', 'no') : undefined
    }
    const [one, two] = await Promise.allSettled([acquire('a'), acquire('a')])
    expect(one).toMatchObject({ status: 'rejected', reason: { code: 'CONNECTION_FAILED' } })
    expect(two.status).toBe('fulfilled')
  })

  test('asks again when the server has no slot left', async () => {
    let refusals = 3
    server.fail = () =>
      refusals-- > 0 ? new TenancyError('OUT_OF_RESOURCES', 'too many', { sqlstate: '53300' }) : undefined
    expect(await acquire('a')).toBeInstanceOf(Fake)
  })

  test('gives up asking a full server in time, and says why', async () => {
    use({ acquireTimeoutMs: 120 })
    server.fail = () => new TenancyError('OUT_OF_RESOURCES', 'too many', { sqlstate: '53300' })
    await expect(acquire('a')).rejects.toMatchObject({
      code: 'POOL_TIMEOUT',
      message: 'no connection within 120 ms: the server has none left for tenant "a"',
      cause: { sqlstate: '53300' },
    })
  })
})

describe('the budget', () => {
  test('is never exceeded, and the connection that was idle for longest makes room', async () => {
    for (const id of ['a', 'b', 'c']) giveBack(await acquire(id))
    giveBack(await acquire('a'))
    giveBack(await acquire('d'))
    expect(events.filter(event => event.includes('evicted'))).toEqual(['b evicted'])
    expect(server.most).toBe(3)
    expect(pool.stats).toMatchObject({ evictions: 1, connections: 3, pools: 3 })
    expect(events).toContain('-b')
  })

  test('does not cut a connection that is in use: the request waits for one to be given back', async () => {
    const held = [await acquire('a'), await acquire('b'), await acquire('c')]
    let served = false
    const waiting = acquire('d').then(connection => {
      served = true
      return connection
    })
    await sleep(20)
    expect(served).toBe(false)
    giveBack(held[1] as Fake)
    expect((await waiting).id).toBe('d')
    expect(server.cut).toBe(0)
    expect(events).toContain('d waited')
  })

  test('goes to a tenant without any connection, once the one that makes room has done some work', async () => {
    const held = [await acquire('a'), await acquire('a'), await acquire('b')]
    const order: string[] = []
    const first = acquire('c').then(() => order.push('c'))
    const second = acquire('a').then(connection => {
      order.push('a')
      return connection
    })
    // A connection that was only just opened is worth more to its own tenant.
    giveBack(held[0] as Fake)
    const third = acquire('a').then(() => order.push('a again'))
    await sleep(60)
    giveBack(await second)
    await first
    giveBack(held[2] as Fake)
    await third
    expect(order).toEqual(['a', 'c', 'a again'])
  })

  test('does not go back and forth between tenants that all have work', async () => {
    use({ max: 4, perTenant: 3 })
    const work = async (_: unknown, index: number) => {
      const connection = await acquire(['a', 'b', 'c'][index % 3] as string)
      await sleep(1)
      giveBack(connection)
    }
    const started = performance.now()
    await Promise.all(Array.from({ length: 600 }, work))
    // A connection does 50 ms of work before it is taken away, however slow the machine.
    expect(pool.stats.evictions).toBeLessThanOrEqual(4 * Math.ceil((performance.now() - started) / 50))
  })

  test('is shared again when one tenant holds much of it and another one comes to wait', async () => {
    use({ max: 4, perTenant: 4 })
    let over = false
    const flood = Array.from({ length: 4 }, async () => {
      while (!over) {
        const connection = await acquire('a')
        await sleep(2)
        giveBack(connection)
      }
    })
    await sleep(60)
    const [one, two] = await Promise.all([acquire('b'), acquire('b')])
    over = true
    ;[one, two].forEach(giveBack)
    await Promise.all(flood)
  })

  test('lets no tenant starve beside one that floods it', async () => {
    use({ max: 2, perTenant: 2 })
    let open = 0
    const work = async () => {
      const connection = await acquire('flood')
      open += 1
      await sleep(1)
      giveBack(connection)
    }
    const flood = Array.from({ length: 200 }, work)
    await sleep(2)
    giveBack(await acquire('quiet'))
    expect(open).toBeGreaterThan(150)
    await Promise.all(flood)
  })

  test('holds for two thousand tenants at random, without an error', async () => {
    use({ max: 50, perTenant: 5, acquireTimeoutMs: 10_000 })
    const request = async () => {
      const connection = await acquire(`t${Math.floor(Math.random() * 2_000)}`)
      await new Promise(resolve => setImmediate(resolve))
      giveBack(connection)
    }
    for (let round = 0; round < 5; round += 1) await Promise.all(Array.from({ length: 2_000 }, request))
    expect(server.most).toBeLessThanOrEqual(50)
    expect(server.mostPerTenant).toBeLessThanOrEqual(5)
    expect(server.cut).toBe(0)
    expect(pool.stats.waiting).toBe(0)
  })

  test('serves ten thousand waiting requests of one tenant quickly', async () => {
    use({ max: 5, perTenant: 5, acquireTimeoutMs: 20_000 })
    const started = performance.now()
    await Promise.all(
      Array.from({ length: 10_000 }, async () => {
        const connection = await acquire('a')
        await Promise.resolve()
        giveBack(connection)
      }),
    )
    expect(performance.now() - started).toBeLessThan(3_000)
  })

  test('tells who waits in vain what to do', async () => {
    use({ max: 2, perTenant: 1, acquireTimeoutMs: 30 })
    await acquire('a')
    await expect(acquire('a')).rejects.toMatchObject({
      code: 'POOL_TIMEOUT',
      tenant: 'a',
      message: 'no connection within 30 ms: tenant "a" has all of its 1 connections in use',
    })
    await acquire('b')
    await expect(acquire('c')).rejects.toMatchObject({
      code: 'POOL_TIMEOUT',
      message: 'no connection within 30 ms: all 2 connections are in use',
    })
    expect(pool.stats).toMatchObject({ timeouts: 2, waiting: 0 })
    expect(events).toContain('c timed out')
  })

  test('closes what is idle for too long', async () => {
    use({ idleTimeoutMs: 40 })
    const [one, two] = [await acquire('a'), await acquire('b')]
    giveBack(one)
    await sleep(5)
    giveBack(two)
    while (pool.stats.pools > 0) await sleep(5)
    expect(events).toEqual(['+a', '+b', 'a idle', '-a', 'b idle', '-b'])
    expect(pool.stats).toMatchObject({ connections: 0, evictions: 0 })
  })
})

describe('draining', () => {
  test('closes idle connections at once and busy ones when they come back', async () => {
    const [busy, idle] = [await acquire('a'), await acquire('a')]
    giveBack(idle)
    let drained = false
    const draining = pool.drain('a').then(() => {
      drained = true
    })
    await sleep(5)
    expect(drained).toBe(false)
    expect(server.sessions).toBe(1)
    giveBack(busy)
    await draining
    expect(server.sessions).toBe(0)
    expect(server.cut).toBe(0)
  })

  test('leaves nobody waiting who cannot be served', async () => {
    const held = [await acquire('a'), await acquire('a')]
    const waiting = acquire('a')
    const draining = pool.drain('a', new TenancyError('TENANT_SUSPENDED', 'suspended'))
    await expect(waiting).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' })
    held.forEach(giveBack)
    await draining
  })

  test('does not use a connection that was being opened to the old place', async () => {
    server.openMs = 20
    const before = acquire('a')
    await sleep(5)
    const after = acquire('a', 'elsewhere')
    giveBack(await before)
    giveBack(await after)
    expect(events.filter(event => event === 'a drained')).toHaveLength(1)
  })

  test('ends everything when the pool is closed, what is being opened as well', async () => {
    use({ acquireTimeoutMs: 50 })
    server.openMs = 20
    await acquire('a')
    const opening = acquire('b')
    const failed = expect(opening).rejects.toMatchObject({ code: 'CLOSED' })
    await pool.close()
    await failed
    expect(server.sessions).toBe(0)
    await expect(acquire('a')).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
