import { type ErrorCode, TenancyError } from '../errors.ts'
import { inactiveCodes, type TenantStatus } from '../registry/tenant.ts'
import type { FoundLogin, TenantRegistry } from '../registry/tenant-registry.ts'
import { type Cacheable, RegistryCache } from './registry-cache.ts'
import type { RegistryWatch } from './registry-watch.ts'

/** All that it takes to log in to a tenant while the registry cannot be reached. */
export type KnownTenant = Cacheable & FoundLogin

const unusable: Partial<Record<TenantStatus, [code: ErrorCode, what: string, hint: (slug: string) => string]>> = {
  provisioning: [inactiveCodes.provisioning, 'is still being made', () => 'try again in a moment'],
  suspended: [inactiveCodes.suspended, 'is suspended', slug => `tenantctl resume ${slug}`],
  dropping: [inactiveCodes.dropping, 'is being dropped', slug => `tenantctl show ${slug}`],
  failed: [inactiveCodes.failed, 'is half-made: its last operation failed', slug => `tenantctl repair ${slug}`],
}

/** The tenants that this process has had to do with, by slug and id. */
export class KnownTenants {
  readonly #cache: RegistryCache<KnownTenant>

  constructor(registry: Pick<TenantRegistry, 'findLogin'>, watch: RegistryWatch, ttlMs?: number) {
    const read = async (slugOrId: string): Promise<KnownTenant | undefined> => {
      const found = await registry.findLogin(slugOrId)
      return found && { ...found, tenantId: found.tenant.id, keys: [found.tenant.id, found.tenant.slug] }
    }
    this.#cache = new RegistryCache(watch, read, ({ tenant }) => tenant.status === 'active', ttlMs)
  }

  get counts(): { hits: number; misses: number; known: number } {
    return { hits: this.#cache.hits, misses: this.#cache.misses, known: this.#cache.size }
  }

  /** Throws `TENANT_NOT_FOUND`, or the error that says why the tenant cannot be used now. */
  get(slugOrId: string): KnownTenant | Promise<KnownTenant> {
    const found = this.#cache.get(slugOrId)
    if (found instanceof Promise) return found.then(known => usable(known, slugOrId))
    return usable(found, slugOrId)
  }

  /** The same, read anew: something that was known has turned out to be wrong. */
  async reread(id: string): Promise<KnownTenant> {
    return usable(await this.#cache.reread(id), id)
  }

  outdate(tenantId: string): void {
    this.#cache.outdate(tenantId)
  }
}

function usable(known: KnownTenant | undefined, asked: string): KnownTenant {
  if (!known) {
    throw new TenancyError('TENANT_NOT_FOUND', `there is no tenant "${asked}"`, {
      tenant: asked,
      hint: '`tenantctl list` shows the tenants there are',
    })
  }
  const { slug, status } = known.tenant
  const problem = unusable[status]
  if (!problem) return known
  const [code, what, hint] = problem
  throw new TenancyError(code, `tenant "${slug}" ${what}`, { tenant: slug, hint: hint(slug) })
}
