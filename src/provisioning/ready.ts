import type { Client } from '../postgres/connect.ts'
import { dropDatabase, findDatabase, isUnpublished } from '../postgres/databases.ts'
import { dropRole, findRole } from '../postgres/roles.ts'
import { adminFacts } from '../postgres/server.ts'
import type { ReadyTenant } from '../registry/ready-tenants.ts'
import { roleNames } from '../registry/roles.ts'
import type { RunOptions } from './create.ts'
import { releaseRoles } from './elsewhere.ts'
import type { Place } from './handover.ts'
import { withTenantLock } from './lock.ts'
import { markerOf } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import type { TenantOnServer } from './step.ts'
import { temporaryName } from './steps.ts'

/*
 * A ready tenant is a copy of the template that its own roles have taken over, shut for everybody: its database takes no
 * connections, its roles have no password. It bears names and markers of its own until it becomes somebody's.
 */

/** A killed run's statement goes on in the server for a moment, and holds the lock. */
const lockWaitMs = 5_000

/** Database and roles of a ready tenant, by the names that they have in the stock. */
export function readyPlace({ id, roles }: Pick<ReadyTenant, 'id' | 'roles'>): Place {
  const name = `tenantctl_ready_${id.replaceAll('-', '')}`
  return { database: name, username: name, roles }
}

/** Its database and all of its roles are there, are its own, and let nobody in. */
export async function isWhole(
  parts: Pick<ProvisioningParts, 'registryId'>,
  admin: Client,
  ready: Pick<ReadyTenant, 'id' | 'roles'>,
): Promise<boolean> {
  const place = readyPlace(ready)
  const marker = markerOf(parts.registryId, ready.id)
  const database = await findDatabase(admin, place.database)
  if (database?.marker !== marker || database.invalid || database.allowConnections) return false
  for (const name of roleNames(place)) {
    const role = await findRole(admin, name)
    if (role?.marker !== marker || role.canLogin) return false
  }
  return true
}

/**
 * Removes a ready tenant, or what there is of one, unless somebody has taken it: then returns false. Throws
 * `TENANT_LOCKED` when somebody is making or removing it.
 */
export async function removeReady(parts: ProvisioningParts, ready: ReadyTenant, options: RunOptions): Promise<boolean> {
  const { id, server } = ready
  const subject = { id, server, slug: readyPlace(ready).database }
  return withTenantLock(parts, subject, { ...options, waitMs: lockWaitMs }, async admin => {
    // Before anything is removed: nobody must be given a part of it.
    if (!(await parts.ready.retire(id))) return false
    await discardReady(parts, admin, ready)
    return true
  })
}

/** What was taken for a tenant, and has not got the tenant's names yet, goes with it. */
export async function removeTaken({ parts, admin, tenant }: TenantOnServer): Promise<void> {
  const ready = await parts.ready.takenBy(tenant.id)
  if (ready) await discardReady(parts, admin, ready)
}

/**
 * Removes what there is of a ready tenant that nobody else can come by, its row at the end. Throws `OBJECTS_ELSEWHERE`
 * when somebody keeps its roles from being dropped: their names are public, and whoever likes may grant them something.
 */
export async function discardReady(
  parts: ProvisioningParts,
  admin: Client,
  ready: Pick<ReadyTenant, 'id' | 'roles' | 'server'>,
): Promise<void> {
  const place = readyPlace(ready)
  const marker = markerOf(parts.registryId, ready.id)
  const unpublished = await findDatabase(admin, temporaryName(ready.id))
  if (unpublished && isUnpublished(unpublished)) await dropDatabase(admin, temporaryName(ready.id))
  if ((await findDatabase(admin, place.database))?.marker === marker) await dropDatabase(admin, place.database)
  const tenant = { ...place, slug: place.database, server: ready.server }
  await releaseRoles({ parts, admin, adminFacts: await adminFacts(admin), marker, tenant })
  for (const name of roleNames(place).reverse()) {
    if ((await findRole(admin, name))?.marker === marker) await dropRole(admin, name)
  }
  await parts.ready.forget(ready.id)
}
