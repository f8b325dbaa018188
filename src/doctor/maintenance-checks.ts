import { withAdmin } from '../postgres/connect.ts'
import { restrictDatabase } from '../postgres/harden.ts'
import type { DatabaseEntry } from '../postgres/inventory.ts'
import { remedyText } from '../postgres/remedy-text.ts'
import { registryMarker } from '../registry/install.ts'
import { defaultServer } from '../registry/servers.ts'
import type { Finding } from './finding.ts'
import type { ServerSnapshot } from './snapshot.ts'

/** Databases that every server has; those, and the registry's own, are all that `--fix` ever restricts. */
const everywhere = ['postgres', 'template1']
/** With more, somebody has to decide by hand. */
const mostToKeep = 50

/** What everybody, and so every tenant, may do in the databases that are no tenant's. */
export function checkMaintenanceDatabases(server: ServerSnapshot): Finding[] {
  const own = server.address.database
  const names = [...new Set([...everywhere, own])]
  const open = names.flatMap(name => {
    const database = server.databases.get(name)
    const privileges = database?.privileges.PUBLIC ?? []
    return database && privileges.length > 0 ? [finding(server, database, privileges)] : []
  })
  const schema = schemaOfTemplate1(server)
  if (open.length > 0 || schema.length > 0) return [...open, ...schema]
  const there = names.filter(name => server.databases.has(name))
  return [
    {
      check: 'maintenance-databases',
      status: 'ok',
      server: server.server,
      message: `tenants may not enter ${there.map(name => `"${name}"`).join(', ')}`,
    },
  ]
}

function finding(server: ServerSnapshot, database: DatabaseEntry, privileges: string[]): Finding {
  const { name, owner, mine } = database
  const isRegistry = server.server === defaultServer && name === server.address.database
  const may = privileges.map(each => each.toLowerCase()).join(', ')
  const keep = keepers(server, database)
  const statements = [
    ...(keep.length > 0 && keep.length <= mostToKeep ? [remedyText.grantDatabase(name, keep, privileges)] : []),
    remedyText.revokeDatabase(name, 'PUBLIC'),
  ]
  // A registry that shares its database with an application: who needs to enter that is not ours to decide.
  const shared = isRegistry && database.marker !== registryMarker
  const known = everywhere.includes(name) || (isRegistry && !shared)
  const why = shared
    ? '; the registry shares it with an application, so decide yourself who may enter'
    : keep.length > mostToKeep
      ? `; ${keep.length} roles that are no tenants rely on that, so decide yourself who may enter`
      : mine
        ? ''
        : `; to be run as its owner "${owner}"`
  return {
    check: 'maintenance-databases',
    status: isRegistry ? 'problem' : 'warning',
    server: server.server,
    message: `everybody, and so every tenant, may enter ${isRegistry ? 'the registry database ' : ''}"${name}" (${may})${why}`,
    fix: statements.join(' '),
    ...(known && mine && keep.length <= mostToKeep ? { mend: () => harden(server, name, keep) } : {}),
  }
}

/** Logins that may rely on PUBLIC's right and are no tenants: the admin, monitoring, applications. They keep it. */
function keepers(server: ServerSnapshot, { owner, privileges }: DatabaseEntry): string[] {
  return [...server.roles.values()]
    .filter(({ canLogin, superuser, marker }) => canLogin && !superuser && !isTenantMarker(marker))
    .filter(({ name }) => name !== owner && !privileges[name]?.includes('CONNECT'))
    .map(role => role.name)
}

/** Of this registry or of another one on the same server. */
function isTenantMarker(marker: string | null): boolean {
  return marker?.startsWith('tenantctl ') ?? false
}

async function harden(server: ServerSnapshot, database: string, keep: string[]): Promise<void> {
  const tenants = [...server.roles.values()].filter(role => isTenantMarker(role.marker)).map(role => role.name)
  await withAdmin(server.address, {}, client =>
    restrictDatabase(client, database, { revokeFrom: ['PUBLIC'], keep, endSessionsOf: tenants }),
  )
}

/** Before PostgreSQL 15, what somebody puts into template1 comes along into every database that is made of it. */
function schemaOfTemplate1(server: ServerSnapshot): Finding[] {
  if (!server.template1IsOpen || !server.databases.get('template1')?.privileges.PUBLIC) return []
  return [
    {
      check: 'template1-schema',
      status: 'warning',
      server: server.server,
      message:
        'everybody may make objects in schema public of "template1", which are then in every new database of others',
      fix: `${remedyText.revokeSchemaPublic()} -- in database "template1"`,
    },
  ]
}
