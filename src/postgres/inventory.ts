import type { Client } from './connect.ts'
import { query } from './query.ts'

/*
 * Everything of a kind in one query: a server with thousands of databases is read from its maintenance database, and
 * no tenant's is entered.
 */

export interface DatabaseEntry {
  name: string
  owner: string
  ownerIsSuperuser: boolean
  ownerIsAdmin: boolean
  /** The admin has the rights of the owner. */
  mine: boolean
  allowConnections: boolean
  connectionLimit: number
  /** A DROP DATABASE was interrupted (datconnlimit = -2). */
  invalid: boolean
  /** COMMENT ON DATABASE. */
  marker: string | null
  /** Who may do what, without the owner: `{"PUBLIC": ["CONNECT", "TEMPORARY"]}`. */
  privileges: Record<string, string[]>
}

export interface RoleEntry {
  name: string
  canLogin: boolean
  superuser: boolean
  createdb: boolean
  createrole: boolean
  replication: boolean
  bypassrls: boolean
  /** VALID UNTIL has passed: no password is accepted any more. */
  expired: boolean
  /** COMMENT ON ROLE. */
  marker: string | null
  /** Roles whose member it is. */
  memberOf: string[]
  /** Its members, without the admin. */
  members: string[]
  /** What the admin may do with it: use its rights, act as it (SET ROLE), alter and drop it. */
  admin: { inherit: boolean; set: boolean; admin: boolean }
}

export async function listDatabases(client: Client): Promise<DatabaseEntry[]> {
  return query<DatabaseEntry>(
    client,
    'listing databases',
    `SELECT d.datname::text AS name, o.rolname::text AS owner, o.rolsuper AS "ownerIsSuperuser",
            o.rolname = current_user AS "ownerIsAdmin",
            pg_catalog.pg_has_role(d.datdba, 'USAGE') AS mine, d.datallowconn AS "allowConnections",
            d.datconnlimit AS "connectionLimit", d.datconnlimit = -2 AS invalid, c.description AS marker,
            COALESCE((SELECT pg_catalog.jsonb_object_agg(grantee, granted) FROM (
               SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END AS grantee,
                      pg_catalog.jsonb_agg(a.privilege_type ORDER BY a.privilege_type) AS granted
                 FROM pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
                WHERE a.grantee <> d.datdba GROUP BY 1) p), '{}') AS privileges
       FROM pg_catalog.pg_database d
       JOIN pg_catalog.pg_roles o ON o.oid = d.datdba
       LEFT JOIN pg_catalog.pg_shdescription c
         ON c.objoid = d.oid AND c.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass
      ORDER BY d.datname`,
  )
}

/** Without the predefined roles. */
export async function listRoles(client: Client): Promise<RoleEntry[]> {
  return query<RoleEntry>(
    client,
    'listing roles',
    // 'SET' is a word of pg_has_role from 16 on; before, every member may SET ROLE and CREATEROLE may alter all.
    `WITH version AS (SELECT pg_catalog.current_setting('server_version_num')::int >= 160000 AS modern),
          self AS (SELECT oid, rolsuper, rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user)
     SELECT r.rolname::text AS name, r.rolcanlogin AS "canLogin", r.rolsuper AS superuser, r.rolcreatedb AS createdb,
            r.rolcreaterole AS createrole, r.rolreplication AS replication, r.rolbypassrls AS bypassrls,
            COALESCE(r.rolvaliduntil < pg_catalog.now(), false) AS expired, c.description AS marker,
            ARRAY(SELECT DISTINCT g.rolname::text FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
                   WHERE m.member = r.oid ORDER BY 1) AS "memberOf",
            ARRAY(SELECT DISTINCT g.rolname::text FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.member
                   WHERE m.roleid = r.oid AND m.member <> self.oid ORDER BY 1) AS members,
            pg_catalog.jsonb_build_object(
              'inherit', pg_catalog.pg_has_role(r.oid, 'USAGE'),
              'set', CASE WHEN version.modern THEN pg_catalog.pg_has_role(r.oid, 'SET') ELSE pg_catalog.pg_has_role(r.oid, 'MEMBER') END,
              'admin', self.rolsuper OR self.rolcreaterole AND
                       (NOT version.modern OR pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'))) AS admin
       FROM version, self, pg_catalog.pg_roles r
       LEFT JOIN pg_catalog.pg_shdescription c
         ON c.objoid = r.oid AND c.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
      WHERE r.rolname !~ '^pg_'
      ORDER BY r.rolname`,
  )
}

