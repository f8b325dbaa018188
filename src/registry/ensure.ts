import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { TenancyError } from '../errors.ts'
import { type Listener, notify } from '../events.ts'
import { sqlstate, sqlstateOf } from '../postgres/sqlstate.ts'
import type { RegistryConnection } from './connection.ts'

const directory = fileURLToPath(new URL('../../migrations/registry/', import.meta.url))

/**
 * Makes the registry be there and be of this version: creates its database on first use and applies the migrations it
 * lacks, under locks. Throws `REGISTRY_TOO_NEW` when a newer tenantctl has migrated it. Returns the registry's id.
 */
export async function ensureRegistry(registry: RegistryConnection, onEvent?: Listener): Promise<string> {
  const { address } = registry
  // Loaded where it is needed: once in a registry's life, and with a new version.
  const installation = () => import('./install.ts')
  let found: RegistryState
  try {
    found = await readState(registry)
  } catch (error) {
    const state = sqlstateOf(error)
    if (state === sqlstate.unknownDatabase) {
      notify(onEvent, { event: 'notice', message: `creating the registry database "${address.database}"` })
      await (await installation()).createRegistryDatabase(address)
    } else if (state !== sqlstate.undefinedTable && state !== sqlstate.invalidSchemaName) {
      throw error
    }
    await (await installation()).migrateRegistry(address, directory)
    return (await readState(registry)).id
  }
  if (await isCurrent(found.applied)) return found.id
  await (await installation()).migrateRegistry(address, directory)
  return found.id
}

interface RegistryState {
  id: string
  applied: string[]
}

async function readState(registry: RegistryConnection): Promise<RegistryState> {
  const rows = await registry.query<RegistryState>(
    'opening',
    'SELECT r.id, ARRAY(SELECT name::text FROM tenantctl.knex_migrations ORDER BY id) AS applied FROM tenantctl.registry r',
  )
  return rows[0] as RegistryState
}

/** Compares names alone: the files themselves are read when one of them is to be applied. */
async function isCurrent(applied: string[]): Promise<boolean> {
  const files = (await readdir(directory)).filter(file => file.endsWith('.sql'))
  const unknown = applied.filter(name => !files.includes(name))
  if (unknown.length > 0) {
    throw new TenancyError(
      'REGISTRY_TOO_NEW',
      `the registry was migrated by a newer tenantctl (${unknown.join(', ')})`,
      {
        hint: 'install that version, or a newer one: npm install tenantctl@latest',
      },
    )
  }
  return applied.length === files.length
}
