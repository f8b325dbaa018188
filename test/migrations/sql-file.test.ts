import { describe, expect, test } from 'vitest'
import { lineOf, parseSqlMigration } from '../../src/migrations/sql-file.ts'

const parse = (content: string) => parseSqlMigration('001_a.sql', content)
const up = (content: string) => parse(content).up.statements.map(each => [each.line, each.text])

describe('the two halves', () => {
  test('stand on both sides of "-- migrate:down"', () => {
    const { up, down, transactional } = parse('SELECT 1;\n-- migrate:down\nSELECT 2;\nSELECT 3;')
    expect(transactional).toBe(true)
    expect(up.statements.map(each => each.text)).toEqual(['SELECT 1'])
    expect(down?.statements.map(each => [each.line, each.text])).toEqual([
      [3, 'SELECT 2'],
      [4, 'SELECT 3'],
    ])
  })

  test.each(['--migrate:down', '  -- migrate:down  ', '-- migrate:down\r'])('%j parts them', marker => {
    expect(parse(`SELECT 1;\n${marker}\nSELECT 2;`).down?.statements).toHaveLength(1)
  })

  test.each(['-- migrate:downwards', "SELECT '-- migrate:down';", '-- please do not migrate:down'])(
    '%j does not',
    text => {
      expect(parse(`SELECT 1;\n${text}\nSELECT 2;`).down).toBeUndefined()
    },
  )

  test('without a marker there is no way back', () => {
    expect(parse('SELECT 1').down).toBeUndefined()
  })
})

describe('"-- migrate:no-transaction"', () => {
  test.each(['-- migrate:no-transaction\nSELECT 1', '\uFEFF--migrate:no-transaction\r\nSELECT 1'])('%j', content => {
    expect(parse(content).transactional).toBe(false)
    expect(parse(content).up.statements).toHaveLength(1)
  })

  test('counts on the first line only', () => {
    expect(parse('SELECT 1;\n-- migrate:no-transaction\n').transactional).toBe(true)
  })
})

describe('what would end the transaction around a file', () => {
  test.each([
    'COMMIT',
    'commit and chain',
    'END',
    'BEGIN',
    'START TRANSACTION',
    'ROLLBACK',
    'ROLLBACK AND CHAIN',
    'ABORT',
    "PREPARE TRANSACTION 'x'",
    "/* a */ COMMIT PREPARED 'x'",
  ])('%s is refused with its line', statement => {
    const expected = { code: 'MIGRATIONS_INVALID', migration: '001_a.sql', line: 3 }
    expect(() => parse(`SELECT 1;\n\n${statement};`)).toThrow(expect.objectContaining(expected))
    expect(() => parse(`SELECT 1;\n-- migrate:down\n${statement};`)).toThrow(expect.objectContaining(expected))
    expect(up(`-- migrate:no-transaction\n${statement};`)).toHaveLength(1)
  })

  test.each([
    'SAVEPOINT a; ROLLBACK TO a; RELEASE a',
    'ROLLBACK WORK TO SAVEPOINT a',
    'ROLLBACK TRANSACTION TO a',
    'PREPARE p AS SELECT 1',
    'SELECT 1 AS commit',
    'DO $$ BEGIN COMMIT; END $$',
    'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END',
  ])('%s is not', statement => {
    expect(up(statement).length).toBeGreaterThan(0)
  })
})

test('the file is named when something is not closed', () => {
  expect(() => parse("SELECT 1;\nSELECT 'a")).toThrow(
    expect.objectContaining({ message: '001_a.sql: line 2: a string is not closed', migration: '001_a.sql', line: 2 }),
  )
})

test('a line is counted in characters as PostgreSQL counts them', () => {
  const text = "SELECT '😀😀😀',\n\n  x"
  expect(lineOf(text, 5, [...text].length)).toBe(7)
  expect(lineOf(text, 5, 1)).toBe(5)
})
