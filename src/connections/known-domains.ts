import type { DomainRegistry } from '../registry/domain-registry.ts'
import { type Cacheable, RegistryCache } from './registry-cache.ts'
import type { RegistryWatch } from './registry-watch.ts'

interface KnownDomain extends Cacheable {
  /** Of the tenant. */
  slug: string
}

/** The domains that this process was asked under, and whose they are. */
export class KnownDomains {
  readonly #cache: RegistryCache<KnownDomain>

  constructor(registry: Pick<DomainRegistry, 'find'>, watch: RegistryWatch, ttlMs?: number) {
    const read = async (domain: string): Promise<KnownDomain | undefined> => {
      const found = await registry.find(domain)
      return found && { tenantId: found.tenantId, keys: [found.domain], slug: found.tenant }
    }
    this.#cache = new RegistryCache(watch, read, () => true, ttlMs)
  }

  /** Slug of the tenant that a domain belongs to. */
  async slugOf(domain: string): Promise<string | undefined> {
    return (await this.#cache.get(domain))?.slug
  }

  outdate(tenantId: string): void {
    this.#cache.outdate(tenantId)
  }
}
