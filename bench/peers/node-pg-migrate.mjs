/** node-pg-migrate for many databases in one process: <folder> <concurrency>, addresses on stdin. */
import { runner } from 'node-pg-migrate'
import { eachDatabase } from './each-database.mjs'

const [dir, concurrency] = process.argv.slice(2)
await eachDatabase(concurrency, async databaseUrl => {
  await runner({ databaseUrl, dir, direction: 'up', migrationsTable: 'pgmigrations', log: () => undefined })
})
