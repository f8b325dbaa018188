import type { ServerAddress } from './address.ts'

/**
 * The variables with which a program of PostgreSQL's own (psql, pg_dump) logs in to an address: the environment can be
 * read by its own user alone, arguments by everybody on the machine. Names every variable that libpq would otherwise
 * fill in from a file (manual, 34.15).
 */
export function libpqEnvironment(address: ServerAddress): Record<string, string> {
  const { host, port, database, user, password, sslmode, sslrootcert, sslcert, sslkey, connectTimeout } = address
  return {
    PGHOST: host,
    PGPORT: String(port),
    PGDATABASE: database,
    PGUSER: user,
    ...(password ? { PGPASSWORD: password.reveal() } : {}),
    PGSSLMODE: sslmode,
    // Without a certificate authority of its own, verify-full means the system's: libpq has to be told so (from 16 on).
    ...(sslrootcert ? { PGSSLROOTCERT: sslrootcert } : sslmode === 'verify-full' ? { PGSSLROOTCERT: 'system' } : {}),
    ...(sslcert ? { PGSSLCERT: sslcert } : {}),
    ...(sslkey ? { PGSSLKEY: sslkey } : {}),
    PGCONNECT_TIMEOUT: String(connectTimeout),
    PGGSSENCMODE: 'disable',
    PGAPPNAME: 'tenantctl',
  }
}
