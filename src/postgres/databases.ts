import { TenancyError } from '../errors.ts'
import { type Client, transact } from './connect.ts'
import { quoteArray, quoteIdentifier, quoteLiteral } from './identifiers.ts'
import { query } from './query.ts'
import { sqlstate, sqlstateOf } from './sqlstate.ts'

export interface Database {
  oid: number
  owner: string
  ownerIsAdmin: boolean
  allowConnections: boolean
  connectionLimit: number
  /** A DROP DATABASE was interrupted: nobody can connect, dropping it again finishes it (manual, DROP DATABASE). */
  invalid: boolean
  /** COMMENT ON DATABASE: who made it. Only its owner can write one. */
  marker: string | null
  /** Who may do what, without the owner: `{"PUBLIC": ["CONNECT", "TEMPORARY"]}`. */
  privileges: Record<string, string[]>
}

/** A session in a database. */
export interface Session {
  pid: number
  user: string | null
  application: string
  client: string | null
  since: string
}

export async function findDatabase(client: Client, name: string): Promise<Database | undefined> {
  return (await findDatabases(client, [name]))[0]
}

/** In the order of the names; undefined where there is none. */
export async function findDatabases(client: Client, names: readonly string[]): Promise<(Database | undefined)[]> {
  const doing = `looking up database ${names.map(name => `"${name}"`).join(', ')}`
  const databases = await query<Database & { name: string }>(client, doing, databasesText('$1'), [names])
  return names.map(name => databases.find(each => each.name === name))
}

/** SQL for those of an array of names. */
export function databasesText(names: string): string {
  return `SELECT d.datname::text AS name, d.oid, pg_catalog.pg_get_userbyid(d.datdba)::text AS owner,
            pg_catalog.pg_get_userbyid(d.datdba) = current_user AS "ownerIsAdmin", d.datallowconn AS "allowConnections", d.datconnlimit AS "connectionLimit", d.datconnlimit = -2 AS invalid,
            pg_catalog.shobj_description(d.oid, 'pg_database') AS marker,
            COALESCE((SELECT pg_catalog.jsonb_object_agg(grantee, granted) FROM (
               SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END AS grantee,
                      pg_catalog.jsonb_agg(a.privilege_type ORDER BY a.privilege_type) AS granted
                 FROM pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
                WHERE a.grantee <> d.datdba GROUP BY 1) p), '{}') AS privileges
       FROM pg_catalog.pg_database d WHERE d.datname = ANY(${names}::text[])`
}

/** Names of the databases and roles that bear a marker, whatever they are called. */
export async function findMarked(client: Client, marker: string): Promise<{ databases: string[]; roles: string[] }> {
  const [found] = await query<{ databases: string[]; roles: string[] }>(
    client,
    'looking for a marker',
    `SELECT ARRAY(SELECT d.datname::text FROM pg_catalog.pg_shdescription c JOIN pg_catalog.pg_database d ON d.oid = c.objoid
                   WHERE c.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND c.description = $1 ORDER BY 1) AS databases,
            ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_shdescription c JOIN pg_catalog.pg_roles r ON r.oid = c.objoid
                   WHERE c.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND c.description = $1 ORDER BY 1) AS roles`,
    [marker],
  )
  return found ?? { databases: [], roles: [] }
}

/**
 * Makes a database that nobody can connect to, not even for a moment. Cannot run in a transaction, is not undone by
 * a crash of the client, and may leave files behind that no catalog knows if the server crashes (manual, CREATE DATABASE).
 */
export async function createClosedDatabase(client: Client, name: string, template = 'template0'): Promise<void> {
  await query(
    client,
    `creating database "${name}"`,
    `CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE ${quoteIdentifier(template)} ALLOW_CONNECTIONS false`,
  )
}

/** It is as `createClosedDatabase` leaves it. Its name alone proves nothing: ids are public, others may use them first. */
export function isUnpublished(database: Pick<Database, 'ownerIsAdmin' | 'allowConnections' | 'marker'>): boolean {
  return database.ownerIsAdmin && !database.allowConnections && database.marker === null
}

/** Who may do what with a database, and by which memberships. */
export interface Admission {
  /** Statements that make roles members of others, and set what logins act as. */
  memberships: readonly string[]
  grants: readonly DatabaseGrant[]
}

/**
 * Takes everything from PUBLIC, marks, renames and opens a closed database: in one transaction, so that a database
 * of the final name is always restricted and known to be ours. Afterwards only its owner may connect, and those whom
 * `admission` lets in.
 */
