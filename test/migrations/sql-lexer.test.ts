import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { splitStatements } from '../../src/migrations/sql-lexer.ts'

const texts = (sql: string) => splitStatements(sql).map(statement => statement.text)

describe('splitting', () => {
  test.each<[what: string, sql: string, statements: string[]]>([
    ['nothing', '', []],
    ['white space, comments and semicolons', ' ;; -- x;\n/* ; */ ;\n', []],
    ['one without a semicolon', 'SELECT 1', ['SELECT 1']],
    ['two', 'SELECT 1; SELECT 2;', ['SELECT 1', 'SELECT 2']],
    ['a comment before a statement', '-- a; b\nSELECT 1', ['SELECT 1']],
    ['a comment inside', 'SELECT 1 -- ;\n, 2; SELECT 3', ['SELECT 1 -- ;\n, 2', 'SELECT 3']],
    ['nested comments', 'SELECT /* a /* ; */ b; */ 1; SELECT 2', ['SELECT /* a /* ; */ b; */ 1', 'SELECT 2']],
    ['a comment that opens like /*/', 'SELECT /*/ ; */ 1; SELECT 2', ['SELECT /*/ ; */ 1', 'SELECT 2']],
    ['a string', "SELECT ';--'; SELECT 2", ["SELECT ';--'", 'SELECT 2']],
    ['a doubled quote', "SELECT 'it''s;'; SELECT 2", ["SELECT 'it''s;'", 'SELECT 2']],
    ['a backslash in a plain string', "SELECT '\\'; SELECT 2", ["SELECT '\\'", 'SELECT 2']],
    ["a backslash in an E'' string", "SELECT E'\\';'; SELECT 2", ["SELECT E'\\';'", 'SELECT 2']],
    ["a backslash in an e'' string", "SELECT e'\\\\'; SELECT 2", ["SELECT e'\\\\'", 'SELECT 2']],
    ['a type that ends in e before a string', "SELECT date'\\'; SELECT 2", ["SELECT date'\\'", 'SELECT 2']],
    [
      'U& strings and identifiers',
      `SELECT U&'\\0061;' AS U&"b;"; SELECT 2`,
      [`SELECT U&'\\0061;' AS U&"b;"`, 'SELECT 2'],
    ],
    ['a quoted identifier', 'SELECT 1 AS "a;""b"; SELECT 2', ['SELECT 1 AS "a;""b"', 'SELECT 2']],
    ['a dollar quote', 'SELECT $$a;b$$; SELECT 2', ['SELECT $$a;b$$', 'SELECT 2']],
    [
      'a tagged one with another in it',
      'SELECT $a$ $$;$$ $b$ ; $a$; SELECT 2',
      ['SELECT $a$ $$;$$ $b$ ; $a$', 'SELECT 2'],
    ],
    ['a tag in other letters', 'SELECT $é1$;$é1$; SELECT 2', ['SELECT $é1$;$é1$', 'SELECT 2']],
    ['dollars in an identifier', 'SELECT a$b$; SELECT c$b$', ['SELECT a$b$', 'SELECT c$b$']],
    ['a parameter is no dollar quote', 'SELECT $1; SELECT $1', ['SELECT $1', 'SELECT $1']],
    ['a quote in a dollar quote', "DO $$ it's $$; SELECT 2", ["DO $$ it's $$", 'SELECT 2']],
    [
      'parentheses',
      'CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3',
      ['CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)', 'SELECT 3'],
    ],
    ['a stray parenthesis', 'SELECT 1); SELECT 2', ['SELECT 1)', 'SELECT 2']],
    ['carriage returns', 'SELECT 1;\r\nSELECT 2;\r\n', ['SELECT 1', 'SELECT 2']],
    ['a minus before a number', 'SELECT 1 - -1; SELECT 2', ['SELECT 1 - -1', 'SELECT 2']],
    ['letters from elsewhere', 'SELECT 1 AS größe; SELECT 2 AS 名前', ['SELECT 1 AS größe', 'SELECT 2 AS 名前']],
  ])('%s', (_, sql, statements) => {
    expect(texts(sql)).toEqual(statements)
  })
})

