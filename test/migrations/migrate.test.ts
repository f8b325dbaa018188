import { renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { beforeEach, describe, expect, test } from 'vitest'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'
import { type Bench, makeBench } from './support.ts'

const namespace = useNamespace()
let bench: Bench

beforeEach(async () => {
  bench = await makeBench(namespace)
})

const ts = (table: string) => `
  import type { Knex } from 'knex'
  export async function up(knex: Knex): Promise<void> { await knex.schema.createTable('${table}', t => { t.increments() }) }
  export async function down(knex: Knex): Promise<void> { await knex.schema.dropTable('${table}') }`

const tables = async () => {
  const rows = await bench.sql<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname NOT LIKE 'knex%' AND relname NOT LIKE 'tenantctl%' ORDER BY relname`,
  )
  return rows.map(row => row.name)
}

describe('files', () => {
  const all = {
    '002_b.js': `exports.up = knex => knex.schema.createTable('b', t => { t.integer('a').references('a.id') })
      exports.down = knex => knex.schema.dropTable('b')`,
    '001_a.sql': 'CREATE TABLE a (id int PRIMARY KEY);\n-- migrate:down\nDROP TABLE a;',
    '10_e.sql': 'ALTER TABLE d ADD x int;\n-- migrate:down\nALTER TABLE d DROP x;',
    '003_c.ts': ts('c'),
    '004_d.mjs': `export const up = knex => knex.schema.createTable('d', t => { t.increments() })
      export const down = knex => knex.schema.dropTable('d')`,
  }

  test('of every kind run in the order of their names, and back', async () => {
    bench.write(all)
    const names = ['001_a', '002_b', '003_c', '004_d', '10_e']
    expect(await bench.migrate()).toEqual({ from: null, to: '10_e', ran: names, applied: names })
    expect(await bench.applied()).toEqual(['001_a.sql', '002_b.js', '003_c.ts', '004_d.mjs', '10_e.sql'])
    expect(await tables()).toEqual(['a', 'b', 'c', 'd'])
    expect(await bench.migrate()).toEqual({ from: '10_e', to: '10_e', ran: [], applied: names })

    expect(await bench.migrate({ rollback: { steps: 2 } })).toMatchObject({ to: '003_c', ran: ['10_e', '004_d'] })
    expect(await tables()).toEqual(['a', 'b', 'c'])
    expect(await bench.migrate({ rollback: { to: '001_a.sql' } })).toMatchObject({
      to: '001_a',
      ran: ['003_c', '002_b'],
    })
    expect(await bench.migrate({ to: '003_c' })).toMatchObject({ from: '001_a', ran: ['002_b', '003_c'] })
    expect(await bench.migrate({ rollback: { steps: 99 } })).toMatchObject({ to: null, applied: [] })
    expect(await tables()).toEqual([])
  })

  test('whose names are not known, or not applied, are told', async () => {
    bench.write(all)
    expect(await bench.failure({ to: '009_x' })).toMatchObject({ code: 'MIGRATION_NOT_FOUND' })
    expect(await bench.failure({ rollback: { to: '009_x' } })).toMatchObject({ code: 'MIGRATION_NOT_FOUND' })
    expect(await bench.failure({ rollback: { to: '003_c' } })).toMatchObject({ code: 'MIGRATION_OUT_OF_ORDER' })
  })

  test('may change their extension after they were applied', async () => {
    bench.write({ '001_a.ts': ts('a') })
    await bench.migrate()
    renameSync(join(bench.directory, '001_a.ts'), join(bench.directory, '001_a.mts'))
    expect(await bench.migrate()).toMatchObject({ ran: [] })
    expect(await bench.migrate({ rollback: { steps: 1 } })).toMatchObject({ ran: ['001_a'] })
    expect(await bench.applied()).toEqual([])
  })

  test('that the folder lacks are MIGRATION_MISSING, up and down', async () => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ()', '002_b.sql': 'CREATE TABLE b ()' })
    await bench.migrate()
    rmSync(join(bench.directory, '002_b.sql'))
    bench.write({ '003_c.sql': 'CREATE TABLE c ()' })
    const expected = { code: 'MIGRATION_MISSING', message: expect.stringContaining('002_b') }
    expect(await bench.failure()).toMatchObject(expected)
    expect(await bench.failure({ rollback: { steps: 1 } })).toMatchObject(expected)
    expect(await tables()).toEqual(['a', 'b'])
  })

  test('without a way back stop a rollback there', async () => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ()', '002_b.mjs': 'export const up = () => undefined' })
    await bench.migrate()
    expect(await bench.failure({ rollback: { steps: 1 } })).toMatchObject({
      code: 'MIGRATION_FAILED',
      migration: '002_b.mjs',
      hint: expect.stringContaining('down'),
    })
    expect(await bench.applied()).toHaveLength(2)
  })

  test.each([
    ['002_b.mjs', 'export const up = 1', 'does not export a function "up"'],
    ['002_b.ts', 'export const up = (', 'cannot be loaded'],
    ['b.sql', 'SELECT 1', 'is not named like NNN_name'],
    ['001_a.ts', ts('a'), 'more than once'],
    ['002_b.sql', 'CREATE TABLE b (); COMMIT;', 'COMMIT would end the transaction'],
  ])('%s that cannot be used (%j) touches nothing', async (file, content, message) => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ()', [file]: content })
    expect(await bench.failure()).toMatchObject({
      code: 'MIGRATIONS_INVALID',
      migration: file,
      message: expect.stringContaining(message),
    })
    expect(await tables()).toEqual([])
  })
})

describe('a failing file', () => {
  test.each<[what: string, file: string, expected: object]>([
    [
      'a syntax error',
      'CREATE TABLE b ();\n\nCREATE TABLE c (\n  id int,\n  name txt NULL NULL,,\n);',
      {
        line: 5,
        sqlstate: '42601',
        message: expect.stringMatching(/^002_b\.sql, line 5: syntax error at or near ","/),
      },
    ],
    [
      'a name that is not there, behind letters of several bytes',
      "SELECT '😀ö';\nSELECT '😀😀',\n  nowhere;",
      { line: 3, sqlstate: '42703', message: expect.stringContaining('column "nowhere" does not exist') },
    ],
    [
      'a violated key in a later statement',
      'CREATE TABLE b (id int PRIMARY KEY);\nINSERT INTO b VALUES (1);\n\nINSERT INTO b VALUES (1);',
      { line: 4, sqlstate: '23505', message: expect.stringContaining('duplicate key value') },
    ],
    [
      'an exception inside of a DO block',
      "CREATE TABLE b ();\nDO $$\nBEGIN\n  PERFORM 1;\n  RAISE EXCEPTION 'not today';\nEND\n$$;",
      { line: 5, sqlstate: 'P0001', message: '002_b.sql, line 5: not today' },
    ],
    [
      'an error of a statement inside of a DO block',
      'CREATE TABLE b ();\nDO LANGUAGE plpgsql $body$ BEGIN\n  INSERT INTO nowhere VALUES (1);\nEND $body$;',
      { line: 3, sqlstate: '42P01' },
    ],
    [
      'a syntax error inside of a DO block',
      'CREATE TABLE b ();\nDO $$\nBEGIN\n  IF true THAN\n  END IF;\nEND\n$$;',
      { line: 5, sqlstate: '42601' },
    ],
    [
      'a function of an earlier statement',
      "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n\n  RAISE 'deep';\nEND $$;\nSELECT\n f();",
      { line: 6, message: '002_b.sql, line 6: deep' },
    ],
    ['COMMIT inside of a DO block', 'CREATE TABLE b ();\nDO $$ BEGIN COMMIT; END $$;', { line: 2, sqlstate: '2D000' }],
    [
      'a deferred constraint at the end',
      'CREATE TABLE b (id int PRIMARY KEY, up int REFERENCES b DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO b VALUES (1, 2);',
      { sqlstate: '23503' },
    ],
  ])('%s: file, line and message, and nothing of it stays', async (_, content, expected) => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ()', '002_b.sql': content, '003_c.sql': 'CREATE TABLE c ()' })
    expect(await bench.failure()).toMatchObject({ code: 'MIGRATION_FAILED', migration: '002_b.sql', ...expected })
    expect(await bench.applied()).toEqual(['001_a.sql'])
    expect(await tables()).toEqual(['a'])
    bench.write({ '002_b.sql': 'CREATE TABLE b ()' })
    expect(await bench.migrate()).toMatchObject({ from: '001_a', ran: ['002_b', '003_c'] })
  })

  test('of JavaScript likewise', async () => {
    bench.write({
      '001_a.mjs': `export async function up(knex) { await knex.schema.createTable('a', () => {}); await knex('nowhere').insert({ x: 1 }) }`,
    })
    expect(await bench.failure()).toMatchObject({
      code: 'MIGRATION_FAILED',
      migration: '001_a.mjs',
      sqlstate: '42P01',
      message: expect.stringContaining('relation "nowhere" does not exist'),
    })
    expect(await tables()).toEqual([])
  })
})

test('settings of one file do not reach the next', async () => {
  const other = `${namespace.prefix}_other_${bench.database.slice(-3)}`
  await namespace.superSql(`CREATE ROLE ${other}; GRANT ${other} TO ${namespace.prefix}_admin`)
  await namespace.superSql(`GRANT CREATE ON SCHEMA public TO PUBLIC`, [], bench.database)
  bench.write({
    '001_a.sql': `CREATE SCHEMA elsewhere; SET search_path TO elsewhere; SET statement_timeout = 50; SET ROLE ${other};`,
    '002_b.sql': 'CREATE TABLE b (); SELECT pg_sleep(0.1); CREATE TABLE seen AS SELECT current_user::text AS role;',
    '003_c.mjs': `export async function up(knex) {
      await knex.raw('SET search_path TO elsewhere'); await knex.raw('SET ROLE ${other}'); await knex.raw('SET SESSION statement_timeout = 50') }`,
    '004_d.mjs': `export const config = { transaction: false }
      export async function up(knex) { await knex.raw('SELECT pg_sleep(0.1)'); await knex.raw('CREATE TABLE d ()') }`,
    '005_e.sql': `-- migrate:no-transaction\nSET search_path TO elsewhere; SET ROLE ${other};`,
    '006_f.sql': 'CREATE TABLE f ()',
  })
  expect((await bench.migrate()).ran).toHaveLength(6)
  expect(await tables()).toEqual(['b', 'd', 'f', 'seen'])
  expect(await bench.sql('SELECT role FROM seen')).toEqual([{ role: `${namespace.prefix}_admin` }])
})

describe('without a transaction', () => {
  const script = `-- migrate:no-transaction
CREATE TABLE b (id int);
INSERT INTO b VALUES (1), (1);
CREATE UNIQUE INDEX CONCURRENTLY b_id ON b (id);
INSERT INTO b VALUES (2);
-- migrate:down
DROP INDEX CONCURRENTLY b_id;
DROP TABLE b;`

  test('a failed CREATE INDEX CONCURRENTLY is built anew by the next run, which goes on at that statement', async () => {
    bench.write({ '001_b.sql': script, '002_c.sql': 'CREATE TABLE c ();\n-- migrate:down\nDROP TABLE c;' })
    expect(await bench.failure()).toMatchObject({
      code: 'MIGRATION_FAILED',
      migration: '001_b.sql',
      line: 4,
      sqlstate: '23505',
    })
    expect(await bench.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'b_id'::regclass")).toEqual([
      { indisvalid: false },
    ])
    expect(await tables()).toEqual(['b'])
    await bench.sql('DELETE FROM b WHERE ctid = (SELECT min(ctid) FROM b)')
    expect(await bench.migrate()).toMatchObject({ ran: ['001_b', '002_c'] })
    expect(await bench.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'b_id'::regclass")).toEqual([
      { indisvalid: true },
    ])
    expect(await bench.sql('SELECT id FROM b ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }])
    expect(await bench.sql('SELECT * FROM tenantctl_unfinished_migrations')).toEqual([])
    expect(bench.events).toContainEqual(
      expect.objectContaining({ event: 'notice', message: expect.stringContaining('b_id') }),
    )
    expect(await bench.migrate({ rollback: { to: '001_b' } })).toMatchObject({ ran: ['002_c'] })
    expect(await bench.migrate({ rollback: { steps: 1 } })).toMatchObject({ ran: ['001_b'] })
  })

  test('what was cut off in the middle goes on at that statement, and nothing is done twice', async () => {
    bench.write({
      '001_b.sql': `-- migrate:no-transaction
CREATE TABLE b (n int);
INSERT INTO b VALUES (1);
UPDATE b SET n = n + 1;
SELECT pg_sleep(60) WHERE NOT EXISTS (SELECT FROM pg_tables WHERE tablename = 'go_on');
UPDATE b SET n = n + 10;
VACUUM b;`,
    })
    const cut = bench.failure()
    await untilRunning('%pg_sleep(60)%')
    await namespace.superSql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%pg_sleep(60)%'`,
      [bench.database],
    )
    expect(await cut).toMatchObject({ code: 'CONNECTION_FAILED', migration: '001_b.sql', line: 5 })
    await bench.sql('CREATE TABLE go_on ()')
    expect((await bench.migrate()).ran).toEqual(['001_b'])
    expect(await bench.sql('SELECT n FROM b')).toEqual([{ n: 12 }])
  })

  test('a statement and the note that it was done are one', async () => {
    // The note is what fails: as if we had been killed right after the statement.
    bench.write({
      '001_b.sql':
        '-- migrate:no-transaction\nCREATE TABLE b (n int);\nINSERT INTO b VALUES (1);\nUPDATE b SET n = n + 1;',
    })
    await bench.sql(`CREATE TABLE tenantctl_unfinished_migrations (name text PRIMARY KEY, checksum text NOT NULL, statements_done int NOT NULL CHECK (statements_done < 3),
      started_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())`)
    await bench.failure()
    await bench.sql(
      'ALTER TABLE tenantctl_unfinished_migrations DROP CONSTRAINT tenantctl_unfinished_migrations_statements_done_check',
    )
    await bench.migrate()
    expect(await bench.sql('SELECT n FROM b')).toEqual([{ n: 2 }])
  })

  test('its own BEGIN and COMMIT are left to it', async () => {
    bench.write({
      '001_b.sql':
        '-- migrate:no-transaction\nCREATE TABLE b (n int);\nBEGIN;\nINSERT INTO b VALUES (1);\nINSERT INTO b VALUES (1 / 0);\nCOMMIT;\nVACUUM b;',
    })
    expect(await bench.failure()).toMatchObject({ line: 5, sqlstate: '22012' })
    expect(await bench.sql('SELECT * FROM b')).toEqual([])
    expect(await bench.sql('SELECT statements_done FROM tenantctl_unfinished_migrations')).toEqual([
      { statements_done: 1 },
    ])
  })

  test('a procedure may commit, and is one statement', async () => {
    bench.write({
      '001_b.sql': `-- migrate:no-transaction
CREATE TABLE b (n int);
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..3 LOOP INSERT INTO b VALUES (i); COMMIT; END LOOP; END $$;
CALL fill();`,
    })
    await bench.migrate()
    expect(await bench.sql('SELECT count(*)::int FROM b')).toEqual([{ count: 3 }])
  })

  test('a file that was begun may be corrected, but not in what was done', async () => {
    bench.write({ '001_b.sql': '-- migrate:no-transaction\nCREATE TABLE b ();\nSELECT 1/0;' })
    await bench.failure()
    bench.write({ '001_b.sql': '-- migrate:no-transaction\nCREATE TABLE x ();\nCREATE TABLE b ();' })
    expect(await bench.failure()).toMatchObject({ code: 'MIGRATION_CHANGED', migration: '001_b.sql' })
    bench.write({ '001_b.sql': '-- migrate:no-transaction\nCREATE TABLE b ();\nCREATE TABLE c ();' })
    expect(await bench.migrate()).toMatchObject({ ran: ['001_b'] })
    expect(await tables()).toEqual(['b', 'c'])
  })
})

