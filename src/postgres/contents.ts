import type { Client } from './connect.ts'
import { query } from './query.ts'

/** Extensions of the database but plpgsql, which every one has. */
export async function extensionNames(client: Client): Promise<string[]> {
  const rows = await query<{ name: string }>(
    client,
    'listing extensions',
    `SELECT extname::text AS name FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1`,
  )
  return rows.map(row => row.name)
}

/**
 * Whether anything was ever made in a database: relations, types, functions, schemas or large objects that are neither
 * the system's nor an extension's. `except` names schemas that are there from the beginning.
 */
export async function holdsObjects(client: Client, except: readonly string[]): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    client,
    'looking for objects',
    `WITH made (classid, oid, namespace) AS (
       SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relnamespace FROM pg_catalog.pg_class
       UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace FROM pg_catalog.pg_type
       UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace FROM pg_catalog.pg_proc
       UNION ALL SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, oid FROM pg_catalog.pg_namespace
        WHERE nspname <> 'public' AND NOT nspname = ANY ($1::text[]))
     SELECT EXISTS (
       SELECT FROM made JOIN pg_catalog.pg_namespace n ON n.oid = made.namespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                           WHERE d.classid = made.classid AND d.objid = made.oid AND d.deptype = 'e'))
       OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata) AS found`,
    [except],
  )
  return row?.found === true
}
