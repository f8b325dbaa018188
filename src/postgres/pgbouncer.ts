import type { Secret } from '../secrets/secret.ts'
import type { ServerAddress } from './address.ts'
import { quoteIdentifier, quoteLiteral } from './identifiers.ts'

/** The role that PgBouncer asks the server with, and the schema and function it asks. */
const authUser = 'pgbouncer'

interface PgBouncerInput {
  /** Name of the server in the configuration. */
  server: string
  /** Where PgBouncer finds the server; as admin, for its maintenance database. */
  address: ServerAddress
  /** Databases of the tenants. */
  databases: readonly string[]
  /** What begins the comments of roles that are tenants' logins. */
  marker: string
  poolSize: number
  listen: { host: string; port: number }
  authQuery: boolean
}

/** `pgbouncer.ini` for all tenants of a server; see PgBouncer's manual for each key. */
export function pgbouncerIni(input: PgBouncerInput): string {
  const { server, address, databases, authQuery, listen, poolSize } = input
  const place = `host=${connectionValue(address.host)} port=${address.port}`
  const only = authQuery
    ? [
        ';; Any database, under its own name: new tenants need no change here.',
        `* = ${place}`,
        '',
        ';; Where to ask for the passwords of roles.',
        `${databaseKey(address.database)} = ${place} dbname=${connectionValue(address.database)}`,
      ]
    : databases.map(name => `${databaseKey(name)} = ${place} dbname=${connectionValue(name)}`)
  return [
    `;; PgBouncer for the tenants of server "${server}", by \`tenantctl pgbouncer config\``,
    authQuery
      ? ';; Needs PgBouncer 1.19 or later, and the set-up of the server at the end of this file.'
      : ';; Write it again, and reload PgBouncer, when tenants come or go; --auth-query spares you that.',
    '',
    '[databases]',
    ...only,
    '',
    '[pgbouncer]',
    `listen_addr = ${listen.host}`,
    `listen_port = ${listen.port}`,
    ';; A server connection for a transaction, so that a few serve many tenants.',
    'pool_mode = transaction',
    'auth_type = scram-sha-256',
    'auth_file = /etc/pgbouncer/userlist.txt',
    ...(authQuery
      ? [
          `auth_user = ${authUser}`,
          `auth_dbname = ${address.database}`,
          `auth_query = SELECT usename, passwd FROM ${authUser}.get_auth($1)`,
        ]
      : []),
    `server_tls_sslmode = ${address.host.startsWith('/') ? 'disable' : address.sslmode}`,
    ...(address.sslrootcert && address.sslrootcert !== 'system' ? [`server_tls_ca_file = ${address.sslrootcert}`] : []),
    'max_client_conn = 1000',
    ';; Server connections of one tenant; every tenant that was not used for a while has none.',
    `default_pool_size = ${poolSize}`,
    'server_idle_timeout = 60',
    '',
  ].join('\n')
}

/**
 * What a superuser runs once in the maintenance database, so that PgBouncer can ask for password verifiers: those of
 * tenants' logins alone, never those of an administrator.
 */
export function pgbouncerSql(input: Pick<PgBouncerInput, 'address' | 'marker'>): string {
  const user = quoteIdentifier(authUser)
  const pattern = `${input.marker.replace(/[\\%_]/g, '\\$&')} %`
  return `CREATE ROLE ${user} LOGIN;
CREATE SCHEMA ${user};
CREATE FUNCTION ${user}.get_auth(wanted text) RETURNS TABLE (usename text, passwd text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT rolname::text, rolpassword FROM pg_authid
   WHERE rolname = wanted AND rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)
     AND (rolvaliduntil IS NULL OR rolvaliduntil > now())
     AND shobj_description(oid, 'pg_authid') LIKE ${quoteLiteral(pattern)}
$$;
REVOKE ALL ON FUNCTION ${user}.get_auth(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ${user}.get_auth(text) TO ${user};
GRANT USAGE ON SCHEMA ${user} TO ${user};
GRANT CONNECT ON DATABASE ${quoteIdentifier(input.address.database)} TO ${user};
`
}

/** One line of `userlist.txt`. */
export function userlistLine(user: string, password: Secret): string {
  const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
  return `${quote(user)} ${quote(password.reveal())}\n`
}

function databaseKey(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : quoteIdentifier(name)
}

/** As in a connection string of PgBouncer: a quote within quotes is doubled. */
function connectionValue(value: string): string {
  return /^[\w./:-]+$/.test(value) ? value : `'${value.replaceAll("'", "''")}'`
}
