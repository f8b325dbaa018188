import type { Duration } from '../config/config.ts'
import { asTenancyError } from '../errors.ts'
import type { FleetResult } from '../fleet/result.ts'
import type { Selection, TenantFilter } from '../fleet/selection.ts'
import { type ServerAddress, toUrl } from '../postgres/address.ts'
import { withRightPassword } from '../postgres/connect.ts'
import type { CreatedTenant, CreateInput, RunOptions } from '../provisioning/create.ts'
import type { RestoreInput } from '../provisioning/restore.ts'
import type { UndropOptions } from '../provisioning/undrop.ts'
import type { Operation } from '../registry/operation.ts'
import type { RetainedTenant } from '../registry/retained-tenants.ts'
import type { Tenant } from '../registry/tenant.ts'
import type { TenantLogin } from '../registry/tenant-registry.ts'
import type { Secret } from '../secrets/secret.ts'
import type { BackupOptions } from './backups.ts'
import type { ConfirmedOptions } from './confirmed.ts'
import type { InputProblem } from './create-many.ts'
import type { FleetOptions } from './fleet.ts'
import type { PurgeOptions, RotatePasswordOptions } from './lifecycle.ts'
import type { LazyParts, Parts } from './parts.ts'
import { refuseUnknownServer, selectTenants } from './select.ts'
import type { SizedTenant } from './sizes.ts'

/** Which tenants are listed, and in which order. */
export interface ListOptions extends TenantFilter {
  /** Default: `slug`. `size` puts the largest first. */
  sort?: 'slug' | 'created' | 'version' | 'size' | undefined
  limit?: number | undefined
  /** Ask the servers for the sizes of the databases as well. Default: false. */
  size?: boolean | undefined
}

export interface TenantDetails extends Tenant {
  host: string
  port: number
  sizeBytes: number | null
  connections: number | null
  applied: string[]
  pending: string[]
  /** Applied migrations that the folder lacks. */
  missing: string[]
  /** Newest first, at most 5. */
  operations: Operation[]
  /** Why the size, the connections or the migrations could not be read. */
  problem: string | null
}

/** How tenants are removed, and what is kept of them. */
export interface DropOptions extends ConfirmedOptions, BackupOptions {
  /** End open connections first. Default: false. */
  force?: boolean | undefined
  /** A named tenant that is not there is no error. Default: false. */
  ifExists?: boolean | undefined
  /**
   * How long the data is kept, for `undrop`: `'7d'` or milliseconds; false: not at all. Default: `drop.retain` of the
   * configuration.
   */
  retain?: Duration | false | undefined
}

/** Which of a tenant's logins a URL is for. */
export interface UrlOptions {
  /** The admin's login instead of the tenant's. Default: false. */
  admin?: boolean | undefined
  /** Which login, where the tenant has two (`roles: 'separate'`). Default: `app`. */
  role?: TenantLogin | undefined
}

/** All that a client needs to log in as the tenant. */
export interface ConnectionInfo {
  host: string
  port: number
  database: string
  username: string
  password: Secret
  sslmode: string
  /** Path of the authorities' certificates, or `system`. */
  sslrootcert?: string
  /** Paths of the client certificate and its key that tenantctl itself uses. */
  sslcert?: string
  sslkey?: string
}

/** The tenants of a registry. The code of what changes them is loaded by the call: most programs only read. */
export class Tenants {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /**
   * Makes a tenant: role, database, privileges, migrations, seeds. One that was left half-made is finished. Throws
   * `TENANT_EXISTS`, `NAME_INVALID`, `DATABASE_EXISTS`, or the error of the step that failed, with `step` set.
   */
  async create(input: CreateInput, options: RunOptions = {}): Promise<CreatedTenant> {
    const { createTenant, nameTenant } = await import('../provisioning/create.ts')
    await nameTenant(this.parts.config.naming, input)
    const parts = await this.parts.get()
    return createTenant(parts, input, { ...options, onEvent: options.onEvent ?? parts.config.onEvent })
  }

  /** The same for many, in parallel. Throws `INPUT_INVALID` before the first one is made; see `checkInputs`. */
  async createMany(inputs: readonly CreateInput[], options: FleetOptions = {}): Promise<FleetResult> {
    const { createMany } = await import('./create-many.ts')
    return createMany(this.parts, inputs, options)
  }

