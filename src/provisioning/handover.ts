import type { Client } from '../postgres/connect.ts'
import { grantDatabase } from '../postgres/databases.ts'
import { actAs, grantRole } from '../postgres/roles.ts'
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

/** From outside: who may do what with the database as a whole. CONNECT comes last, it lets people in. */
export async function admit(admin: Client, facts: AdminFacts, tenant: Place): Promise<void> {
  const { owner, migrator, app } = rolesOf(tenant)
  if (tenant.roles === 'single') {
    await grantDatabase(admin, tenant.database, [{ role: app, privileges: ['CONNECT', 'TEMPORARY', 'CREATE'] }])
    return
  }
  await grantRole(admin, facts, owner, migrator)
  await actAs(admin, migrator, tenant.database, owner)
  await grantDatabase(admin, tenant.database, [
    { role: owner, privileges: ['TEMPORARY', 'CREATE'] },
    { role: migrator, privileges: ['CONNECT'] },
    { role: app, privileges: ['CONNECT'] },
  ])
}