/** How many things a role owns or has privileges on, in all databases; memberships are not counted. */
export async function countDependencies(client: Client, role: string): Promise<number> {
  const [row] = await query<{ count: number }>(
    client,
    `looking for what role "${role}" owns`,
    `SELECT count(*)::int AS count FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
      WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname = $1
        AND s.classid <> 'pg_catalog.pg_auth_members'::pg_catalog.regclass`,
    [role],
  )
  return row?.count ?? 0
}

/** Whether somebody beside the admin may act as a role. */
export async function hasMembers(client: Client, role: string): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    client,
    `looking for the members of role "${role}"`,
    `SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
       WHERE r.rolname = $1 AND m.member::pg_catalog.regrole <> current_user::pg_catalog.regrole) AS found`,
    [role],
  )
  return row?.found === true
}

export interface ServerFacts {
  /** As in server_version_num: 180004. */
  version: number
  user: string
  superuser: boolean
  createdb: boolean
  createrole: boolean
  signalBackend: boolean
  /** A standby: nothing can be changed on it. */
  readOnly: boolean
  /** Connections that a plain role may take: max_connections without the reserved ones. */
  maxConnections: number
  usedConnections: number
  autovacuum: boolean
  /** Seconds. */
  autovacuumNaptime: number
  passwordEncryption: string
}

export async function serverFacts(client: Client): Promise<ServerFacts> {
  const [facts] = await query<ServerFacts>(
    client,
    'reading the server',
    `SELECT pg_catalog.current_setting('server_version_num')::int AS version, r.rolname::text AS user,
            r.rolsuper AS superuser, r.rolsuper OR r.rolcreatedb AS createdb, r.rolsuper OR r.rolcreaterole AS createrole,
            pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER') AS "signalBackend",
            pg_catalog.pg_is_in_recovery() AS "readOnly",
            pg_catalog.current_setting('max_connections')::int
              - pg_catalog.current_setting('superuser_reserved_connections')::int
              - COALESCE(pg_catalog.current_setting('reserved_connections', true)::int, 0) AS "maxConnections",
            (SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS "usedConnections",
            pg_catalog.current_setting('autovacuum')::bool AS autovacuum,
            (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'autovacuum_naptime') AS "autovacuumNaptime",
            pg_catalog.current_setting('password_encryption') AS "passwordEncryption"
       FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`,
  )
  return facts as ServerFacts
}

export interface PreparedTransaction {
  gid: string
  database: string
  owner: string
  ageSeconds: number
}

/** Transactions that were prepared and neither committed nor rolled back, oldest first. */
export async function preparedTransactions(client: Client): Promise<PreparedTransaction[]> {
  return query<PreparedTransaction>(
    client,
    'listing prepared transactions',
    `SELECT gid, database::text AS database, owner::text AS owner,
            EXTRACT(epoch FROM pg_catalog.now() - prepared)::int AS "ageSeconds"
       FROM pg_catalog.pg_prepared_xacts ORDER BY prepared`,
  )
}

/** Bytes on disk, or null where the role may not ask. */
export async function databaseSize(client: Client, name: string): Promise<number | null> {
  try {
    const [row] = await query<{ size: string | null }>(
      client,
      `measuring database "${name}"`,
      'SELECT pg_catalog.pg_database_size(oid)::text AS size FROM pg_catalog.pg_database WHERE datname = $1',
      [name],
    )
    return row?.size == null ? null : Number(row.size)
  } catch {
    return null
  }
}
