import type { Client } from './connect.ts'
import { quoteIdentifier } from './identifiers.ts'
import { query } from './query.ts'

/** What keeps a role from being dropped (manual, 22.5), as far as it can be seen from another database. */
export interface RoleDependency {
  /** Null: the object is one of the whole server, such as a database. */
  database: string | null
  /** The role owns it; otherwise it only has rights on it, or stands in a policy. */
  owned: boolean
  /** `large object 16405`: names of objects can only be read inside their database. */
  object: string
}

const kinds: Record<string, string> = {
  pg_class: 'relation',
  pg_proc: 'function',
  pg_type: 'type',
  pg_namespace: 'schema',
  pg_database: 'database',
  pg_largeobject: 'large object',
  pg_largeobject_metadata: 'large object',
}

/** Without what is in the role's own database, and rights on that: these go with it. */
export async function listDependencies(client: Client, role: string, ownDatabase: string): Promise<RoleDependency[]> {
  const rows = await query<{ database: string | null; owned: boolean; catalog: string; object: string }>(
    client,
    `looking for what depends on role "${role}"`,
    `SELECT d.datname::text AS database, s.deptype = 'o' AS owned, s.classid::pg_catalog.regclass::text AS catalog,
            COALESCE((SELECT pg_catalog.quote_ident(o.datname::text) FROM pg_catalog.pg_database o
                       WHERE o.oid = s.objid AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass), s.objid::text) AS object
       FROM pg_catalog.pg_shdepend s
       JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid AND r.rolname = $1
       LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
       LEFT JOIN pg_catalog.pg_database own ON own.datname = $2
      WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.dbid IS DISTINCT FROM own.oid
        AND NOT (s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid IS NOT DISTINCT FROM own.oid)
      ORDER BY 1 NULLS FIRST, 2 DESC, 3, s.objid LIMIT 1000`,
    [role, ownDatabase],
  )
  return rows.map(({ database, owned, catalog, object }) => ({
    database,
    owned,
    object: `${kinds[catalog] ?? `object of ${catalog}`} ${object}`,
  }))
}

/**
 * Takes away what rights a role has in the database that `client` is in, and on all that belongs to the whole server,
 * such as CONNECT on its own database. Drops what it owns there, so look first. Runs no code of anybody's.
 */
export async function revokeEverything(client: Client, role: string): Promise<void> {
  await query(client, `revoking all rights of role "${role}"`, `DROP OWNED BY ${quoteIdentifier(role)}`)
}
