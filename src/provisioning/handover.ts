import type { Client } from '../postgres/connect.ts'
import { type Admission, admitToDatabase } from '../postgres/databases.ts'
import { actAsText, grantRoleText } from '../postgres/roles.ts'
import { ownSchemaPublic, separateRoles } from '../postgres/schema.ts'
import type { AdminFacts } from '../postgres/server.ts'
import { historySchema, rolesOf } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'

/** What has a database and roles of its own: a tenant, or the template that tenants are copied from. */
export type Place = Pick<Tenant, 'database' | 'username' | 'roles'>

/** Inside an empty database, as the admin: schema public is the owner's. */
export async function handOverSchema(client: Client, facts: AdminFacts, tenant: Place): Promise<void> {
  const { owner, app } = rolesOf(tenant)
  await ownSchemaPublic(client, facts, owner)
  if (tenant.roles === 'separate') await separateRoles(client, { owner, app, historySchema: historySchema(tenant) })
}

/** From outside: who may do what with the database as a whole. */
export async function admit(admin: Client, facts: AdminFacts, place: Place): Promise<void> {
  await admitToDatabase(admin, place.database, admissionOf(facts, place))
}

export function admissionOf(facts: AdminFacts, place: Place): Admission {
  const { owner, migrator, app } = rolesOf(place)
  if (place.roles === 'single') {
    return { memberships: [], grants: [{ role: app, privileges: ['CONNECT', 'TEMPORARY', 'CREATE'] }] }
  }
  return {
    memberships: [grantRoleText(facts, owner, migrator), actAsText(migrator, place.database, owner)],
    grants: [
      { role: owner, privileges: ['TEMPORARY', 'CREATE'] },
      { role: migrator, privileges: ['CONNECT'] },
      { role: app, privileges: ['CONNECT'] },
    ],
  }
}
