import { beforeAll, describe, expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { useNamespace } from '../support/namespace.ts'
import { commandsOf, writeFolders } from './commands.ts'
import { live } from './life.ts'
import { announce, everything, factor } from './sampling.ts'
import { sweep } from './sweep.ts'

/*
 * Every changing command, stopped at every statement that it sends: a statement that is added to one is met without
 * anybody thinking of it.
 */

const namespace = useNamespace({ allowSessions: true })
const commands = commandsOf(namespace)

beforeAll(async () => {
  announce('sweeps')
  writeFolders(namespace)
  await namespace.track(createTenancy(namespace.config())).registry.install()
})

describe.each(Object.entries(commands))('%s, stopped at any statement', (_, command) => {
  test('is finished or undone by repair', { timeout: everything ? 3_600_000 : 120_000 * factor }, async () => {
    console.info(await sweep(namespace, command, 'program', 5))
  })
})

test('a connection that is lost before a non-transactional migration is told as such', async () => {
  const tenancy = createTenancy(namespace.config(commands.index.config))
  await commands.index.ready(tenancy, 'lost')
  const ending = await live({ at: 'SET statement_timeout = 0', moment: 'lost' }, async () => {
    const { tenants } = await tenancy.migrations.run({ tenants: ['lost'] }, { retries: 0 })
    return tenants[0]?.error
  })
  expect(ending).toMatchObject({ kind: 'returned', value: { code: 'CONNECTION_FAILED', migration: '003_index.sql' } })
  await tenancy.tenants.drop({ tenants: ['lost'] }, { force: true })
  await tenancy.close()
})
