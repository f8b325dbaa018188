import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { createTenancy, isTenancyError, type Tenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { startProxy, type TcpProxy, type Trouble } from '../support/proxy.ts'
import { catalogs } from './catalogs.ts'
import { expectUsable, writeFolders } from './commands.ts'
import { announce, everything, factor, sample } from './sampling.ts'
import { expectClean, problems, repairAll } from './sweep.ts'

/* A create over a network that fails: the conversation with the server, registry included, goes through a proxy. */

const namespace = useNamespace({ allowSessions: true })
/** Beside the proxy. */
let tenancy: Tenancy
let before: string[]
let proxy: TcpProxy

beforeAll(async () => {
  announce('network')
  writeFolders(namespace)
  tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.registry.install()
  before = await problems(tenancy)
})

afterEach(async () => {
  await proxy.close()
  await tenancy.tenants.drop({ all: true }, { force: true })
})

/** A tenancy that sees the server through the proxy. */
async function through(trouble: Trouble): Promise<Tenancy> {
  const url = new URL(namespace.registryUrl)
  proxy = await startProxy({ host: url.hostname, port: Number(url.port) }, trouble)
  url.port = String(proxy.port)
  return createTenancy(namespace.config({ registry: { url: url.href } }))
}

async function attempt(own: Tenancy): Promise<unknown> {
  return own.tenants
    .create({ name: 'acme' })
    .then(
      () => 'created',
      error => error,
    )
    .finally(() => own.close())
}

test('cut after any number of bytes', { timeout: everything ? 3_600_000 : 120_000 * factor }, async () => {
  expect(await attempt(await through({}))).toBe('created')
  const whole = proxy.passed()
  const cuts = sample(
    Array.from({ length: Math.ceil(whole / 23) }, (_, index) => index * 23 + 1),
    10,
    'network',
  )
  for (const cutAfter of cuts) {
    await tenancy.tenants.drop({ tenants: ['acme'] }, { force: true, ifExists: true })
    await proxy.close()
    const result = await attempt(await through({ cutAfter }))
    const where = `after ${cutAfter} of ${whole} bytes: ${result}`
    // The last word may come too late to matter.
    if (result !== 'created') expect(isTenancyError(result) && result.code, where).toBe('CONNECTION_FAILED')
    expect(proxy.hasCut(), where).toBe(cutAfter < proxy.passed() + 1)
    await repairAll(tenancy)
    await expectClean(namespace, tenancy, before)
    if ((await tenancy.tenants.list()).length > 0) await expectUsable(tenancy, 'acme')
  }
})

test('the same command goes on where the network failed', async () => {
  const result = await attempt(await through({ cutAfter: 20_000 }))
  expect(result).toMatchObject({ code: 'CONNECTION_FAILED' })
  expect(await tenancy.tenants.create({ name: 'acme' })).toMatchObject({ status: 'active' })
  await expectUsable(tenancy, 'acme')
  await expectClean(namespace, tenancy, before)
})

test('a slow one', async () => {
  expect(await attempt(await through({ latency: 5 }))).toBe('created')
  await expectUsable(tenancy, 'acme')
})

test('one that has gone silent does not hold up whoever interrupts', async () => {
  const url = new URL(namespace.adminUrl)
  proxy = await startProxy({ host: url.hostname, port: Number(url.port) }, { cutAfter: 12_000, halfOpen: true })
  url.port = String(proxy.port)
  url.searchParams.set('connect_timeout', '1')
  const servers = { other: { url: url.href } }
  const own = namespace.track(createTenancy(namespace.config({ servers })))
  const controller = new AbortController()
  const ended = own.tenants
    .create({ name: 'acme', server: 'other' }, { signal: controller.signal })
    .catch((error: unknown) => error)
  while (!proxy.hasCut()) await sleep(20)
  controller.abort()
  expect(await ended).toMatchObject({ code: 'ABORTED', tenant: 'acme' })
  expect((await own.operations.list({ tenant: 'acme' }))[0]).toMatchObject({ status: 'failed' })
  // What was sent and never answered is given up by the server as well, once the network says so.
  await proxy.close()
  const beside = namespace.track(createTenancy(namespace.config({ servers: { other: { url: namespace.adminUrl } } })))
  await repairAll(beside)
  const { actual, expected } = await catalogs(namespace, { server: 'other' })
  expect(actual).toEqual(expected)
  expect(Object.keys(actual.databases)).toHaveLength(1)
  await beside.tenants.drop({ all: true }, { force: true })
})
