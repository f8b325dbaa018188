import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { parseAddress, type ServerAddress } from '../../src/postgres/address.ts'
import { type Client, cancellable, close, connect } from '../../src/postgres/connect.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { useNamespace } from '../support/namespace.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'

const namespace = useNamespace()
let address: ServerAddress
/** The way that a cancellation takes: it is there after half a second. */
let slowly: ServerAddress
let proxy: TcpProxy
let client: Client

beforeAll(async () => {
  address = parseAddress(new Secret(namespace.adminUrl), 'postgres')
})

beforeEach(async () => {
  client = await connect(address)
  proxy = await startProxy(address, { latency: 80 })
  slowly = { ...address, host: '127.0.0.1', port: proxy.port }
  return async () => {
    await close(client)
    await proxy.close()
  }
})

test('the statement that runs is cancelled', async () => {
  const controller = new AbortController()
  const work = cancellable(address, client, controller.signal, async () => {
    const running = client.query('SELECT pg_sleep(60)')
    controller.abort()
    await running
  })
  await expect(work).rejects.toMatchObject({ code: '57014' })
})

test('none of those after it is, however late the cancellation comes', async () => {
  const controller = new AbortController()
  await cancellable(slowly, client, controller.signal, async () => {
    const running = client.query('SELECT pg_sleep(0.05)')
    controller.abort()
    await running
    await client.query('BEGIN; SELECT pg_sleep(1); COMMIT')
  })
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
})

test('nor a session that has the same number by then', async () => {
  const controller = new AbortController()
  await cancellable(slowly, client, controller.signal, async () => controller.abort())
  const passed = proxy.passed()
  expect(passed).toBeGreaterThan(0)
  await sleep(500)
  expect(proxy.passed()).toBe(passed)
})

test('nothing is begun after the abort', async () => {
  const begun: string[] = []
  const work = cancellable(address, client, AbortSignal.abort(), async () => begun.push('work'))
  await expect(work).rejects.toMatchObject({ code: 'ABORTED' })
  expect(begun).toEqual([])
})
