import { randomUUID } from 'node:crypto'
import { type Client, withClient, withTransaction } from '../postgres/connect.ts'
import { createClosedDatabase, setAllowConnections } from '../postgres/databases.ts'
import { createRoles, retireRole } from '../postgres/roles.ts'
import { scramVerifier } from '../postgres/scram.ts'
import { adminFacts } from '../postgres/server.ts'
import { roleNames, rolesOf } from '../registry/roles.ts'
import { generatePassword } from '../secrets/password.ts'
import { type Origin, publishCopy, takeOverCopy } from './copy.ts'
import type { RunOptions } from './create.ts'
import { withTenantLock } from './lock.ts'
import { markerOf } from './marker.ts'
import type { ProvisioningParts } from './parts.ts'
import { discardReady, readyPlace } from './ready.ts'
import { temporaryName } from './steps.ts'

/**
 * Adds a ready tenant to a server's stock, a copy of its template. What a crash leaves of it is never finished but
 * removed, by the next filling or by repair: so its password need not outlive this function.
 */
export async function makeReady(
  parts: ProvisioningParts,
  server: string,
  origin: Origin,
  options: RunOptions,
): Promise<void> {
  const ready = { id: randomUUID(), server, roles: parts.config.roles, ...origin }
  const subject = { id: ready.id, server, slug: readyPlace(ready).database }
  // The lock first: whoever sees the row knows by that whether somebody is at work on it.
  await withTenantLock(parts, subject, options, async admin => {
    await parts.ready.begin(ready)
    try {
      await copyTemplate(parts, admin, ready, options)
      await parts.ready.finish(ready.id)
    } catch (error) {
      // What cannot be removed now is removed by whoever comes next.
      await discardReady(parts, admin, ready).catch(() => undefined)
      throw error
    }
  })
}

async function copyTemplate(
  parts: ProvisioningParts,
  admin: Client,
  ready: Parameters<typeof readyPlace>[0] & Origin & { server: string },
  { signal }: RunOptions,
): Promise<void> {
  const facts = await adminFacts(admin)
  const place = readyPlace(ready)
  const { migrator } = rolesOf(place)
  const marker = markerOf(parts.registryId, ready.id)
  const password = generatePassword()
  const { connectionLimit } = parts.config.database
  const verifier = await scramVerifier(password)
  const roles = roleNames(place).map(name => {
    return { name, verifier: name === migrator ? verifier : undefined, marker, connectionLimit }
  })
  await createRoles(admin, facts, roles)
  const temporary = temporaryName(ready.id)
  await createClosedDatabase(admin, temporary, ready.template)
  await publishCopy(admin, facts, temporary, { place, marker, origin: ready })
  const address = parts.servers.tenant({ ...place, server: ready.server }, { username: migrator, password })
  const settings = { lock_timeout: parts.config.migrations.lockTimeoutMs }
  await takeOverCopy({ admin, adminFacts: facts, tenant: place }, ready, {
    isNewCopy: true,
    inside: work => withClient(address, { settings, signal, doing: `logging in as role "${migrator}"` }, work),
  })
  await withTransaction(admin, async () => {
    await setAllowConnections(admin, place.database, false)
    for (const name of roleNames(place)) await retireRole(admin, name)
  })
}
