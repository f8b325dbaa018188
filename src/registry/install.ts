import { TenancyError } from '../errors.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { migrateDatabase } from '../migrations/migrate.ts'
import { readMigrations } from '../migrations/source.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { type Client, withAdmin } from '../postgres/connect.ts'
import {
  createClosedDatabase,
  dropDatabase,
  findDatabase,
  isUnpublished,
  publishDatabase,
} from '../postgres/databases.ts'
import { lockKey, withAdvisoryLock } from '../postgres/locks.ts'
import { query } from '../postgres/query.ts'
import { sqlstate, sqlstateOf } from '../postgres/sqlstate.ts'

const schema = 'tenantctl'
/** COMMENT ON DATABASE of a registry's own database; one that is shared with an application has none. */
export const registryMarker = 'tenantctl registry'
/** Databases to connect to while the registry's own is not there yet. */
const maintenanceDatabases = ['postgres', 'template1']
const lockWaitMs = 60_000

/** Applies the migrations that the registry lacks, under a lock. */
export async function migrateRegistry(address: ServerAddress, directory: string): Promise<void> {
  const migrations = await readMigrations(directory)
  await withAdmin(address, { doing: 'opening the registry' }, async client => {
    // The tables of the history live in the schema that the first migration makes.
    if ((await new MigrationHistory(client, schema).read()).length === 0) await createSchema(client)
    const options = { schema, tenant: 'registry', statementTimeoutMs: 0, waitMs: lockWaitMs }
    await migrateDatabase(client, migrations, options)
  })
}

async function createSchema(client: Client): Promise<void> {
  try {
    await query(client, 'creating schema tenantctl', 'CREATE SCHEMA IF NOT EXISTS tenantctl')
  } catch (error) {
    // IF NOT EXISTS does not hold when two do it at once; then the other has made it.
    if (sqlstateOf(error) !== sqlstate.uniqueViolation) throw error
  }
}

/** The database is made closed under a passing name, so that PUBLIC has never been able to connect to it. */
export async function createRegistryDatabase(address: ServerAddress): Promise<void> {
  await withMaintenance(address, client => {
    const wait = {
      timeoutMs: lockWaitMs,
      onTimeout: () => new TenancyError('TENANT_LOCKED', 'another run has been creating the registry for a minute'),
    }
    return withAdvisoryLock(client, lockKey('registry', address.database), wait, async () => {
      if (await findDatabase(client, address.database)) return
      const temporary = temporaryRegistryName(address.database)
      const leftover = await findDatabase(client, temporary)
      if (leftover && !isUnpublished(leftover)) {
        throw new TenancyError('DATABASE_EXISTS', `database "${temporary}" is in the way`, {
          hint: 'it does not look like one that tenantctl left behind: rename it',
        })
      }
      // Nobody can have been in it, so nothing can be in it.
      if (leftover) await dropDatabase(client, temporary)
      await createClosedDatabase(client, temporary)
      await publishDatabase(client, temporary, {
        name: address.database,
        marker: registryMarker,
        connectionLimit: -1,
      })
    })
  })
}

/** A registry database's name until PUBLIC has been shut out. */
export function temporaryRegistryName(database: string): string {
  return `tenantctl_new_${lockKey('registry database', database).replace('-', 'n')}`
}

async function withMaintenance<T>(address: ServerAddress, work: (client: Client) => Promise<T>): Promise<T> {
  let failure: unknown
  for (const database of maintenanceDatabases) {
    let connected = false
    try {
      return await withAdmin({ ...address, database }, { doing: 'creating the registry database' }, client => {
        connected = true
        return work(client)
      })
    } catch (error) {
      if (connected) throw error
      failure = error
    }
  }
  throw failure
}
