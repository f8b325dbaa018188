/** The server's catalogs against the registry, read without the library. */
import { sql, urlWith } from '../support/client.ts'
import type { Namespace } from '../support/namespace.ts'

interface Row {
  registry: string
  id: string
  slug: string
  status: string
  server: string
  database: string
  username: string
  roles: 'single' | 'separate'
  retained: boolean
}

interface Catalogs {
  /** pg_database with pg_shdescription and datacl: name → what should be so, in words. */
  databases: Record<string, string>
  /** pg_roles with pg_shdescription: name → the same. */
  roles: Record<string, string>
  /** pg_db_role_setting. */
  settings: string[]
}

/**
 * What the server has of a namespace, and what it should have by the registry: `expect(actual).toEqual(expected)`. Only
 * tenants on the namespace's own server are looked at, `server` names another.
 */
export async function catalogs(
  namespace: Namespace,
  { server = 'default', superUrl = namespace.superUrl }: { server?: string; superUrl?: string } = {},
): Promise<{ actual: Catalogs; expected: Catalogs }> {
  const rows = (await registryRows(namespace)).filter(row => row.server === server)
  const stock = (await stockRows(namespace)).filter(row => row.server === server)
  return { actual: withoutTemplates(await read(namespace, superUrl)), expected: expectedOf([...rows, ...stock]) }
}

/** Ready tenants, as tenants that are shut; one that is being made, taken or removed is half-made. */
function stockRows(namespace: Namespace): Promise<Row[]> {
  return sql<Row>(
    registryOf(namespace),
    `SELECT r.id AS registry, t.uuid AS id, '' AS slug, t.status, s.name AS server, n.name AS database, n.name AS username, t.roles,
            false AS retained
       FROM tenantctl.ready_tenants t JOIN tenantctl.servers s ON s.id = t.server_id CROSS JOIN tenantctl.registry r,
            LATERAL (SELECT 'tenantctl_ready_' || replace(t.uuid::text, '-', '') AS name) n`,
  )
}

/** Whole ones: their last step gives the database its name. What is left of others is seen. */
function withoutTemplates({ databases, roles, settings }: Catalogs): Catalogs {
  const isWhole = (name: string) => {
    const template = /^tenantctl_template_[0-9a-f]{24}/.exec(name)?.[0]
    return template !== undefined && /^tenantctl [0-9a-f-]{36} template, closed$/.test(databases[template] ?? '')
  }
  const others = (table: Record<string, string>) =>
    Object.fromEntries(Object.entries(table).filter(([name, is]) => !(isWhole(name) && !is.endsWith(', login'))))
  return { databases: others(databases), roles: others(roles), settings }
}

/** Every row there is, of tenants and of tombstones. */
export function registryRows(namespace: Namespace): Promise<Row[]> {
  return sql<Row>(
    registryOf(namespace),
    `SELECT r.id AS registry, t.uuid AS id, t.slug, t.status, s.name AS server, t.db_name AS database, t.db_username AS username, t.roles,
            t.retained_until IS NOT NULL AS retained
       FROM tenantctl.tenants t JOIN tenantctl.servers s ON s.id = t.server_id CROSS JOIN tenantctl.registry r`,
  )
}

/** As the superuser: what the admin cannot see must be compared as well. */
export function registryOf(namespace: Namespace): string {
  return urlWith(namespace.superUrl, { database: `${namespace.prefix}_registry` })
}

async function read(namespace: Namespace, superUrl: string): Promise<Catalogs> {
  // Its own by their names, or because the namespace's admin made them. These catalogs are the whole server's.
  const [found] = await sql<Record<keyof Catalogs, { name: string; is: string }[]>>(
    superUrl,
    `WITH admin AS (SELECT oid FROM pg_roles WHERE rolname = $1 || '_admin'),
       databases AS (
         SELECT d.oid, d.datname::text AS name, concat_ws(', ', shobj_description(d.oid, 'pg_database'),
                CASE WHEN d.datconnlimit = -2 THEN 'invalid' WHEN d.datallowconn THEN 'open' ELSE 'closed' END,
                'PUBLIC ' || (SELECT string_agg(a.privilege_type, ' ')
                  FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0)) AS is
           FROM pg_database d WHERE d.datname <> $1 || '_registry'
            AND (starts_with(d.datname, $1 || '_') OR d.datdba IN (SELECT oid FROM admin))),
       roles AS (
         SELECT r.oid, r.rolname::text AS name, concat_ws(', ', shobj_description(r.oid, 'pg_authid'),
                CASE WHEN r.rolcanlogin THEN 'login' ELSE 'no login' END,
                CASE WHEN r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls THEN 'mighty' END) AS is
           FROM pg_roles r WHERE r.rolname <> $1 || '_admin' AND (starts_with(r.rolname, $1 || '_') OR r.oid >= 16384 AND r.oid IN (
                  SELECT m.roleid FROM pg_auth_members m WHERE m.member IN (SELECT oid FROM admin)))),
       settings AS (
         SELECT '' AS name, concat_ws(' ', COALESCE(r.name, s.setrole::text), 'in', COALESCE(d.name, s.setdatabase::text), s.setconfig) AS is
           FROM pg_db_role_setting s LEFT JOIN roles r ON r.oid = s.setrole LEFT JOIN databases d ON d.oid = s.setdatabase
          WHERE r.oid IS NOT NULL OR d.oid IS NOT NULL)
     SELECT (SELECT COALESCE(json_agg(d), '[]') FROM databases d) AS databases,
            (SELECT COALESCE(json_agg(r), '[]') FROM roles r) AS roles,
            (SELECT COALESCE(json_agg(s), '[]') FROM settings s) AS settings`,
    [namespace.prefix],
  )
  const table = (list: { name: string; is: string }[] = []) =>
    Object.fromEntries(list.map(({ name, is }) => [name, is]))
  return {
    databases: table(found?.databases),
    roles: table(found?.roles),
    settings: (found?.settings ?? []).map(({ is }) => is).sort(),
  }
}

/** Whatever is not active or suspended is half-made, and nothing is after a repair. */
function expectedOf(rows: readonly Row[]): Catalogs {
  const expected: Catalogs = { databases: {}, roles: {}, settings: [] }
  for (const { registry, id, status, retained, database, username, roles } of rows) {
    const marker = `tenantctl ${registry} ${id}`
    const open = status === 'active' && !retained
    expected.databases[database] = `${marker}, ${open ? 'open' : 'closed'}`
    const login = `${marker}, ${open ? 'login' : 'no login'}`
    expected.roles[username] = login
    if (roles === 'single') continue
    expected.roles[`${username}_owner`] = `${marker}, no login`
    expected.roles[`${username}_migrator`] = login
    expected.settings.push(`${username}_migrator in ${database} {role=${username}_owner}`)
  }
  expected.settings.sort()
  return expected
}