  /** All that `createMany` would refuse without asking a server; empty when there is nothing. */
  async checkInputs(inputs: readonly CreateInput[]): Promise<InputProblem[]> {
    const { checkInputs } = await import('./create-many.ts')
    return (await checkInputs(this.parts.config, inputs)).problems
  }

  /** By slug or id. Throws `TENANT_NOT_FOUND`, with slugs that look like it in the hint. */
  async get(slugOrId: string): Promise<Tenant> {
    return (await this.parts.get()).registry.get(slugOrId)
  }

  /**
   * Tenants that match, by slug unless `sort` says otherwise. Throws `SERVER_NOT_FOUND` for a server that is neither
   * configured nor holds a tenant.
   */
  async list(options: ListOptions = {}): Promise<SizedTenant[]> {
    const parts = await this.parts.get()
    const { sort, limit, size = sort === 'size', ...filter } = options
    const bySize = sort === 'size'
    const order = bySize ? { sort: 'slug' as const } : { sort, limit }
    const found = await parts.registry.list({ ...filter, ...order })
    if (found.length === 0) refuseUnknownServer(parts, filter)
    if (!size) return found
    const { withSizes } = await import('./sizes.ts')
    const tenants = await withSizes(parts, found)
    return bySize ? tenants.sort((a, b) => (b.sizeBytes ?? -1) - (a.sizeBytes ?? -1)).slice(0, limit) : tenants
  }

  /** The tenants of a selection, by slug. */
  async select(selection: Selection): Promise<Tenant[]> {
    return withoutHash(await selectTenants(await this.parts.get(), selection))
  }

  /** Everything about one tenant; what cannot be read is null, and `problem` says why. */
  async describe(slugOrId: string): Promise<TenantDetails> {
    const parts = await this.parts.get()
    const tenant = await parts.registry.get(slugOrId)
    const { host, port } = parts.servers.admin(tenant.server)
    const problems: string[] = []
    const attempt = <T>(reading: Promise<T>) =>
      reading.catch(error => {
        problems.push(asTenancyError(error).message)
        return undefined
      })
    const migrations = await attempt(parts.migrations())
    const [{ usageOf }, { readStatus }] = await Promise.all([import('./sizes.ts'), import('./migrate-tenant.ts')])
    const [usage, status, operations] = await Promise.all([
      attempt(usageOf(parts, tenant)),
      migrations && tenant.status === 'active' ? attempt(readStatus(parts, tenant, migrations)) : undefined,
      parts.journal.list({ tenant: tenant.id, limit: 5 }),
    ])
    return {
      ...tenant,
      host,
      port,
      sizeBytes: usage?.size ?? null,
      connections: usage?.connections ?? null,
      applied: status?.applied ?? [],
      pending: status?.pending ?? [],
      missing: status?.missing ?? [],
      operations,
      problem: problems.length > 0 ? problems.join('; ') : null,
    }
  }

  /** The URL of a tenant's database, password included. */
  async url(slugOrId: string, options: UrlOptions = {}): Promise<Secret> {
    const parts = await this.parts.get()
    const address = await addressOf(parts, await parts.registry.get(slugOrId), options)
    // A URL is handed to the application; our client certificate is not for it.
    return toUrl(options.admin ? address : { ...address, sslcert: undefined, sslkey: undefined })
  }

  /** The same in pieces, for programs that do not take a URL. */
  async connectionInfo(slugOrId: string, options: UrlOptions = {}): Promise<ConnectionInfo> {
    const parts = await this.parts.get()
    const address = await addressOf(parts, await parts.registry.get(slugOrId), options)
    const { host, port, database, user, password, sslmode, sslrootcert, sslcert, sslkey } = address
    return {
      host,
      port,
      database,
      username: user,
      password: password as Secret,
      sslmode,
      ...(sslrootcert === undefined ? {} : { sslrootcert }),
      ...(sslcert === undefined ? {} : { sslcert, sslkey: sslkey as string }),
    }
  }

