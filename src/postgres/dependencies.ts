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

/** Takes back what the login of `client` has granted a role in the database that it is in; policies are left. */
export async function revokeGrants(client: Client, role: string): Promise<void> {
  const doing = `revoking what was granted to role "${role}"`
  await query(client, doing, 'SET LOCAL search_path TO pg_catalog, pg_temp; SET LOCAL quote_all_identifiers TO off')
  const grants = await query<{ statement: string }>(
    client,
    doing,
    `WITH granted AS (
       SELECT s.classid, s.objid FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
        WHERE r.rolname = $1 AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype = 'a'
          AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
     SELECT DISTINCT 'REVOKE ALL ON ' || objects AS statement FROM (
       SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::pg_catalog.regclass
         FROM granted g JOIN pg_catalog.pg_class c ON g.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = g.objid
       UNION ALL SELECT 'ROUTINE ' || objid::pg_catalog.regprocedure FROM granted WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       UNION ALL SELECT 'TYPE ' || objid::pg_catalog.regtype FROM granted WHERE classid = 'pg_catalog.pg_type'::pg_catalog.regclass
       UNION ALL SELECT 'SCHEMA ' || objid::pg_catalog.regnamespace FROM granted WHERE classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       UNION ALL SELECT 'LARGE OBJECT ' || objid FROM granted WHERE classid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass
     ) g (objects)
     UNION ALL
     SELECT 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || d.defaclrole::pg_catalog.regrole
            || COALESCE(' IN SCHEMA ' || NULLIF(d.defaclnamespace, 0)::pg_catalog.regnamespace, '') || ' REVOKE ALL ON '
            || CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES'
                 WHEN 'n' THEN 'SCHEMAS' WHEN 'L' THEN 'LARGE OBJECTS' END
       FROM granted g JOIN pg_catalog.pg_default_acl d ON g.classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass AND d.oid = g.objid`,
    [role],
  )
  for (const { statement } of grants) {
    const cascade = statement.startsWith('REVOKE') ? ' CASCADE' : ''
    await query(client, doing, `${statement} FROM ${quoteIdentifier(role)}${cascade}`)
  }
}
