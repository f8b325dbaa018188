import { resolve } from 'node:path'
import type { Knex } from 'knex'
import { TenancyError } from '../errors.ts'
import type { Listener } from '../events.ts'
import type { SslMode } from '../postgres/address.ts'
import type { RoleModel } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { EncryptionProvider } from '../secrets/provider.ts'
import type { Secret } from '../secrets/secret.ts'
import type { Hooks } from './hooks.ts'
import { validateConfig } from './validate.ts'

/** A length of time: `'5s'`, `'2 minutes'`, `'1h'`, or a number of milliseconds. */
export type Duration = string | number

/** Why a tenant's database gets the name it gets. */
export interface TenantIdentity {
  slug: string
  /** UUID. */
  id: string
  name: string
}

/** What people write in `tenantctl.config.ts`, or hand to `createTenancy`. */
export interface TenancyConfig {
  /**
   * The PostgreSQL server that holds the registry, and the tenants that ask for no other server.
   * `'embedded'`: a server of tenantctl's own on this machine, for a first try, development and tests.
   * `url`: `postgresql://admin:password@host:5432/database`; the database defaults to `tenantctl`. TLS is set by its
   * parameters `sslmode`, `sslrootcert`, `sslcert` and `sslkey`, which mean what they mean to libpq.
   */
  registry?: 'embedded' | { url: string | Secret } | undefined
  embedded?:
    | {
        /** Folder of the embedded server and its data. Default: `.tenantctl` beside the configuration file. */
        directory?: string | undefined
      }
    | undefined
  /** More servers for tenants, by name. The name `default` is the registry's own server. */
  servers?: Record<string, { url: string | Secret; via?: Pooler | undefined }> | undefined
  encryption?:
    | {
        /**
         * Keys that tenants' passwords are encrypted with in the registry, 32 bytes in base64 each: the first encrypts,
         * all decrypt. `tenantctl key generate` makes one. Default: none, save for the embedded server, which has its own.
         */
        keys?: (string | Secret)[] | undefined
        /** A key service of your own, such as Vault or a cloud's KMS, in the place of the keys. Default: none. */
        provider?: EncryptionProvider | undefined
      }
    | undefined
  migrations?:
    | {
        /** Folder of the tenants' migrations. Default: `migrations/tenant` beside the configuration file. */
        directory?: string | undefined
        /** How long a migration waits for a lock of a table. Default: 5s. 0: for ever. */
        lockTimeout?: Duration | undefined
        /** How long one statement of a migration may take. Default: 0, as long as it wants. */
        statementTimeout?: Duration | undefined
      }
    | undefined
  seeds?:
    | {
        /** Folder of the tenants' seed files. Default: `seeders/tenant` beside the configuration file. */
        directory?: string | undefined
      }
    | undefined
  /**
   * Roles of new tenants. `'single'`: one login that owns schema public. `'separate'`: an owner that cannot log in, a
   * migrator, and an application's login that may read and write rows but change no schema. Default: `'single'`.
   */
  roles?: RoleModel | undefined
  /**
   * How databases and roles of new tenants are named. `'opaque'`: after the tenant's id, since names of databases and
   * roles can be read by every login on a server. Default: `tenant_` and the slug.
   */
  naming?:
    | 'opaque'
    | {
        /** What names of databases and roles begin with. Default: `tenant_`. May be empty. */
        prefix?: string | undefined
        /** Name of a tenant's database and role, at most 63 bytes. Default: prefix and slug, with `_` for `-`. */
        database?: ((tenant: TenantIdentity) => string) | undefined
        /** Slugs that no tenant may have, beside those that tenantctl refuses anyway. Default: none. */
        reserved?: string[] | undefined
      }
    | undefined
  database?:
    | {
        /** Extensions that every new tenant database gets. Default: none. */
        extensions?: string[] | undefined
        /** Connections that a tenant's role may hold at once. Default: -1, no limit. */
        connectionLimit?: number | undefined
      }
    | undefined
  /**
   * Whether new tenants are copied from a template database, which is built on first use, instead of running every
   * migration and seed for each. Seeds that make something else for each tenant say so: `export const perTenant = true`,
   * or `-- seed:per-tenant` on the first line. Default: true.
   */
  template?: boolean | undefined
  pool?:
    | {
        /**
         * How many ready tenants each server keeps in stock: copies of the template that are nobody's yet, of which
         * `create` makes a tenant by giving one its names and a password. `tenantctl pool fill` and `tenantctl worker`
         * fill it. Default: 0, and none is taken. At most 1000.
         */
        size?: number | undefined
      }
    | undefined
  fleet?:
    | {
        /** How many tenants a fleet command works on at once. Default: what the servers have connections for. */
        concurrency?: number | undefined
        /** The same on any one server. Default: what `concurrency` allows. */
        concurrencyPerServer?: number | undefined
        /**
         * Take a fingerprint of a tenant's schema after each migration, as `drift` does. That reads the catalogs of every
         * database that was changed, which costs the server more than a small migration itself: about 13 ms of its time
         * against 5. Default: false, `drift` takes them when it is asked.
         */
        fingerprint?: boolean | undefined
        /** Failed tenants, as a number or as `'10%'`, after which no further tenant is begun. */
        maxFailures?: number | string | undefined
        /**
         * Called after each tenant of the canary group was migrated, with a knex on its own login; throwing fails the
         * tenant, and the others are not begun. Default: nothing is called.
         */
        verify?: ((tenant: Tenant, knex: Knex) => unknown) | undefined
      }
    | undefined
  connections?:
    | {
        /** Connections that `tenancy.connections` may hold open at once, over all tenants. Default: 20. */
        max?: number | undefined
        /** The same for one tenant. Default: 5, or `max` when that is less. */
        perTenant?: number | undefined
        /** After this time without use a connection is closed. Default: 30s. */
        idleTimeout?: Duration | undefined
        /** How long to wait for a free connection. Default: 10s. */
        acquireTimeout?: Duration | undefined
        /**
         * For how long a tenant is used as it is known without a word from the registry, which tells of changes as long
         * as it can be reached. Default: 5s.
         */
        registryTtl?: Duration | undefined
        /**
         * A PgBouncer in front of the default server, for what `tenancy.connections` opens. Everything else, such as
         * migrations, goes to the server itself. Other servers have a `via` of their own. Default: none.
         */
        via?: Pooler | undefined
      }
    | undefined
  drop?:
    | {
        /** Makes every drop write a verified dump first, into this folder. Default: none is written unless asked for. */
        backup?: { directory: string } | undefined
        /**
         * Refuses a drop without a backup: `true` every one, `'fleet'` those that do not name a single tenant.
         * Default: false.
         */
        requireBackup?: boolean | 'fleet' | undefined
        /**
         * How long a dropped tenant is kept under another name, to be brought back by `undrop` and removed by `purge`:
         * `'7d'`, at most 10 years. Default: not at all, a drop removes it at once.
         */
        retain?: Duration | undefined
      }
    | undefined
  tools?:
    | {
        /**
         * Folder of pg_dump and pg_restore. Default: the PATH and the places where PostgreSQL is usually installed, and of
         * the versions found there the oldest that is not older than the server.
         */
        directory?: string | undefined
      }
    | undefined
  /** Functions that are asked at certain points of a tenant's life. Default: none. */
  hooks?: Hooks | undefined
  /** Told of everything that happens, as it happens. Default: nobody is. */
  onEvent?: Listener | undefined
}