describe('two runs at once', () => {
  test('apply everything once; the second says that it waits', async () => {
    bench.write({
      '001_a.sql': 'CREATE TABLE a (n int); SELECT pg_sleep(0.2);',
      '002_b.sql': '-- migrate:no-transaction\nINSERT INTO a VALUES (1);',
      '003_c.mjs': 'export const config = { transaction: false }; export const up = knex => knex("a").insert({ n: 2 })',
    })
    const runs = await Promise.all([bench.migrate(), bench.migrate(), bench.migrate()])
    expect(runs.map(run => run.ran.length).sort()).toEqual([0, 0, 3])
    expect(await bench.sql('SELECT n FROM a ORDER BY n')).toEqual([{ n: 1 }, { n: 2 }])
    expect(bench.events.filter(event => event.event === 'waiting')).toHaveLength(2)
  })

  test('the second gives up in the end', async () => {
    bench.write({ '001_a.sql': 'SELECT pg_sleep(0.5)' })
    const first = bench.migrate()
    await untilRunning('%pg_sleep(0.5)%')
    expect(await bench.failure({ waitMs: 50 })).toMatchObject({ code: 'TENANT_LOCKED', tenant: 'acme' })
    expect((await first).ran).toEqual(['001_a'])
  })
})

test('an abort cancels the running statement and leaves nothing of its file', async () => {
  bench.write({ '001_a.sql': 'CREATE TABLE a ()', '002_b.sql': 'CREATE TABLE b (); SELECT pg_sleep(60);' })
  const controller = new AbortController()
  const run = bench.failure({ signal: controller.signal })
  await untilRunning('%pg_sleep(60)%')
  controller.abort()
  expect(await run).toMatchObject({ sqlstate: '57014' })
  expect(await tables()).toEqual(['a'])
})

