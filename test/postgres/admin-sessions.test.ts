import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseAddress, type ServerAddress } from '../../src/postgres/address.ts'
import { AdminSessions } from '../../src/postgres/admin-sessions.ts'
import { lockKey, withAdvisoryLock } from '../../src/postgres/locks.ts'
import { Secret } from '../../src/secrets/secret.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
const admins = new AdminSessions()
let address: ServerAddress

beforeAll(() => {
  address = parseAddress(new Secret(namespace.adminUrl), 'postgres')
})

afterAll(() => admins.close())

/** Of the session that the next piece of work gets. */
const pid = () =>
  admins.use(address, {}, async client => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid as number)

test('whoever comes next has the session of whoever came before', async () => {
  const before = await pid()
  expect(await pid()).toBe(before)
})

test('a session that ends while nobody has it is not given to anybody', async () => {
  const before = await pid()
  await namespace.superSql('SELECT pg_terminate_backend($1)', [before])
  await expect.poll(() => namespace.superSql('SELECT FROM pg_stat_activity WHERE pid = $1', [before])).toEqual([])
  await expect.poll(pid).not.toBe(before)
})

test('nor one that could not release its lock', async () => {
  const wait = { timeoutMs: 0, onTimeout: () => new Error('locked') }
  const before = await admins.use(address, {}, client =>
    withAdvisoryLock(client, lockKey('test', namespace.prefix), wait, async () => {
      const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
      await namespace.superSql('SELECT pg_terminate_backend($1)', [rows[0].pid])
      return rows[0].pid as number
    }),
  )
  expect(await pid()).not.toBe(before)
})

test('nor one whose work has failed', async () => {
  const before = await pid()
  await expect(admins.use(address, {}, client => client.query('SELECT 1/0'))).rejects.toThrow(/division by zero/)
  expect(await pid()).not.toBe(before)
})
