import { beforeAll, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
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
