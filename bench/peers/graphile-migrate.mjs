/** graphile-migrate for many databases in one process: <folder> <concurrency>, addresses on stdin. */
import { Logger } from '@graphile/logger'
import { migrate } from 'graphile-migrate'
import { eachDatabase } from './each-database.mjs'

const [migrationsFolder, concurrency] = process.argv.slice(2)
const logger = new Logger(() => () => undefined)
await eachDatabase(concurrency, connectionString => migrate({ connectionString, migrationsFolder, logger }))
