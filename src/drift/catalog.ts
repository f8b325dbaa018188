import type { Client } from '../postgres/connect.ts'
import { toTenancyError } from '../postgres/sqlstate.ts'

/** Something that a schema is made of, as PostgreSQL itself describes it. */
export interface SchemaObject {
  kind: string
  /** With its schema, and its table where it belongs to one. */
  name: string
  definition: string
}

/**
 * The catalogs without what may differ between two tenants that are alike: owners and privileges, object ids, the order
 * of columns, values of sequences, what belongs to an extension, and the tables of the migrations themselves. Names
 * come out with their schema, since search_path is pg_catalog.
 */
const objects = `
WITH schemas AS (
  SELECT oid, nspname FROM pg_namespace
   WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'tenantctl_migrations')),
extension_owned AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
relations AS (
  SELECT c.*, s.nspname || '.' || c.relname AS name FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
     AND c.relname !~ '^(knex_migrations|tenantctl_unfinished_migrations)'
     AND NOT EXISTS (SELECT FROM extension_owned e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)),
listed AS (
  SELECT 'schema' AS kind, nspname::text AS name, '' AS definition FROM schemas WHERE nspname <> 'public'
  UNION ALL
  SELECT 'extension', extname::text, extversion FROM pg_extension WHERE extname <> 'plpgsql'
  UNION ALL
  SELECT CASE relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, name,
         concat_ws(' ', CASE relpersistence WHEN 'u' THEN 'unlogged' END, pg_get_partkeydef(oid), array_to_string(reloptions, ','),
                   CASE WHEN relrowsecurity THEN 'row security' END, CASE WHEN relforcerowsecurity THEN 'forced' END,
                   CASE WHEN relispartition THEN pg_get_expr(relpartbound, oid) END)
    FROM relations WHERE relkind IN ('r', 'p', 'f')
  UNION ALL
  SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, name, pg_get_viewdef(oid) FROM relations WHERE relkind IN ('v', 'm')
  UNION ALL
  SELECT 'sequence', r.name, concat_ws(' ', format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, CASE WHEN s.seqcycle THEN 'cycle' END)
    FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid
  UNION ALL
  SELECT 'column', r.name || '.' || a.attname,
         concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN 'collate ' || co.collname END,
                   CASE WHEN a.attnotnull THEN 'not null' END, CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text END,
                   CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::text END, 'default ' || pg_get_expr(d.adbin, d.adrelid))
    FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
   WHERE r.relkind IN ('r', 'p', 'f')
  UNION ALL
  SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END
    FROM relations r JOIN pg_index i ON i.indrelid = r.oid
  UNION ALL
  SELECT 'constraint', r.name || '.' || c.conname, pg_get_constraintdef(c.oid)
    FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid WHERE c.contype <> 'n'
  UNION ALL
  SELECT 'trigger', r.name || '.' || t.tgname, pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'D' THEN ' (disabled)' ELSE '' END
    FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
  UNION ALL
  SELECT 'policy', r.name || '.' || p.polname, concat_ws(' ', p.polcmd::text, p.polpermissive, pg_get_expr(p.polqual, r.oid), pg_get_expr(p.polwithcheck, r.oid))
    FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
  UNION ALL
  SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
         s.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
         CASE p.prokind WHEN 'a' THEN format_type(p.prorettype, NULL) ELSE pg_get_functiondef(p.oid) END
    FROM pg_proc p JOIN schemas s ON s.oid = p.pronamespace
   WHERE NOT EXISTS (SELECT FROM extension_owned e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
  UNION ALL
  SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END, s.nspname || '.' || t.typname,
         CASE t.typtype
           WHEN 'e' THEN (SELECT string_agg(l.enumlabel, ', ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid)
           WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'not null' END, t.typdefault,
                (SELECT string_agg(pg_get_constraintdef(c.oid), ' ' ORDER BY c.conname) FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype <> 'n'))
           ELSE (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                   FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END
    FROM pg_type t JOIN schemas s ON s.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
   WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
     AND NOT EXISTS (SELECT FROM extension_owned e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid))`

const prologue = 'BEGIN READ ONLY; SET LOCAL search_path TO pg_catalog'

/** SHA-256 over all objects, made in the server: tenants that are alike need not send them. */
export async function fingerprintDatabase(client: Client): Promise<string> {
  const [row] = await inSnapshot<{ fingerprint: string }>(
    client,
    `${objects} SELECT encode(sha256(convert_to(COALESCE(string_agg(
       kind || chr(1) || name || chr(1) || COALESCE(definition, ''), chr(2) ORDER BY kind COLLATE "C", name COLLATE "C"), ''), 'UTF8')), 'hex')
       AS fingerprint FROM listed`,
  )
  return (row as { fingerprint: string }).fingerprint
}

export function readSchema(client: Client): Promise<SchemaObject[]> {
  return inSnapshot<SchemaObject>(
    client,
    `${objects} SELECT kind, name, COALESCE(definition, '') AS definition FROM listed ORDER BY kind COLLATE "C", name COLLATE "C"`,
  )
}

/** One way to the server for all of it. */
async function inSnapshot<Row>(client: Client, text: string): Promise<Row[]> {
  try {
    const results = await client.query(`${prologue}; ${text}; ROLLBACK`)
    return (results as unknown as { rows: Row[] }[]).at(-2)?.rows ?? []
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw toTenancyError(error, 'reading the schema')
  }
}
