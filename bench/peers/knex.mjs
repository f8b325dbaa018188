/** knex.migrate.latest for many databases in one process: <folder> <table> <concurrency>, addresses on stdin. */
import createKnex from 'knex'
import { eachDatabase } from './each-database.mjs'

const [directory, tableName, concurrency] = process.argv.slice(2)
await eachDatabase(concurrency, async connection => {
  const knex = createKnex({ client: 'pg', connection, pool: { min: 0, max: 1 }, migrations: { directory, tableName } })
  await knex.migrate.latest()
  await knex.destroy()
})
