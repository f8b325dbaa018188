import { expect, test } from 'vitest'
import { createTenancy } from '../../src/index.ts'
import { sql } from '../support/client.ts'
import { useNamespace } from '../support/namespace.ts'

const namespace = useNamespace()

test('tenants are grouped by what their schemas hold, and the difference is told', async () => {
  await namespace.writeMigrations({
    '001.sql': `CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL, age int CHECK (age > 0));
      CREATE INDEX users_email ON users (lower(email));
      CREATE TYPE mood AS ENUM ('sad', 'ok');
      CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      CREATE VIEW adults AS SELECT * FROM users WHERE age > 17;
      CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
      CREATE TABLE parts (a int) PARTITION BY RANGE (a);
      ALTER TABLE users ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON users USING (email = current_user);`,
  })
  const tenancy = namespace.track(createTenancy(namespace.config()))
  for (const name of ['a1', 'a2', 'a3', 'odd', 'odder']) await tenancy.tenants.create({ name })
  const alike = await tenancy.drift.check({ all: true })
  expect(alike.failures).toEqual([])
  expect(alike.groups).toMatchObject([{ total: 5, difference: null }])

  const run = async (slug: string, text: string) => sql((await tenancy.tenants.url(slug)).reveal(), text)
  await run('odd', 'DROP INDEX users_email; ALTER TABLE users ADD note text')
  await run(
    'odder',
    "ALTER TABLE users ALTER email DROP NOT NULL; ALTER TYPE mood ADD VALUE 'great'; CREATE SCHEMA extra",
  )
  // What a tenant plants must not be taken for pg_catalog's own, nor a row count matter.
  await run(
    'a2',
    "CREATE FUNCTION pg_get_indexdef(oid) RETURNS text LANGUAGE sql AS 'SELECT $$planted$$'; DROP FUNCTION public.pg_get_indexdef(oid)",
  )
  await run('a3', "INSERT INTO users (email) VALUES ('x')")

  const { groups, failed } = await tenancy.drift.check({ all: true })
  expect(failed).toBe(0)
  expect(groups.map(({ tenants }) => tenants)).toEqual([['a1', 'a2', 'a3'], ['odd'], ['odder']])
  expect(groups[1]?.difference).toMatchObject({
    missing: ['index public.users_email'],
    extra: ['column public.users.note'],
    changed: [],
  })
  expect(groups[2]?.difference).toEqual({
    missing: [],
    extra: ['schema extra'],
    changed: [
      { object: 'column public.users.email', expected: 'text not null', found: 'text' },
      { object: 'enum public.mood', expected: 'sad, ok', found: 'sad, ok, great' },
    ],
  })
  await tenancy.close()
})

test('groups of one size come in the order of their tenants, whichever answers first', async () => {
  const tenancy = namespace.track(createTenancy(namespace.config()))
  for (const name of ['y', 'z', 'x']) {
    await tenancy.tenants.create({ name })
    await sql((await tenancy.tenants.url(name)).reveal(), `CREATE TABLE only_${name} (id int)`)
  }
  const { groups } = await tenancy.drift.check({ tenants: ['z', 'y', 'x'] }, { concurrency: 1 })
  expect(groups.map(({ tenants }) => tenants)).toEqual([['x'], ['y'], ['z']])
  await tenancy.close()
})
