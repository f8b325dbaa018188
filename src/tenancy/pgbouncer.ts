import { TenancyError } from '../errors.ts'
import { pgbouncerIni, pgbouncerSql, userlistLine } from '../postgres/pgbouncer.ts'
import { defaultServer } from '../registry/servers.ts'
import { Secret } from '../secrets/secret.ts'
import type { LazyParts } from './parts.ts'

/** For which server the set-up is, and of which kind. */
export interface PgBouncerOptions {
  /** Whose tenants. Default: `default`. */
  server?: string | undefined
  /**
   * Let PgBouncer ask the server for password verifiers, so that new tenants and new passwords need no change of its
   * files. Needs PgBouncer 1.19, and a superuser once. Default: false, every tenant is listed.
   */
  authQuery?: boolean | undefined
  /** Where PgBouncer listens. Default: 127.0.0.1:6432. */
  listen?: { host: string; port: number } | undefined
  /** Read the tenants' passwords for `userlist`. Default: false. */
  userlist?: boolean | undefined
}

/** The texts of PgBouncer's files. */
export interface PgBouncerSetup {
  server: string
  /** Content of `pgbouncer.ini`. */
  ini: string
  /** What a superuser runs in database `sqlDatabase`; null without `authQuery`. */
  sql: string | null
  sqlDatabase: string | null
  /** Content of `userlist.txt`, with passwords; null unless asked for. */
  userlist: Secret | null
}

/** The set-up of a PgBouncer in front of a server, for all of its tenants. Throws `SERVER_NOT_FOUND` or `USAGE`. */
export async function pgbouncerSetup(lazy: LazyParts, options: PgBouncerOptions): Promise<PgBouncerSetup> {
  const parts = await lazy.get()
  const { server = defaultServer, authQuery = false, listen = { host: '127.0.0.1', port: 6432 } } = options
  if (authQuery && options.userlist) {
    throw new TenancyError('USAGE', 'with auth_query, PgBouncer needs no list of users', {
      hint: 'leave one of the two out',
    })
  }
  const address = parts.servers.admin(server)
  const tenants = (await parts.registry.list({ server })).filter(({ status }) => used.has(status))
  const { connections } = parts.config
  const marker = `tenantctl ${parts.registryId}`
  const databases = tenants.map(tenant => tenant.database)
  const input = { server, address, databases, marker, poolSize: connections.perTenant, listen, authQuery }
  let userlist: string | undefined
  if (options.userlist) {
    userlist = ''
    for (const tenant of tenants) {
      const { username, password } = await parts.registry.credentials(tenant)
      userlist += userlistLine(username, password)
    }
  }
  return {
    server,
    ini: pgbouncerIni(input),
    sql: authQuery ? pgbouncerSql(input) : null,
    sqlDatabase: authQuery ? address.database : null,
    userlist: userlist === undefined ? null : new Secret(userlist),
  }
}

/** A suspended tenant comes back; the server refuses it until then. */
const used = new Set(['active', 'suspended'])
