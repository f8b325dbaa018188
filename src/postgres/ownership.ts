import { TenancyError } from '../errors.ts'
import type { Client } from './connect.ts'
import { quoteIdentifier, quoteLiteral } from './identifiers.ts'
import { query, queryTogether } from './query.ts'
import { isMemberText, roleText } from './roles.ts'

/** Two roles of a tenant or of a template; one and the same where it has a single role. */
interface OwnerAndApp {
  owner: string
  app: string
}

/**
 * Hands everything in a database that roles of a template own, or were granted, to those of a tenant: in one
 * transaction, run by the new owner itself, which must be a member of the old one for as long. No admin enters a
 * database in which other people's code has run; as a member, the new owner may also create in the old one's schemas
 * while some objects have moved and others have not. With `trial`, the transaction is taken back.
 *
 * Throws `ISOLATION_BROKEN` when something would still refer to the old roles, and names it.
 */
export async function takeOver(
  client: Client,
  from: OwnerAndApp,
  to: OwnerAndApp,
  options: { trial?: boolean } = {},
): Promise<void> {
  const doing = `handing the objects of "${from.owner}" to "${to.owner}"`
  const list = dependenciesText(from)
  try {
    let left = await queryTogether<Dependency>(client, doing, [
      'BEGIN',
      'SET LOCAL search_path TO pg_catalog, pg_temp',
      'SET LOCAL quote_all_identifiers TO off',
      `REASSIGN OWNED BY ${quoteIdentifier(from.owner)} TO ${quoteIdentifier(to.owner)}`,
      list,
    ])
    if (left.length > 0) {
      const statements = [...(await defaultPrivileges(client, from, to)), ...(await grants(client, from, to))]
      left = await queryTogether<Dependency>(client, doing, [...statements, list])
    }
    if (left.length > 0) {
      const what = left
        .slice(0, 5)
        .map(each => each.description)
        .join('; ')
      throw new TenancyError('ISOLATION_BROKEN', `${doing}: ${what} cannot be handed over`)
    }
    await query(client, doing, options.trial ? 'ROLLBACK' : 'COMMIT')
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/**
 * What in the current database owes something to these roles. Asked by a session that has just begun: it would take
 * longer to read what the view pg_roles is made of than to hand everything over.
 */
function dependenciesText({ owner, app }: OwnerAndApp): string {
  return `SELECT CASE deptype WHEN 'o' THEN 'ownership' WHEN 'a' THEN 'a privilege' WHEN 'r' THEN 'a role' ELSE 'a reference' END
            || ' of ' || pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid) AS description
       FROM pg_catalog.pg_shdepend s
      WHERE s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        AND s.refclassid = 'pg_catalog.pg_authid'::regclass
        AND s.refobjid IN (${roleText(quoteLiteral(owner))}, ${roleText(quoteLiteral(app))})
      LIMIT 1000`
}

interface Dependency {
  description: string
}

/** How far a copy of a template has been taken over; asked from another database. */
export interface Takeover {
  /** Something in it still belongs to a role of the template. */
  owned: boolean
  /** The new owner is a member of the old one. */
  member: boolean
}

export async function readTakeover(
  client: Client,
  database: string,
  from: OwnerAndApp,
  to: OwnerAndApp,
): Promise<Takeover> {
  const [takeover] = await query<Takeover>(
    client,
    `asking who owns what in database "${database}"`,
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = s.dbid
              WHERE d.datname = $1 AND s.refclassid = 'pg_catalog.pg_authid'::regclass
                AND s.refobjid IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname IN ($2, $3))) AS owned,
            ${isMemberText('$2', '$4')} AS member`,
    [database, from.owner, from.app, to.owner],
  )
  return takeover as Takeover
}

/*
 * REASSIGN OWNED leaves ALTER DEFAULT PRIVILEGES where they are (manual, REASSIGN OWNED). A row of pg_default_acl holds
 * the whole list where it is for all schemas, and what is added to that where it is for one. The list is made anew for
 * the new role from nothing, and the old role's set back to what PostgreSQL grants anyway, which deletes its row.
 */
async function defaultPrivileges(client: Client, from: OwnerAndApp, to: OwnerAndApp): Promise<string[]> {
  const rows = await query<{
    objects: string
    schema: string | null
    acl: { grantee: string; privilege: string; grantable: boolean }[]
    builtin: { grantee: string; privilege: string }[]
  }>(
    client,
    'reading default privileges',
    `SELECT CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES'
              WHEN 'n' THEN 'SCHEMAS' WHEN 'L' THEN 'LARGE OBJECTS' END AS objects,
            (SELECT nspname::text FROM pg_catalog.pg_namespace WHERE oid = d.defaclnamespace) AS schema,
            COALESCE((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('grantee', COALESCE(r.rolname, ''),
                        'privilege', a.privilege_type, 'grantable', a.is_grantable))
               FROM pg_catalog.aclexplode(d.defaclacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee), '[]') AS acl,
            CASE WHEN d.defaclnamespace <> 0 THEN '[]' ELSE (
              SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('grantee', COALESCE(r.rolname, ''), 'privilege', a.privilege_type))
                FROM pg_catalog.aclexplode(pg_catalog.acldefault(
                  CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)) a
                LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee) END AS builtin
       FROM pg_catalog.pg_default_acl d
      WHERE d.defaclrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)`,
    [from.owner],
  )
  const mapped = (grantee: string) => (grantee === from.owner ? to.owner : grantee === from.app ? to.app : grantee)
  return rows.flatMap(({ objects, schema, acl, builtin }) => {
    const alter = (role: string) =>
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${quoteIdentifier(role)}${schema === null ? '' : ` IN SCHEMA ${quoteIdentifier(schema)}`}`
    const builtinGrantees = [...new Set(builtin.map(each => each.grantee))]
    const grantees = [...new Set(acl.map(each => each.grantee))]
    return [
      ...builtinGrantees.map(each => `${alter(to.owner)} REVOKE ALL ON ${objects} FROM ${grantee(mapped(each))}`),
      ...acl.map(
        each =>
          `${alter(to.owner)} GRANT ${each.privilege} ON ${objects} TO ${grantee(mapped(each.grantee))}${each.grantable ? ' WITH GRANT OPTION' : ''}`,
      ),
      ...grantees.map(each => `${alter(from.owner)} REVOKE ALL ON ${objects} FROM ${grantee(each)}`),
      ...builtin.map(each => `${alter(from.owner)} GRANT ${each.privilege} ON ${objects} TO ${grantee(each.grantee)}`),
    ]
  })
}