export async function publishDatabase(
  client: Client,
  temporaryName: string,
  database: { name: string; marker: string; connectionLimit: number },
  admission: Admission = { memberships: [], grants: [] },
): Promise<void> {
  const temporary = quoteIdentifier(temporaryName)
  const name = quoteIdentifier(database.name)
  const statements = [
    `REVOKE ALL ON DATABASE ${temporary} FROM PUBLIC`,
    `COMMENT ON DATABASE ${temporary} IS ${quoteLiteral(database.marker)}`,
    `ALTER DATABASE ${temporary} RENAME TO ${name}`,
    `ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT ${database.connectionLimit}`,
    ...admissionTexts(database.name, admission),
  ]
  await restrict(client, `opening database "${database.name}"`, statements, database.name, admission.grants)
}

/** COMMENT ON DATABASE. */
export async function markDatabase(client: Client, name: string, marker: string): Promise<void> {
  const statement = `COMMENT ON DATABASE ${quoteIdentifier(name)} IS ${quoteLiteral(marker)}`
  await query(client, `marking database "${name}"`, statement)
}

interface DatabaseGrant {
  role: string
  privileges: readonly ('CONNECT' | 'TEMPORARY' | 'CREATE')[]
}

/** Grants all at once, and checks that nobody but these roles and the owner may do anything. */
export async function admitToDatabase(client: Client, name: string, admission: Admission): Promise<void> {
  const statements = admissionTexts(name, admission)
  await restrict(client, `letting roles into database "${name}"`, statements, name, admission.grants)
}

function admissionTexts(name: string, { memberships, grants }: Admission): string[] {
  const granted = grants.map(
    ({ role, privileges }) =>
      `GRANT ${privileges.join(', ')} ON DATABASE ${quoteIdentifier(name)} TO ${quoteIdentifier(role)}`,
  )
  return [...memberships, ...granted]
}

/** REVOKE without the owner's rights is a mere WARNING: reads back what has come of it, and commits if all is well. */
async function restrict(
  client: Client,
  doing: string,
  statements: readonly string[],
  name: string,
  grants: readonly DatabaseGrant[],
): Promise<void> {
  await transact<Database>(client, doing, [...statements, databasesText(quoteArray([name]))], ([database]) =>
    refuseOthers(name, database, grants),
  )
}

function refuseOthers(name: string, database: Database | undefined, grants: readonly DatabaseGrant[]): void {
  const others = Object.keys(database?.privileges ?? {}).filter(each => !grants.some(({ role }) => role === each))
  if (others.length === 0) return
  const whom = others.map(each => (each === 'PUBLIC' ? each : quoteIdentifier(each))).join(', ')
  throw new TenancyError('ISOLATION_BROKEN', `database "${name}" is open to ${others.join(', ')} as well`, {
    hint: `as "${database?.owner}", its owner: REVOKE ALL ON DATABASE ${quoteIdentifier(name)} FROM ${whom};`,
  })
}

export async function revokeDatabase(client: Client, name: string, roles: readonly string[]): Promise<void> {
  await query(
    client,
    `closing database "${name}" to ${roles.join(', ')}`,
    `REVOKE ALL ON DATABASE ${quoteIdentifier(name)} FROM ${roles.map(quoteIdentifier).join(', ')}`,
  )
}

export async function setAllowConnections(client: Client, name: string, allow: boolean): Promise<void> {
  await query(
    client,
    `${allow ? 'opening' : 'closing'} database "${name}"`,
    `ALTER DATABASE ${quoteIdentifier(name)} WITH ALLOW_CONNECTIONS ${allow}`,
  )
}

/**
 * Rights, settings and comments stay. Needs a database without sessions; autovacuum makes way for it, a prepared
 * transaction does not (manual, ALTER DATABASE).
 */
export async function renameDatabase(client: Client, from: string, to: string): Promise<void> {
  await query(
    client,
    `renaming database "${from}" to "${to}"`,
    `ALTER DATABASE ${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`,
  )
}

/**
 * Drops a database and ends what sessions are left in it. FORCE does nothing about prepared transactions and slots, and
 * refuses an admin that is no superuser while autovacuum is at work there: without FORCE, autovacuum makes way.
 */
export async function dropDatabase(client: Client, name: string): Promise<void> {
  const doing = `dropping database "${name}"`
  const statement = `DROP DATABASE IF EXISTS ${quoteIdentifier(name)}`
  try {
    await query(client, doing, `${statement} WITH (FORCE)`)
  } catch (error) {
    if (sqlstateOf(error) !== sqlstate.insufficientPrivilege) throw error
    await query(client, doing, statement)
  }
}

/** Bytes on disk, or null where the role may not ask. */
export async function databaseSizes(client: Client, names: string[]): Promise<Map<string, number>> {
  const rows = await query<{ name: string; size: string }>(
    client,
    'measuring databases',
    `SELECT datname::text AS name, pg_catalog.pg_database_size(oid)::text AS size
       FROM pg_catalog.pg_database WHERE datname = ANY($1::text[]) AND datconnlimit <> -2`,
    [names],
  )
  return new Map(rows.map(row => [row.name, Number(row.size)]))
}
