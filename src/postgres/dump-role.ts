import type { Secret } from '../secrets/secret.ts'
import { type Client, withTransaction } from './connect.ts'
import { findDatabase } from './databases.ts'
import { quoteIdentifier, quoteLiteral } from './identifiers.ts'
import { query } from './query.ts'
import { createRoles, dropRole, findRole, grantRole } from './roles.ts'
import type { AdminFacts } from './server.ts'

/** The password of such a role is of no use any more after this time, whatever has become of us. */
const validFor = '15 minutes'
const endsWithinMs = 5_000

/**
 * Makes a login that has a tenant's rights and no others, for a tenant whose own logins are shut out: nobody else
 * knows its password. One that a crash left behind is replaced.
 */
export async function createDumpRole(
  client: Client,
  admin: AdminFacts,
  role: { name: string; verifier: Secret; marker: string; owner: string; database: string },
): Promise<void> {
  await dropDumpRole(client, role)
  await createRoles(client, admin, [{ ...role, connectionLimit: 2 }])
  const name = quoteIdentifier(role.name)
  const doing = `giving role "${role.name}" the rights of role "${role.owner}"`
  const [clock] = await query<{ until: string }>(
    client,
    doing,
    'SELECT (pg_catalog.clock_timestamp() + $1::interval)::text AS until',
    [validFor],
  )
  await withTransaction(client, async () => {
    await query(client, doing, `ALTER ROLE ${name} VALID UNTIL ${quoteLiteral(clock?.until ?? 'now')}`)
    await grantRole(client, admin, role.owner, role.name)
    await query(client, doing, `GRANT CONNECT ON DATABASE ${quoteIdentifier(role.database)} TO ${name}`)
  })
}

/** Removes it when it is there and bears the marker, with the sessions of a pg_dump that has outlived its tenantctl. */
export async function dropDumpRole(
  client: Client,
  { name, marker, database }: { name: string; marker: string; database: string },
): Promise<void> {
  if ((await findRole(client, name))?.marker !== marker) return
  await query(
    client,
    `ending the sessions of role "${name}"`,
    'SELECT pg_catalog.pg_terminate_backend(pid, $2) FROM pg_catalog.pg_stat_activity WHERE usename = $1',
    [name, endsWithinMs],
  )
  const present = await findDatabase(client, database)
  await withTransaction(client, async () => {
    if (present?.privileges[name]) {
      const text = `REVOKE ALL ON DATABASE ${quoteIdentifier(database)} FROM ${quoteIdentifier(name)}`
      await query(client, `taking the rights of role "${name}"`, text)
    }
    await dropRole(client, name)
  })
}
