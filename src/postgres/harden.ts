import { TenancyError } from '../errors.ts'
import { type Client, withTransaction } from './connect.ts'
import { findDatabase } from './databases.ts'
import { query } from './query.ts'
import { remedyText } from './remedy-text.ts'

/**
 * Takes all rights on a database from grantees, after having given those who shall keep them the same by name; then
 * ends the sessions of logins that may not connect any more: a right that is revoked ends none. All or nothing.
 */
export async function restrictDatabase(
  client: Client,
  database: string,
  change: { revokeFrom: readonly string[]; keep: readonly string[]; endSessionsOf: readonly string[] },
): Promise<void> {
  const doing = `restricting database "${database}"`
  await withTransaction(client, async () => {
    const before = (await findDatabase(client, database))?.privileges ?? {}
    for (const grantee of change.revokeFrom) {
      const privileges = before[grantee] ?? []
      if (grantee === 'PUBLIC' && privileges.length > 0 && change.keep.length > 0) {
        await query(client, doing, remedyText.grantDatabase(database, change.keep, privileges))
      }
      await query(client, doing, remedyText.revokeDatabase(database, grantee))
    }
    // Without the owner's rights a REVOKE is a mere WARNING: read back what it did.
    const after = await findDatabase(client, database)
    const left = change.revokeFrom.filter(grantee => after?.privileges[grantee])
    if (left.length > 0) {
      throw new TenancyError('PRIVILEGES_INSUFFICIENT', `${doing}: ${left.join(', ')} may still enter it`, {
        hint: `the database belongs to "${after?.owner}": run the statement as that role`,
      })
    }
  })
  await query(
    client,
    `ending sessions in database "${database}"`,
    `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
      WHERE datname = $1 AND usename = ANY($2::text[]) AND pid <> pg_catalog.pg_backend_pid()`,
    [database, change.endSessionsOf],
  )
}

/** Whether everybody may make objects in schema public of the database that the client is in. */
export async function publicMayCreate(client: Client): Promise<boolean> {
  const rows = await query(
    client,
    'reading the rights on schema public',
    `SELECT FROM pg_catalog.pg_namespace n,
            pg_catalog.aclexplode(COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
      WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE'`,
  )
  return rows.length > 0
}