  /**
   * Removes databases, roles and rows of the selected tenants, after a verified dump of each when one is wanted.
   * Returns also when tenants failed. Throws `TOOL_MISSING` before anything is touched.
   */
  async drop(selection: Selection, options: DropOptions = {}): Promise<FleetResult> {
    const { dropTenants } = await import('./drop-tenants.ts')
    return dropTenants(await this.parts.get(), selection, options)
  }

  /**
   * Makes a tenant of a dump, with its schema and data as they were: of one that a drop with a backup wrote, or of any
   * other in pg_dump's custom format. One that was left half-made is finished. Throws `INPUT_INVALID` for what is no
   * whole dump, `TOOL_MISSING`, and what `create` throws.
   */
  async restore(input: RestoreInput, options: RunOptions = {}): Promise<Tenant> {
    const { restoreTenant } = await import('../provisioning/restore.ts')
    const parts = await this.parts.get()
    return restoreTenant(parts, input, { ...options, onEvent: options.onEvent ?? parts.config.onEvent })
  }

  /**
   * Shuts tenants out: no logins, sessions ended, data kept. `up_to_date` when they are shut out already. The library
   * and the command line refuse to connect to them until `resume`.
   */
  async suspend(selection: Selection, options: FleetOptions = {}): Promise<FleetResult> {
    const { suspendTenants } = await import('./lifecycle.ts')
    return suspendTenants(await this.parts.get(), selection, options)
  }

  /** Lets suspended tenants in again. */
  async resume(selection: Selection, options: FleetOptions = {}): Promise<FleetResult> {
    const { resumeTenants } = await import('./lifecycle.ts')
    return resumeTenants(await this.parts.get(), selection, options)
  }

  /** Protects tenants against being dropped: a drop of one is `TENANT_PROTECTED`. */
  async protect(selection: Selection, options: FleetOptions = {}): Promise<FleetResult> {
    const { protectTenants } = await import('./lifecycle.ts')
    return protectTenants(await this.parts.get(), selection, true, options)
  }

  /** Takes the protection away again. */
  async unprotect(selection: Selection, options: FleetOptions = {}): Promise<FleetResult> {
    const { protectTenants } = await import('./lifecycle.ts')
    return protectTenants(await this.parts.get(), selection, false, options)
  }

  /**
   * Gives tenants' logins new passwords and ends the sessions that logged in with the old ones. One that was cut off is
   * finished by the next. Works also when the old password cannot be read any more.
   */
  async rotatePassword(selection: Selection, options: RotatePasswordOptions = {}): Promise<FleetResult> {
    const { rotatePasswords } = await import('./lifecycle.ts')
    return rotatePasswords(await this.parts.get(), selection, options)
  }

  /** Dropped tenants whose data is kept, the newest first. */
  async retained(): Promise<RetainedTenant[]> {
    return (await this.parts.get()).retained.list()
  }

  /**
   * Brings a dropped tenant back, with its data, names, logins and privileges, by the slug it had or by its id. Throws
   * `TENANT_NOT_FOUND`, `TENANT_AMBIGUOUS` when several had that slug, `TENANT_EXISTS` when it is taken by now, or
   * `DATABASE_EXISTS`.
   */
  async undrop(slugOrId: string, options: UndropOptions = {}): Promise<Tenant> {
    const { undropTenant } = await import('../provisioning/undrop.ts')
    const parts = await this.parts.get()
    return undropTenant(parts, slugOrId, { ...options, onEvent: options.onEvent ?? parts.config.onEvent })
  }

  /** Removes the dropped tenants whose time is over. Throws `LIMIT_EXCEEDED` when they are more than `max`. */
  async purge(options: PurgeOptions = {}): Promise<FleetResult> {
    const { purgeTenants } = await import('./lifecycle.ts')
    return purgeTenants(await this.parts.get(), options)
  }
}

async function addressOf(parts: Parts, tenant: Tenant, { admin, role = 'app' }: UrlOptions): Promise<ServerAddress> {
  if (admin) return { ...parts.servers.admin(tenant.server), database: tenant.database }
  return withRightPassword(parts.servers.tenant(tenant, await parts.registry.credentials(tenant, role)))
}

function withoutHash(tenants: (Tenant & { migrationsHash?: string | null })[]): Tenant[] {
  return tenants.map(({ migrationsHash: _, ...tenant }) => tenant)
}