/** A connection pooler in transaction mode; `tenantctl pgbouncer config` writes its set-up. */
export interface Pooler {
  /** Name, address or folder of the socket. */
  host: string
  port: number
  /** As in a URL. Default: that of the server's URL. */
  sslmode?: SslMode | undefined
}

const resolved: unique symbol = Symbol.for('tenantctl.ResolvedConfig') as never

/** Where the registry is: the URL of its database with an admin login, or the embedded server and its folder. */
export type RegistryConfig = { kind: 'embedded'; directory: string } | { kind: 'url'; url: Secret }

/**
 * A configuration without a gap: validated, every default filled in, paths absolute, durations in milliseconds.
 * A URL always has user, host and database, a socket's folder as percent-encoded host, and can be read by `new URL`.
 */
export interface ResolvedConfig {
  readonly [resolved]: true
  registry: RegistryConfig
  embedded: { directory: string }
  /** Without `default`, which is the registry's. */
  servers: Record<string, { url: Secret; via?: Pooler }>
  /** Each key 32 bytes in base64. Empty: none was configured. */
  encryption: { keys: Secret[]; keyFile: string | null; provider?: EncryptionProvider }
  /** `explicit`: somebody named the folder, so it must exist. */
  migrations: { directory: string; explicit: boolean; lockTimeoutMs: number; statementTimeoutMs: number }
  seeds: { directory: string; explicit: boolean }
  roles: RoleModel
  naming: {
    prefix: string
    /** Makes the name of a new tenant's database. */
    database?: (tenant: TenantIdentity) => string
    reserved: string[]
  }
  /** `connectionLimit` -1: none. */
  database: { extensions: string[]; connectionLimit: number }
  template: boolean
  pool: { size: number }
  fleet: {
    concurrency: number | null
    concurrencyPerServer: number | null
    fingerprint: boolean
    maxFailures: string | number | null
    /** Asked of each tenant of a canary group once it is migrated; throwing makes it `failed`. */
    verify?: (tenant: Tenant, knex: Knex) => unknown
  }
  connections: {
    max: number
    perTenant: number
    idleTimeoutMs: number
    acquireTimeoutMs: number
    registryTtlMs: number
    via: Pooler | null
  }
  /** `retainMs` null: dropped tenants are not kept. */
  drop: { backupDirectory: string | null; requireBackup: boolean | 'fleet'; retainMs: number | null }
  /** `path`: the folders of the environment's PATH, where they are known. */
  tools: { directory: string | null; path: string[] }
  hooks: Hooks
  onEvent?: Listener
}

/** What is valid but may lack a server: before `NOT_CONFIGURED` is decided. */
export type ValidConfig = Omit<ResolvedConfig, typeof resolved | 'registry'> & { registry: RegistryConfig | null }

/** Gives `tenantctl.config.ts` its types; returns what it is given. */
export function defineConfig(config: TenancyConfig): TenancyConfig {
  return config
}

export function isResolvedConfig(config: object): config is ResolvedConfig {
  return (config as Partial<ResolvedConfig>)[resolved] === true
}

/**
 * Validates a configuration that was written in code. Relative folders are meant from `directory`, by default the
 * working folder. Throws `CONFIG_INVALID`, `ENCRYPTION_KEY_INVALID` or `NOT_CONFIGURED`.
 */
export function resolveTenancyConfig(config: TenancyConfig, options: { directory?: string } = {}): ResolvedConfig {
  const directory = resolve(options.directory ?? '.')
  const hint = "Give createTenancy a `registry`: { url: 'postgresql://admin@host:5432' } or 'embedded'."
  return withServer(validateConfig(config, { directory, place: 'configuration' }), hint)
}

/** Marks a configuration as resolved, or says that it names no server. */
export function withServer(config: ValidConfig, hint: string): ResolvedConfig {
  const { registry } = config
  if (registry === null) throw new TenancyError('NOT_CONFIGURED', 'no PostgreSQL server is configured', { hint })
  return { ...config, registry, [resolved]: true }
}
