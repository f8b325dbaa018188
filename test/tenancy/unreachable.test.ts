import { createServer, type Server } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { urlWith } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let closing: Server
let closedPort: number

beforeAll(async () => {
  const gone = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => gone.once('listening', resolve))
  closedPort = (gone.address() as { port: number }).port
  await new Promise(resolve => gone.close(resolve))
  closing = createServer(socket => socket.destroy()).listen(0, '127.0.0.1')
  await new Promise(resolve => closing.once('listening', resolve))
})

afterAll(() => void closing.close())

const portOf = (url: string) => new URL(url).port

/** What a first command meets. */
async function firstError(url: string): Promise<Record<string, unknown>> {
  const tenancy = createTenancy({ registry: { url } })
  try {
    await tenancy.tenants.list()
    return {}
  } catch (error) {
    return JSON.parse(JSON.stringify(error))
  } finally {
    await tenancy.close()
  }
}

test.each([
  ['a wrong password', 'AUTHENTICATION_FAILED', () => urlWith(namespace.registryUrl, { password: 'wr0ng-s3cret' })],
  ['no password', 'AUTHENTICATION_FAILED', () => urlWith(namespace.registryUrl, { password: '' })],
  ['TLS that the server does not have', 'TLS_FAILED', () => `${namespace.registryUrl}?sslmode=require`],
  ['nobody there', 'CONNECTION_FAILED', () => `postgresql://admin:wr0ng-s3cret@127.0.0.1:${closedPort}/x`],
  [
    'somebody who hangs up',
    'CONNECTION_FAILED',
    () => `postgresql://admin:wr0ng-s3cret@127.0.0.1:${(closing.address() as { port: number }).port}/x`,
  ],
])('%s is told with host and port, and never with the password', async (_what, code, url) => {
  const sockets = () => process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length
  const before = sockets()
  const error = await firstError(url())
  expect(error).toMatchObject({ code, hint: expect.any(String) })
  expect(error.message).toContain(`127.0.0.1:${portOf(url())}`)
  expect(JSON.stringify(error)).not.toMatch(/wr0ng|SASL|SCRAM/)
  // Nobody is left waiting for an answer.
  await expect.poll(sockets).toBe(before)
})

test('the same for the login of a tenant', async () => {
  namespace.writeMigrations({})
  namespace.writeSeeds({})
  const tenancy = namespace.track(createTenancy(namespace.config()))
  const { username } = await tenancy.tenants.create({ name: 'Acme' })
  await namespace.superSql(`ALTER ROLE "${username}" PASSWORD 'changed by hand'`)
  const { tenants } = await tenancy.migrations.status({ tenants: ['acme'] })
  expect(tenants[0]?.error).toMatchObject({ code: 'AUTHENTICATION_FAILED' })
  expect(tenants[0]?.error?.message).toContain(`at 127.0.0.1:${portOf(namespace.registryUrl)}: password`)
})

test('the same for a server whose stock is asked for', async () => {
  const url = `postgresql://admin:wr0ng-s3cret@127.0.0.1:${closedPort}/postgres`
  const tenancy = namespace.track(createTenancy(namespace.config({ servers: { far: { url } } })))
  const error = await tenancy.pool.status({ server: 'far' }).catch(failed => failed)
  expect(error).toMatchObject({ code: 'CONNECTION_FAILED' })
  expect(error.message).toContain(`connecting to server "far" as admin at 127.0.0.1:${closedPort}`)
})
