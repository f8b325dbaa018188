import { asTenancyError, type ErrorReport } from '../errors.ts'
import { databaseLockKey } from '../migrations/database-lock.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { connect, withAdmin } from '../postgres/connect.ts'
import { publicMayCreate } from '../postgres/harden.ts'
import {
  type DatabaseEntry,
  listDatabases,
  listRoles,
  type PreparedTransaction,
  preparedTransactions,
  type RoleEntry,
  type ServerFacts,
  serverFacts,
} from '../postgres/inventory.ts'
import { heldAdvisoryLocks, lockId } from '../postgres/locks.ts'
import { type PoolerMode, poolerMode } from '../postgres/pooler.ts'
import { reach, tenantLockKey } from '../provisioning/lock.ts'
import { markerStart } from '../provisioning/marker.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import type { RegisteredTenant } from '../registry/inventory.ts'
import type { ReadyTenant } from '../registry/ready-tenants.ts'
import type { UnfinishedOperation } from '../registry/unfinished.ts'

/** A server as its maintenance database shows it, in a handful of queries however many tenants it has. */
export interface ServerSnapshot {
  server: string
  address: ServerAddress
  facts: ServerFacts
  pooler: PoolerMode
  databases: ReadonlyMap<string, DatabaseEntry>
  roles: ReadonlyMap<string, RoleEntry>
  prepared: readonly PreparedTransaction[]
  /** Advisory locks that are held, as `lockId` writes them. */
  locks: ReadonlySet<string>
  /** Whether everybody may make objects in template1; undefined from PostgreSQL 15 on, or where it cannot be seen. */
  template1IsOpen: boolean | undefined
}

/** Everything that the checks compare, read once. */
export interface Snapshot {
  servers: readonly ServerSnapshot[]
  unreachable: readonly { server: string; error: ErrorReport }[]
  tenants: readonly RegisteredTenant[]
  unfinished: readonly UnfinishedOperation[]
  /** The stock, as it was before the servers were read. */
  stock: readonly ReadyTenant[]
}

export async function takeSnapshot(
  parts: ProvisioningParts,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Snapshot> {
  // An operation is written down while its lock is held, and a row is there before its database and goes after it: in
  // this order, what is being made or dropped right now does not look broken.
  const unfinished = await parts.unfinished.list()
  const stock = await parts.ready.list()
  const read = await Promise.all(
    names.map(async server => {
      try {
        return { snapshot: await readServer(parts, server, signal) }
      } catch (error) {
        return { failure: { server, error: asTenancyError(error).toJSON() } }
      }
    }),
  )
  const tenants = await parts.inventory.tenants()
  return {
    servers: read.flatMap(({ snapshot }) => snapshot ?? []),
    unreachable: read.flatMap(({ failure }) => failure ?? []),
    tenants,
    unfinished,
    stock,
  }
}

/** Whether a living run is at work on a tenant. */
export function isLocked(parts: ProvisioningParts, server: ServerSnapshot, tenantId: string): boolean {
  return server.locks.has(lockId(server.address.database, tenantLockKey(parts, tenantId)))
}

/** Whether migrations or seeds run in a database. */
export function isDatabaseBusy(server: ServerSnapshot, database: string): boolean {
  return server.locks.has(lockId(database, databaseLockKey))
}

async function readServer(
  parts: ProvisioningParts,
  server: string,
  signal: AbortSignal | undefined,
): Promise<ServerSnapshot> {
  const { address, doing } = reach(parts, { server })
  return withAdmin(address, { signal, doing }, async client => {
    const facts = await serverFacts(client)
    const pooler = await poolerMode(client, () => connect(address, { doing }))
    const databases = await listDatabases(client)
    const roles = await listRoles(client)
    return {
      server,
      address,
      facts,
      pooler,
      databases: new Map(databases.map(each => [each.name, each])),
      roles: new Map(roles.map(each => [each.name, each])),
      prepared: await preparedTransactions(client),
      locks: await heldAdvisoryLocks(client, markerStart),
      template1IsOpen: facts.version < 150000 ? await template1IsOpen(address, signal) : undefined,
    }
  })
}

/** Nothing but the catalog is read there, and only for a moment: a session in template1 keeps others from copying it. */
async function template1IsOpen(address: ServerAddress, signal: AbortSignal | undefined): Promise<boolean | undefined> {
  try {
    return await withAdmin({ ...address, database: 'template1' }, { signal }, publicMayCreate)
  } catch {
    return undefined
  }
}