/** Privileges on objects that the old application's role was granted; what the owner has moved with the objects. */
async function grants(client: Client, from: OwnerAndApp, to: OwnerAndApp): Promise<string[]> {
  if (from.app === from.owner) return []
  const rows = await query<{ objects: string; names: string; privileges: string; grantable: boolean }>(
    client,
    'reading privileges',
    `WITH app AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1),
          touched AS (
            SELECT s.classid, s.objid, s.objsubid FROM pg_catalog.pg_shdepend s, app
             WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = app.oid AND s.deptype = 'a'
               AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())),
          objects AS (
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS objects, c.oid::regclass::text AS name,
                   NULL::text AS col, c.relacl AS acl
              FROM touched t JOIN pg_catalog.pg_class c ON t.classid = 'pg_catalog.pg_class'::regclass AND c.oid = t.objid AND t.objsubid = 0
            UNION ALL
            SELECT 'TABLE', a.attrelid::regclass::text, pg_catalog.quote_ident(a.attname), a.attacl
              FROM touched t JOIN pg_catalog.pg_attribute a ON t.classid = 'pg_catalog.pg_class'::regclass AND a.attrelid = t.objid AND a.attnum = t.objsubid AND t.objsubid <> 0
            UNION ALL
            SELECT 'SCHEMA', pg_catalog.quote_ident(n.nspname), NULL, n.nspacl
              FROM touched t JOIN pg_catalog.pg_namespace n ON t.classid = 'pg_catalog.pg_namespace'::regclass AND n.oid = t.objid
            UNION ALL
            SELECT 'ROUTINE', p.oid::regprocedure::text, NULL, p.proacl
              FROM touched t JOIN pg_catalog.pg_proc p ON t.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = t.objid
            UNION ALL
            SELECT 'TYPE', y.oid::regtype::text, NULL, y.typacl
              FROM touched t JOIN pg_catalog.pg_type y ON t.classid = 'pg_catalog.pg_type'::regclass AND y.oid = t.objid
            UNION ALL
            SELECT 'LARGE OBJECT', l.oid::text, NULL, l.lomacl
              FROM touched t JOIN pg_catalog.pg_largeobject_metadata l ON t.classid = 'pg_catalog.pg_largeobject'::regclass AND l.oid = t.objid),
          granted AS (
            SELECT o.objects, o.name, a.is_grantable AS grantable,
                   pg_catalog.string_agg(a.privilege_type || COALESCE(' (' || o.col || ')', ''), ', ' ORDER BY a.privilege_type, o.col) AS privileges
              FROM objects o, app, LATERAL pg_catalog.aclexplode(o.acl) a
             WHERE a.grantee = app.oid GROUP BY o.objects, o.name, a.is_grantable)
     SELECT objects, privileges, grantable, pg_catalog.string_agg(name, ', ') AS names
       FROM granted GROUP BY objects, privileges, grantable`,
    [from.app],
  )
  return rows.flatMap(({ objects, names, privileges, grantable }) => [
    `GRANT ${privileges} ON ${objects} ${names} TO ${quoteIdentifier(to.app)}${grantable ? ' WITH GRANT OPTION' : ''}`,
    `REVOKE ${privileges} ON ${objects} ${names} FROM ${quoteIdentifier(from.app)}`,
  ])
}

