import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseAddress } from '../../src/postgres/address.ts'
import { RegistryConnection } from '../../src/registry/connection.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let registry: RegistryConnection

beforeAll(() => {
  registry = new RegistryConnection(parseAddress(new Secret(namespace.adminUrl)))
})

afterAll(() => registry.close())

const ask = (text: string, value: string) => registry.prepared<{ found: string }>('asking', text, [value])
const prepared = () =>
  registry.query<{ name: string }>('looking', "SELECT name FROM pg_prepared_statements WHERE name ~ '^tenantctl_'")

test('an error of the statement itself is told', async () => {
  await expect(ask('SELECT ($1::text)::int::text AS found', 'x')).rejects.toMatchObject({ sqlstate: '22P02' })
})

test('a statement that requests wait for is prepared once', async () => {
  expect(await ask('SELECT $1::text AS found', 'one')).toEqual([{ found: 'one' }])
  expect(await ask('SELECT $1::text AS found', 'two')).toEqual([{ found: 'two' }])
  expect(await prepared()).toHaveLength(1)
})

test('is sent as it is where the session is another one, as behind a pooler', async () => {
  // The pool has one connection, as nothing here happens at the same time.
  await registry.execute('changing sessions', 'DEALLOCATE ALL')
  expect(await ask('SELECT $1::text AS found', 'three')).toEqual([{ found: 'three' }])
  expect(await ask('SELECT $1::text AS found', 'four')).toEqual([{ found: 'four' }])
  expect(await prepared()).toEqual([])
})