describe('locks', () => {
  test('that are not granted in time name who holds them', async () => {
    bench.write({ '001_a.sql': 'CREATE TABLE a (n int)' })
    await bench.migrate()
    const holder = new pg.Client({ connectionString: bench.url, application_name: 'reporting' })
    await holder.connect()
    await holder.query('BEGIN; SELECT * FROM a')
    const { rows } = await holder.query('SELECT pg_backend_pid() AS pid')
    bench.write({
      '002_b.sql': 'SELECT 1;\nALTER TABLE a ADD x int;',
      '003_c.mjs': `export const up = knex => knex.schema.alterTable('a', t => { t.integer('y') })`,
    })
    try {
      expect(await bench.failure({ to: '002_b' })).toMatchObject({
        code: 'LOCK_TIMEOUT',
        migration: '002_b.sql',
        line: 2,
        sqlstate: '55P03',
        hint: expect.stringContaining(`pid ${rows[0].pid} (${namespace.prefix}_admin, reporting, idle in transaction`),
      })
    } finally {
      await holder.query('COMMIT')
    }
    await bench.migrate({ to: '002_b' })
    await holder.query('BEGIN; SELECT * FROM a')
    expect(await bench.failure()).toMatchObject({
      code: 'LOCK_TIMEOUT',
      migration: '003_c.mjs',
      hint: expect.stringContaining('on a)'),
    })
    await holder.end()
    expect((await bench.migrate()).ran).toEqual(['003_c'])
  })

  test('a statement that takes too long is cancelled', async () => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ();\nSELECT pg_sleep(60);' })
    expect(await bench.failure({ statementTimeoutMs: 50 })).toMatchObject({ code: 'STATEMENT_TIMEOUT', line: 2 })
    expect(await tables()).toEqual([])
  })

  test('a knex_migrations_lock that was left set is explained', async () => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ()' })
    await bench.migrate()
    await bench.sql('UPDATE knex_migrations_lock SET is_locked = 1')
    bench.write({ '002_b.sql': 'CREATE TABLE b ()' })
    expect(await bench.failure({ waitMs: 0 })).toMatchObject({
      code: 'MIGRATIONS_LOCKED',
      tenant: 'acme',
      hint: expect.stringMatching(/left behind: UPDATE knex_migrations_lock SET is_locked = 0/),
    })
    await bench.sql('UPDATE knex_migrations_lock SET is_locked = 0')
    expect((await bench.migrate()).ran).toEqual(['002_b'])
  })

  test('a knex CLI cannot take its lock while a file runs', async () => {
    bench.write({ '001_a.sql': 'CREATE TABLE a ()' })
    await bench.migrate()
    bench.write({ '002_b.sql': 'SELECT pg_sleep(0.5)' })
    const run = bench.migrate()
    await untilRunning('%pg_sleep(0.5)%')
    const attempt = sql(
      bench.url,
      `SET lock_timeout = 50; UPDATE knex_migrations_lock SET is_locked = 1 WHERE is_locked = 0`,
    )
    await expect(attempt).rejects.toMatchObject({ code: '55P03' })
    await run
  })
})

async function untilRunning(like: string): Promise<void> {
  for (const until = Date.now() + 5_000; Date.now() < until; await sleep(10)) {
    const rows = await namespace.superSql(
      `SELECT FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query LIKE $2`,
      [bench.database, like],
    )
    if (rows.length > 0) return
  }
  throw new Error(`nothing like ${like} ran`)
}
