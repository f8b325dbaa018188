import { beforeAll, expect, test } from 'vitest'
import { createTenancy, Secret } from '../../src/index.ts'
import { parseAddress } from '../../src/postgres/address.ts'
import { RegistryConnection } from '../../src/registry/connection.ts'
import { useNamespace } from '../support/namespace.ts'
import { startProxy } from '../support/proxy.ts'
import { type Ending, live, losses } from './life.ts'

const namespace = useNamespace()

beforeAll(async () => {
  const tenancy = namespace.track(createTenancy(namespace.config()))
  await tenancy.tenants.create({ name: 'acme' })
})

/** In the registry, a transaction and the lock of a run: connections that are borrowed for longer than a statement. */
test.each(losses)(
  'a connection that is %s at any statement is an error that tells, and never ends the process',
  async moment => {
    const seen = new Set<string>()
    let ending: Ending<unknown>
    let at = 0
    do {
      at += 1
      const tenancy = createTenancy(namespace.config())
      ending = await live({ at, moment }, async () => {
        const { tenants } = await tenancy.tenants[at % 2 ? 'protect' : 'unprotect']({ tenants: ['acme'] })
        return tenants[0]?.error?.code ?? 'done'
      })
      await tenancy.close()
      if (ending.kind === 'threw') seen.add((ending.error as { code: string }).code)
      if (ending.kind === 'returned') seen.add(String(ending.value))
    } while (ending.kind === 'died' || ending.statement !== undefined)
    expect(at).toBeGreaterThan(10)
    expect([...seen].sort()).toEqual(['CONNECTION_FAILED', 'done'])
  },
)

test('an answer that never comes is not waited for longer than it may take', async () => {
  const url = new URL(namespace.adminUrl)
  const target = { host: url.hostname, port: Number(url.port) }
  const proxy = await startProxy(target, { cutAfter: 20_000, halfOpen: true })
  url.port = String(proxy.port)
  const registry = new RegistryConnection(parseAddress(new Secret(url.href)), 300)
  const ask = () => registry.query<{ text: string }>('test', "SELECT repeat('x', 1000) AS text")
  await ask()
  const error = await (async () => {
    for (;;) await ask()
  })().catch((thrown: unknown) => thrown)
  expect(proxy.hasCut()).toBe(true)
  expect(error).toMatchObject({ code: 'CONNECTION_FAILED', message: expect.stringContaining('timeout') })
  await registry.close()
  await proxy.close()
})
