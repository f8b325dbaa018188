import { type Client, withTransaction } from './connect.ts'
import { quoteIdentifier } from './identifiers.ts'
import { query } from './query.ts'
import type { AdminFacts } from './server.ts'

/*
 * What the admin does inside a tenant's database. Only to be called while nobody else has ever been able to log in
 * there: code that a tenant plants would otherwise run with the admin's rights.
 */

export async function createExtensions(client: Client, extensions: readonly string[]): Promise<void> {
  await withTransaction(client, async () => {
    // Where an extension puts its objects unless it says otherwise; nobody has been in this schema yet.
    await query(client, 'choosing the schema of extensions', 'SET LOCAL search_path TO public')
    for (const extension of extensions) {
      await query(
        client,
        `creating extension "${extension}"`,
        `CREATE EXTENSION IF NOT EXISTS ${quoteIdentifier(extension)} CASCADE`,
      )
    }
  })
}

export async function hasExtensions(client: Client, extensions: readonly string[]): Promise<boolean> {
  const [row] = await query<{ count: number }>(
    client,
    'listing extensions',
    'SELECT count(*)::int AS count FROM pg_catalog.pg_extension WHERE extname = ANY($1::text[])',
    [extensions],
  )
  return row?.count === new Set(extensions).size
}

/**
 * Makes a role the owner of schema public. On PostgreSQL 14 that schema belongs to the bootstrap superuser: an admin
 * that is none leaves it so, and the role uses the CREATE right that PUBLIC has there (nobody else may connect).
 */
export async function ownSchemaPublic(client: Client, admin: AdminFacts, role: string): Promise<void> {
  if (!mayOwnSchemaPublic(admin)) return
  const doing = `handing schema public to role "${role}"`
  await withTransaction(client, async () => {
    await query(client, doing, 'REVOKE ALL ON SCHEMA public FROM PUBLIC')
    await query(client, doing, `ALTER SCHEMA public OWNER TO ${quoteIdentifier(role)}`)
  })
}

export function mayOwnSchemaPublic(admin: AdminFacts): boolean {
  return admin.version >= 150000 || admin.superuser
}

/**
 * Gives the application's role rows and sequences of all that the owner will make, but not of the migrations' own
 * schema: default privileges would open that too, had it not been made before them.
 */
export async function separateRoles(
  client: Client,
  roles: { owner: string; app: string; historySchema: string },
): Promise<void> {
  const owner = quoteIdentifier(roles.owner)
  const app = quoteIdentifier(roles.app)
  const doing = `separating the rights of "${roles.app}" from those of "${roles.owner}"`
  const defaults = `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} GRANT`
  await withTransaction(client, async () => {
    await query(
      client,
      doing,
      `CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(roles.historySchema)} AUTHORIZATION ${owner}`,
    )
    await query(client, doing, `GRANT USAGE ON SCHEMA public TO ${app}`)
    await query(client, doing, `${defaults} USAGE ON SCHEMAS TO ${app}`)
    await query(client, doing, `${defaults} SELECT, INSERT, UPDATE, DELETE ON TABLES TO ${app}`)
    await query(client, doing, `${defaults} USAGE, SELECT, UPDATE ON SEQUENCES TO ${app}`)
  })
}
