import { hostOfHeader } from '../hostname.ts'
import type { Domain } from '../registry/domain-registry.ts'
import type { LazyParts } from './parts.ts'

/** Domains of the customers' own, such as `app.acme.com`. */
export class Domains {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /**
   * Gives a tenant, by slug or id, a domain. Twice is fine. Throws `TENANT_NOT_FOUND`, `DOMAIN_INVALID`, or
   * `DOMAIN_EXISTS` when it is another tenant's. Nobody checks whether the domain is the customer's: do that before.
   */
  async add(slugOrId: string, domain: string): Promise<Domain> {
    const { registry, domains } = await this.parts.get()
    return domains.add(await registry.get(slugOrId), domain)
  }

  /** Returns the domain that it was. Throws `DOMAIN_NOT_FOUND` or `DOMAIN_INVALID`. */
  async remove(domain: string): Promise<Domain> {
    return (await this.parts.get()).domains.remove(domain)
  }

  /** The domains of a tenant, or of all, by name. Throws `TENANT_NOT_FOUND`. */
  async list(slugOrId?: string): Promise<Domain[]> {
    const { registry, domains } = await this.parts.get()
    return domains.list(slugOrId === undefined ? undefined : (await registry.get(slugOrId)).id)
  }

  /**
   * The slug of the tenant that a host belongs to; undefined when there is none. `host` may be a Host header, with port
   * and in any case. Remembered as tenants are, so that it costs no query.
   */
  async resolve(host: string): Promise<string | undefined> {
    const name = hostOfHeader(host)
    if (name === undefined) return undefined
    return (await (await this.parts.get()).connections()).slugOfDomain(name)
  }
}
