/** umzug for many databases in one process: <folder> <concurrency>, addresses on stdin. It leaves the storage to us. */
import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { Umzug } from 'umzug'
import { eachDatabase } from './each-database.mjs'

const [directory, concurrency] = process.argv.slice(2)
await eachDatabase(concurrency, async connectionString => {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query('CREATE TABLE IF NOT EXISTS umzug_migrations (name text PRIMARY KEY)')
  const umzug = new Umzug({
    migrations: {
      glob: ['*.sql', { cwd: directory }],
      resolve: ({ name, path }) => ({ name, up: async () => client.query(await readFile(path, 'utf8')) }),
    },
    storage: {
      executed: async () => (await client.query('SELECT name FROM umzug_migrations')).rows.map(row => row.name),
      logMigration: async ({ name }) => {
        await client.query('INSERT INTO umzug_migrations VALUES ($1)', [name])
      },
      unlogMigration: async ({ name }) => {
        await client.query('DELETE FROM umzug_migrations WHERE name = $1', [name])
      },
    },
    logger: undefined,
  })
  await umzug.up()
  await client.end()
})