describe('BEGIN ATOMIC', () => {
  const after = 'SELECT 2'
  test.each([
    'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END',
    'CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END',
    'create procedure p(a int) begin atomic; insert into t values (a); end',
    'CREATE OR REPLACE PROCEDURE "end"() BEGIN ATOMIC SELECT 1; END',
    'CREATE FUNCTION f("begin" int) RETURNS int LANGUAGE sql AS $$ SELECT 1; $$',
    'CREATE FUNCTION f(begin int, "end" text DEFAULT \'begin\') RETURNS int LANGUAGE sql AS $$ SELECT 1; $$',
    'CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$',
    'CREATE TABLE begin_atomic (case_begin int)',
    'CREATE VIEW v AS SELECT CASE WHEN true THEN 1 END AS "begin"',
  ])('%s', statement => {
    expect(texts(`${statement};\n${after}`)).toEqual([statement, after])
  })

  test('BEGIN by itself is a statement', () => {
    expect(texts('BEGIN; SELECT 1; END; SELECT 2')).toEqual(['BEGIN', 'SELECT 1', 'END', 'SELECT 2'])
  })
})

describe('lines and words', () => {
  test('of each statement', () => {
    const sql = '-- first\n\nSELECT 1;\n/* a\nb */ ALTER  TABLE "x"\n RENAME TO y; SELECT $$\n\n$$;\r\nCOMMIT'
    expect(splitStatements(sql).map(({ line, words }) => [line, words])).toEqual([
      [3, ['select']],
      [5, ['alter', 'table', 'rename', 'to', 'y']],
      [6, ['select']],
      [9, ['commit']],
    ])
  })

  test('count from the line given', () => {
    expect(splitStatements('\nSELECT 1', 10)[0]?.line).toBe(11)
  })

  test('of fifty thousand statements in a moment', () => {
    const startedAt = performance.now()
    const statements = splitStatements("INSERT INTO t VALUES (1, 'some text');\n".repeat(50_000))
    expect(statements.at(-1)?.line).toBe(50_000)
    expect(performance.now() - startedAt).toBeLessThan(2_000)
  })
})

describe('what is not closed is refused with its line', () => {
  test.each([
    ['a string', "SELECT 1;\nSELECT 'it", 2],
    ["an E'' string that ends in a backslash", "SELECT E'\\'", 1],
    ['a quoted identifier', 'SELECT 1;\n\nSELECT "a', 3],
    ['a comment', 'SELECT 1; /* a /* b */', 1],
    ['a dollar quote', 'SELECT 1;\nDO $a$ x $b$', 2],
  ])('%s', (_, sql, line) => {
    const expected = { code: 'MIGRATIONS_INVALID', line, message: expect.stringContaining(`line ${line}: `) }
    expect(() => splitStatements(sql)).toThrow(expect.objectContaining(expected))
  })
})

describe('properties', () => {
  const filler = fc.string({ unit: fc.constantFrom('a', ';', "'", '"', '$', '\\', '-', '/', '*', '\n', '(', 'é', ' ') })
  const piece = fc.oneof(
    filler.map(text => `'${text.replaceAll("'", "''")}'`),
    filler.map(text => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`),
    filler.map(text => `"x${text.replaceAll('"', '""')}"`),
    filler.map(text => `$q$${text.replaceAll('$', '')}$q$`),
    filler.map(text => `/*${text.replaceAll(/[*/]/g, '')}/* ; */*/`),
    filler.map(text => `--${text.replaceAll('\n', '')}\n`),
    fc.constantFrom('1', '$1', 'name', 'größe', '(1; 2)', ',', '::int', '+', 'case', 'end', 'begin'),
  )
  const statement = fc.array(piece, { maxLength: 8 }).map(pieces => `select ${pieces.join(' ')}`)

  test('statements that are put together come apart as they were', () => {
    fc.assert(
      fc.property(fc.array(statement, { maxLength: 6 }), statements => {
        expect(texts(statements.map(each => `${each};`).join('\n'))).toEqual(statements.map(each => each.trimEnd()))
      }),
    )
  })

  test('every line is the one on which its statement begins', () => {
    fc.assert(
      fc.property(fc.array(statement, { minLength: 1, maxLength: 6 }), statements => {
        const sql = statements.map(each => `${each};`).join('\n')
        const lines = sql.split('\n')
        for (const { text, line } of splitStatements(sql)) {
          expect(lines.slice(line - 1).join('\n')).toContain(text)
          expect(lines[line - 1]).toContain(text.split('\n')[0])
        }
      }),
    )
  })

  test('whatever the text, it is split or refused, and nothing but space, comments and semicolons is left out', () => {
    fc.assert(
      fc.property(filler, sql => {
        let parts: string[]
        try {
          parts = texts(sql)
        } catch (error) {
          expect(error).toMatchObject({ code: 'MIGRATIONS_INVALID' })
          return
        }
        let rest = sql
        for (const part of parts) {
          const at = rest.indexOf(part)
          expect(at).toBeGreaterThanOrEqual(0)
          rest = rest.slice(at + part.length)
        }
      }),
      { numRuns: 500 },
    )
  })
})
