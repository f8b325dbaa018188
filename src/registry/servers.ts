import type { Pooler, ResolvedConfig } from '../config/config.ts'
import { TenancyError } from '../errors.ts'
import { nearest } from '../nearest.ts'
import { parseAddress, type ServerAddress } from '../postgres/address.ts'
import type { Tenant, TenantCredentials } from './tenant.ts'

export const defaultServer = 'default'

/** SQL that gives the id of the server whose name the parameter holds, and makes its row on first use. */
export function serverRow(parameter: string): string {
  return `INSERT INTO tenantctl.servers (name) VALUES (${parameter})
          ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING id`
}

/**
 * How to reach the servers. A server's maintenance database, from which the admin works and in which tenants are
 * locked, is the one that its URL names: for the default server the registry's own.
 */
export class Servers {
  readonly #admins: Map<string, ServerAddress>
  readonly #poolers: Map<string, Pooler>

  constructor(registry: ServerAddress, servers: ResolvedConfig['servers'], via?: Pooler | null) {
    const others = Object.entries(servers).map(([name, { url }]) => [name, parseAddress(url, 'postgres')] as const)
    this.#admins = new Map([[defaultServer, registry], ...others])
    const poolers = Object.entries(servers).flatMap(([name, { via }]) => (via ? [[name, via] as const] : []))
    this.#poolers = new Map([...(via ? [[defaultServer, via] as const] : []), ...poolers])
  }

  get names(): string[] {
    return [...this.#admins.keys()]
  }

  /** The admin's login to a server's maintenance database. Throws `SERVER_NOT_FOUND`. */
  admin(server: string): ServerAddress {
    const address = this.#admins.get(server)
    if (address) return address
    const close = nearest(server, this.#admins.keys())
    throw new TenancyError('SERVER_NOT_FOUND', `no server "${server}" is configured`, {
      hint: close.length > 0 ? `did you mean ${close[0]}?` : `configured: ${this.names.join(', ')}`,
    })
  }

  /**
   * The tenant's own login to its database. The client certificate stays the admin's, since a server may want one of
   * whoever comes (`clientcert=verify-ca`); it logs nobody in by another name than its own.
   */
  tenant(tenant: Pick<Tenant, 'server' | 'database'>, credentials: TenantCredentials): ServerAddress {
    return {
      ...this.admin(tenant.server),
      database: tenant.database,
      user: credentials.username,
      password: credentials.password,
      nextPassword: credentials.next,
    }
  }

  /** What an application logs in to: the same through the server's pooler, when it has one. */
  application(tenant: Pick<Tenant, 'server' | 'database'>, credentials: TenantCredentials): ServerAddress {
    const direct = this.tenant(tenant, credentials)
    const pooler = this.#poolers.get(tenant.server)
    if (!pooler) return direct
    return { ...direct, host: pooler.host, port: pooler.port, sslmode: pooler.sslmode ?? direct.sslmode }
  }
}
