import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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

describe('of many who come at once', () => {
  let working = 0
  let most = 0
  const pause = () =>
    admins.use(address, {}, async client => {
      working += 1
      most = Math.max(most, working)
      await client.query('SELECT pg_sleep(0.05)')
      working -= 1
    })
  const mostOf = async (count: number) => {
    most = 0
    await Promise.all(Array.from({ length: count }, pause))
    return most
  }

  test('a few work, and the others wait for their turn', async () => {
    expect(await mostOf(30)).toBe(8)
    expect((await namespace.sessions()).length).toBeLessThanOrEqual(8)
  })

  test('more of them, as long as a run allows it', async () => {
    const disallow = admins.turns.allow(12)
    expect(await mostOf(30)).toBe(12)
    disallow()
    expect(await mostOf(30)).toBe(8)
  })

  test('whoever has a turn may ask for more within it, as hooks do', async () => {
    await Promise.all(Array.from({ length: 8 }, () => admins.use(address, {}, pause)))
    expect(await mostOf(30)).toBe(8)
  })

  test('whoever gives up waiting has begun nothing, and leaves the turn to the next', async () => {
    const controller = new AbortController()
    const busy = Array.from({ length: 8 }, pause)
    let begun = false
    const waiting = admins.use(address, { signal: controller.signal }, async () => {
      begun = true
    })
    const next = pause()
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    await Promise.all([...busy, next])
    expect(begun).toBe(false)
  })
})
