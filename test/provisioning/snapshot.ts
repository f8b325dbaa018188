/** Everything that can be told of a database, with its tenant's names taken out: for telling two apart. */
import { execFileSync } from 'node:child_process'
import { sql } from '../support/client.ts'

const acl = (column: string) =>
  `(SELECT jsonb_agg(a.t ORDER BY a.t) FROM (SELECT concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END, privilege_type, is_grantable, pg_get_userbyid(grantor)) AS t FROM aclexplode(${column})) a)`
const own = (alias: string) => `${alias}.oid >= 16384`

/** By name, so that a difference says where it is. */
const queries: Record<string, string> = {
  schemas: `SELECT nspname, pg_get_userbyid(nspowner) AS owner, ${acl('nspacl')} AS acl FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)' ORDER BY 1`,
  relations: `SELECT c.oid::regclass::text AS name, relkind, pg_get_userbyid(relowner) AS owner, ${acl('relacl')} AS acl, relrowsecurity, relforcerowsecurity, relreplident, relispartition, reloptions::text
     FROM pg_class c WHERE ${own('c')} AND relkind <> 't' AND relname !~ '^pg_toast' ORDER BY 1`,
  columns: `SELECT a.attrelid::regclass::text AS name, attnum, attname, format_type(atttypid, atttypmod) AS type, attnotnull, attidentity, attgenerated, ${acl('attacl')} AS acl, pg_get_expr(d.adbin, d.adrelid) AS value
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = attnum WHERE ${own('c')} AND attnum > 0 AND c.oid::regclass::text !~ '^pg_toast' ORDER BY 1, 2`,
  constraints: `SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint k WHERE ${own('k')} ORDER BY 1, 2`,
  indexes: `SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indexrelid >= 16384 AND indrelid::regclass::text !~ '^pg_toast' ORDER BY 1`,
  views: `SELECT c.oid::regclass::text, pg_get_viewdef(c.oid) FROM pg_class c WHERE relkind IN ('v', 'm') AND ${own('c')} ORDER BY 1`,
  routines: `SELECT p.oid::regprocedure::text AS name, prokind, pg_get_userbyid(proowner) AS owner, ${acl('proacl')} AS acl, prosrc, prosecdef, proconfig::text FROM pg_proc p WHERE ${own('p')} ORDER BY 1`,
  types: `SELECT t.oid::regtype::text AS name, typtype, pg_get_userbyid(typowner) AS owner, ${acl('typacl')} AS acl, (SELECT array_agg(enumlabel ORDER BY enumsortorder)::text FROM pg_enum WHERE enumtypid = t.oid) FROM pg_type t WHERE ${own('t')} AND t.oid::regtype::text !~ '^pg_toast' ORDER BY 1`,
  extensions: `SELECT extname, extversion, pg_get_userbyid(extowner) AS owner, extnamespace::regnamespace::text FROM pg_extension ORDER BY 1`,
  triggers: `SELECT tgrelid::regclass::text, pg_get_triggerdef(oid), tgenabled FROM pg_trigger t WHERE ${own('t')} AND NOT tgisinternal ORDER BY 1, 2`,
  policies: `SELECT schemaname, tablename, policyname, roles::text, qual FROM pg_policies ORDER BY 1, 2, 3`,
  defaults: `SELECT pg_get_userbyid(defaclrole) AS owner, defaclnamespace::regnamespace::text, defaclobjtype, ${acl('defaclacl')} AS acl FROM pg_default_acl ORDER BY 1, 2, 3`,
  others: `SELECT 'collation', collname::text, pg_get_userbyid(collowner) FROM pg_collation x WHERE ${own('x')} UNION ALL
     SELECT 'operator', oid::regoperator::text, pg_get_userbyid(oprowner) FROM pg_operator x WHERE ${own('x')} UNION ALL
     SELECT 'configuration', cfgname, pg_get_userbyid(cfgowner) FROM pg_ts_config x WHERE ${own('x')} UNION ALL
     SELECT 'statistics', stxname, pg_get_userbyid(stxowner) FROM pg_statistic_ext x WHERE ${own('x')} UNION ALL
     SELECT 'publication', pubname, pg_get_userbyid(pubowner) FROM pg_publication x WHERE ${own('x')} ORDER BY 1, 2`,
  largeObjects: `SELECT oid::text, pg_get_userbyid(lomowner) AS owner, ${acl('lomacl')} AS acl, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1`,
  comments: `SELECT pg_describe_object(classoid, objoid, objsubid), description FROM pg_description WHERE objoid >= 16384 ORDER BY 1`,
  sequences: `SELECT schemaname, sequencename, sequenceowner, data_type::text, start_value, increment_by, cycle, last_value FROM pg_sequences ORDER BY 1, 2`,
  dependencies: `SELECT pg_describe_object(classid, objid, objsubid), deptype, pg_get_userbyid(refobjid) FROM pg_shdepend
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND refclassid = 'pg_authid'::regclass ORDER BY 1, 2, 3`,
  database: `SELECT pg_encoding_to_char(encoding), datcollate, datctype, datistemplate, datallowconn, datconnlimit, pg_get_userbyid(datdba), ${acl('datacl')} AS acl FROM pg_database WHERE datname = current_database()`,
  settings: `SELECT pg_get_userbyid(setrole), setconfig::text FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1`,
  members: `SELECT pg_get_userbyid(roleid) AS role, pg_get_userbyid(member) AS member FROM pg_auth_members
     WHERE pg_get_userbyid(roleid) LIKE current_database() || '%' OR pg_get_userbyid(member) LIKE current_database() || '%' ORDER BY 1, 2`,
  roles: `SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolconnlimit FROM pg_roles WHERE rolname LIKE current_database() || '%' ORDER BY 1`,
}

/** `name` is what database and roles of the tenant begin with. */
export async function snapshot(url: string, name: string): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {}
  for (const [key, text] of Object.entries(queries)) found[key] = await sql(url, text)
  const tables = await sql<{ name: string; columns: string }>(
    url,
    `SELECT c.oid::regclass::text AS name, string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND atttypid <> 'timestamptz'::regtype
      WHERE ${own('c')} AND relkind IN ('r', 'm') GROUP BY c.oid ORDER BY 1`,
  )
  for (const table of tables) {
    found[`rows of ${table.name}`] = await sql(url, `SELECT ${table.columns} FROM ${table.name} ORDER BY 1`)
  }
  return JSON.parse(JSON.stringify(found).replaceAll(name, 'TENANT')) as Record<string, unknown>
}

/** What pg_dump writes, save for moments and the order of grants; undefined where pg_dump cannot read that server. */
export function dump(url: string, name: string): string | undefined {
  try {
    const text = execFileSync('pg_dump', [url], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
    return text
      .replaceAll(name, 'TENANT')
      .replace(/^\\(un)?restrict .*$/gm, '')
      .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00/g, 'MOMENT')
      .replace(/(^GRANT .*\n)+/gm, grants => grants.trimEnd().split('\n').sort().concat('').join('\n'))
  } catch {
    return undefined
  }
}