function grantee(name: string): string {
  return name === '' ? 'PUBLIC' : quoteIdentifier(name)
}

/**
 * Traces of its makers that a database's data or definitions hold: what a default, a seed or a function took from
 * current_user or current_database() is true of the template alone. Run by the template's own role. Returns places.
 */
export async function findNames(client: Client, names: readonly string[]): Promise<string[]> {
  await qualifyNames(client)
  const pattern = names.map(name => name.replace(/[%_\\]/g, '\\$&')).map(name => `%${name}%`)
  const places = await query<{ place: string }>(
    client,
    'looking for names in definitions',
    `SELECT 'the body of ' || p.oid::regprocedure AS place FROM pg_catalog.pg_proc p
      WHERE p.prosrc LIKE ANY ($1::text[])
     UNION ALL
     SELECT 'the definition of ' || c.oid::regclass FROM pg_catalog.pg_class c
      WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND pg_catalog.pg_get_viewdef(c.oid) LIKE ANY ($1::text[])
     UNION ALL
     SELECT 'the default of ' || d.adrelid::regclass || ' column ' || d.adnum FROM pg_catalog.pg_attrdef d
      WHERE pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE ANY ($1::text[])
     UNION ALL
     SELECT 'a setting of role ' || s.setrole::regrole FROM pg_catalog.pg_db_role_setting s
      WHERE s.setrole::regrole::text = ANY ($2::text[]) AND s.setconfig <> ARRAY['role=' || current_user]
     UNION ALL
     SELECT 'the comment on ' || pg_catalog.pg_describe_object(classoid, objoid, objsubid)
       FROM pg_catalog.pg_description WHERE description LIKE ANY ($1::text[])`,
    [pattern, names],
  )
  const tables = await query<{ name: string }>(
    client,
    'listing tables',
    `SELECT c.oid::regclass::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND c.oid >= 16384 AND n.nspname !~ '^pg_' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
        AND (c.relkind <> 'm' OR c.relispopulated)`,
  )
  const found = places.map(each => each.place)
  for (const { name } of tables) {
    const rows = await query(
      client,
      `looking for names in ${name}`,
      `SELECT FROM ${name} t WHERE t::text LIKE ANY ($1::text[]) LIMIT 1`,
      [pattern],
    )
    if (rows.length > 0) found.push(`rows of ${name}`)
  }
  return found
}

/**
 * A hash of each column's values, whatever their order; columns without a value are left out, knex's own tables, and
 * moments, which differ in every run.
 */
export async function hashColumns(client: Client, historySchema: string): Promise<Map<string, string>> {
  await qualifyNames(client)
  const columns = await query<{ name: string; column: string; quoted: string }>(
    client,
    'listing columns',
    `SELECT c.oid::regclass::text AS name, a.attname::text AS column, pg_catalog.quote_ident(a.attname) AS quoted
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE c.relkind = 'r' AND c.oid >= 16384 AND n.nspname !~ '^pg_' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
        AND NOT (n.nspname = $1 AND c.relname IN ('knex_migrations', 'knex_migrations_lock'))
        AND a.atttypid::regtype::text !~ '^(timestamp|date|time)' ORDER BY c.oid, a.attnum`,
    [historySchema],
  )
  const byTable = groupBy(columns)
  const hashes = new Map<string, string>()
  for (const [name, each] of byTable) {
    const sums = each.map(
      ({ quoted }, index) => `pg_catalog.sum(pg_catalog.hashtextextended(${quoted}::text, 0)) AS "${index}"`,
    )
    const [row] = await query<Record<string, string | null>>(
      client,
      `reading ${name}`,
      `SELECT ${sums.join(', ')} FROM ONLY ${name}`,
    )
    for (const [index, { column }] of each.entries()) {
      const hash = row?.[index]
      if (hash) hashes.set(`${name}.${column}`, hash)
    }
  }
  return hashes
}

/** Every name comes with its schema then. */
async function qualifyNames(client: Client): Promise<void> {
  await query(client, 'setting search_path', 'SET search_path TO pg_catalog, pg_temp')
}

function groupBy<T extends { name: string }>(rows: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const row of rows) groups.set(row.name, [...(groups.get(row.name) ?? []), row])
  return groups
}
