import { expect, test } from 'vitest'
import { lintMigrations } from '../../src/lint/lint.ts'
import { parseSqlMigration } from '../../src/migrations/sql-file.ts'

async function lint(sql: string): Promise<string[]> {
  const migration = {
    name: '001',
    file: '001.sql',
    checksum: '',
    sql: parseSqlMigration('001.sql', sql),
    load: () => Promise.reject(),
  }
  return (await lintMigrations([migration])).map(({ line, rule }) => `${line} ${rule}`)
}

test.each([
  ['CREATE INDEX i ON t (a)', 'index-not-concurrent'],
  ['CREATE UNIQUE INDEX i ON app.t (a)', 'index-not-concurrent'],
  ['CREATE INDEX CONCURRENTLY i ON t (a)', 'concurrently-in-transaction'],
  ['DROP INDEX i', 'index-not-concurrent'],
  ['REINDEX TABLE t', 'index-not-concurrent'],
  ['ALTER TABLE t ALTER a TYPE bigint', 'column-type-change'],
  ['ALTER TABLE t ALTER a SET NOT NULL', 'set-not-null'],
  ['ALTER TABLE t ADD a int NOT NULL', 'add-column-not-null'],
  ['ALTER TABLE t ADD a uuid DEFAULT gen_random_uuid()', 'add-column-rewrite'],
  ["ALTER TABLE t ADD a timestamptz NOT NULL DEFAULT (now() + random() * interval '1 s')", 'add-column-rewrite'],
  ['ALTER TABLE t ADD a bigserial', 'add-column-rewrite'],
  ['ALTER TABLE t ADD a int GENERATED ALWAYS AS IDENTITY', 'add-column-rewrite'],
  ['ALTER TABLE t ADD a int GENERATED ALWAYS AS (b * 2) STORED', 'add-column-rewrite'],
  ['ALTER TABLE t DROP COLUMN a', 'drop-column'],
  ['DROP TABLE t', 'drop-table'],
  ['ALTER TABLE t RENAME TO u', 'rename'],
  ['ALTER TABLE t RENAME a TO b', 'rename'],
  ['ALTER TABLE t ADD CHECK (a > 0)', 'constraint-not-valid'],
  ['ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u', 'constraint-not-valid'],
  ['ALTER TABLE t ADD a int REFERENCES u', 'constraint-not-valid'],
  ['ALTER TABLE t ADD UNIQUE (a)', 'constraint-index'],
  ['ALTER TABLE t ADD PRIMARY KEY (a)', 'constraint-index'],
  ['CLUSTER t USING i', 'table-rewrite'],
  ['ALTER TABLE t SET UNLOGGED', 'table-rewrite'],
  ['REFRESH MATERIALIZED VIEW v', 'table-rewrite'],
  ['LOCK TABLE t', 'lock-table'],
  ['SET LOCAL lock_timeout = 0', 'lock-timeout-disabled'],
  ["SET lock_timeout TO '0'", 'lock-timeout-disabled'],
  ['TRUNCATE t', 'truncate'],
  ['UPDATE t SET a = 1', 'update-all-rows'],
  ['DELETE FROM t', 'update-all-rows'],
  ['ALTER TABLE t ADDD a int', 'syntax-error'],
])('%s', async (sql, rule) => {
  expect(await lint(`\n${sql};`)).toEqual([`2 ${rule}`])
})

test.each(
  [
    '-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY i ON t (a)',
    '-- migrate:no-transaction\nVACUUM ANALYZE t',
    'CREATE TABLE t (a int NOT NULL UNIQUE); CREATE INDEX ON t (a); ALTER TABLE t ADD b int NOT NULL REFERENCES u; UPDATE t SET a = 1',
    'CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t ALTER a SET NOT NULL',
    'ALTER TABLE t ADD a int',
    'ALTER TABLE t ADD a timestamptz NOT NULL DEFAULT now()',
    "ALTER TABLE t ADD a text NOT NULL DEFAULT ''",
    'ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID',
    'ALTER TABLE t VALIDATE CONSTRAINT c',
    'ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i',
    'UPDATE t SET a = 1 WHERE a = 2',
    "SET lock_timeout = '1s'",
    'SET LOCAL lock_timeout TO DEFAULT',
    'DROP TABLE t, u',
  ].slice(0, -1),
)('nothing about: %s', async sql => {
  expect(await lint(sql)).toEqual([])
})

test('a comment above a statement allows what it names, there alone', async () => {
  const sql =
    '-- migrate:allow drop-table, rename\nDROP TABLE t;\nDROP TABLE u;\n-- migrate:allow rename\nDROP TABLE v;\n'
  expect(await lint(sql)).toEqual(['3 drop-table', '5 drop-table'])
})

test('only the up half is looked at, and its lines are those of the file', async () => {
  expect(await lint('SELECT 1;\n\n/* ü\n*/ DROP TABLE t;\n-- migrate:down\nDROP TABLE u;')).toEqual(['4 drop-table'])
})
