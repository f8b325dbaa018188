import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { canGoTogether, sendTogether } from '../../src/migrations/together.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()
let client: pg.Client

beforeAll(async () => {
  client = new pg.Client({ connectionString: namespace.adminUrl })
  await client.connect()
  await client.query('CREATE TEMP TABLE numbers (n int PRIMARY KEY)')
})

afterAll(() => client.end())

/** The statement that failed, and the text that its position points at. */
async function send(...statements: string[]) {
  const failure = await sendTogether(client, ['BEGIN', ...statements, 'COMMIT'])
  await client.query('ROLLBACK')
  if (!failure) return undefined
  const { code, position } = failure.error as { code: string; position?: string }
  const statement = statements[failure.index - 1]
  const at =
    position &&
    Array.from(statement ?? '')
      .slice(Number(position) - 1, Number(position) + 4)
      .join('')
  return { index: failure.index - 1, code, at }
}

test('all or nothing goes through at once', async () => {
  expect(
    await send('INSERT INTO numbers VALUES (1) -- the first', 'SELECT n FROM numbers', "SELECT ';'"),
  ).toBeUndefined()
  expect((await client.query('SELECT n FROM numbers')).rows).toEqual([{ n: 1 }])
  expect(await send('INSERT INTO numbers VALUES (2)', 'INSERT INTO numbers VALUES (1)')).toMatchObject({ index: 1 })
  expect((await client.query('SELECT n FROM numbers')).rows).toEqual([{ n: 1 }])
})

test.each([
  [['SELECT 1', 'SELECT 2 FROM nowhere', 'SELECT 3'], { index: 1, code: '42P01', at: 'nowhe' }],
  [["SELECT '🐘🐘🐘ü'", '/* 🐘 */ SELECT 2 FROM nowhere'], { index: 1, code: '42P01', at: 'nowhe' }],
  // Found before anything is run.
  [['SELECT 1', 'SELECT 2', 'SELEC 3'], { index: 2, code: '42601', at: 'SELEC' }],
  [['SELECT 1', 'SELECT (2'], { index: 1, code: '42601' }],
  // Without a position.
  [['INSERT INTO numbers VALUES (5)', 'SELECT 1', 'INSERT INTO numbers VALUES (5)'], { index: 2, code: '23505' }],
  [["DO $$ BEGIN RAISE 'no'; END $$", 'SELECT 1'], { index: 0, code: 'P0001' }],
  [
    ['SET LOCAL statement_timeout = 50', 'SELECT pg_sleep(0.03)', 'SELECT pg_sleep(0.03)', 'SELECT pg_sleep(9)'],
    { index: 3, code: '57014' },
  ],
  // At COMMIT: of no statement.
  [
    ['CREATE TEMP TABLE d (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)', 'INSERT INTO d VALUES (1), (1)'],
    { index: 2, code: '23505' },
  ],
] as [string[], object][])('tells which of %j failed, and where', async (statements, expected) => {
  expect(await send(...statements)).toMatchObject(expected)
})

test('what changes the reading of the rest is sent alone', () => {
  expect(canGoTogether('CREATE TABLE names (set int)')).toBe(true)
  expect(canGoTogether('SET standard_conforming_strings = off;')).toBe(false)
  expect(canGoTogether("SET NAMES 'latin1';")).toBe(false)
})
