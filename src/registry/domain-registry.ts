import { TenancyError } from '../errors.ts'
import { parseDomain } from '../hostname.ts'
import type { RegistryConnection } from './connection.ts'
import type { Tenant } from './tenant.ts'

/** A domain of a tenant's own. */
export interface Domain {
  /** Lower case, punycode. */
  domain: string
  /** Slug. */
  tenant: string
  createdAt: string
}

/** The domains of the registry. */
export class DomainRegistry {
  constructor(private readonly registry: RegistryConnection) {}

  /** Throws `DOMAIN_INVALID`, or `DOMAIN_EXISTS` when it is another tenant's. Twice for the same tenant is fine. */
  async add(tenant: Pick<Tenant, 'id' | 'slug'>, written: string): Promise<Domain> {
    const domain = parseDomain(written)
    // A tenant that was dropped and is merely kept lets go of its domain when another one wants it.
    await this.registry.query(
      'adding a domain',
      `INSERT INTO tenantctl.domains AS d (domain, tenant_uuid) VALUES ($1, $2)
       ON CONFLICT (domain) DO UPDATE SET tenant_uuid = EXCLUDED.tenant_uuid, created_at = EXCLUDED.created_at
        WHERE EXISTS (SELECT FROM tenantctl.tenants t WHERE t.uuid = d.tenant_uuid AND t.retained_until IS NOT NULL)`,
      [domain, tenant.id],
    )
    const found = await this.find(domain)
    if (found?.tenantId === tenant.id) return { domain, tenant: found.tenant, createdAt: found.createdAt }
    throw new TenancyError('DOMAIN_EXISTS', `domain ${domain} belongs to tenant "${found?.tenant}"`, {
      tenant: tenant.slug,
      hint: `tenantctl domain remove ${domain}`,
    })
  }

  /** Returns what was removed. Throws `DOMAIN_NOT_FOUND`. */
  async remove(written: string): Promise<Domain> {
    const domain = parseDomain(written)
    const [row] = await this.registry.query<DomainRow>(
      'removing a domain',
      `DELETE FROM tenantctl.domains d USING tenantctl.tenants t
        WHERE t.uuid = d.tenant_uuid AND d.domain = $1 RETURNING d.domain, t.slug AS tenant, d.created_at`,
      [domain],
    )
    if (row) return toDomain(row)
    throw new TenancyError('DOMAIN_NOT_FOUND', `no tenant has the domain ${domain}`, {
      hint: '`tenantctl domain list` shows the domains there are',
    })
  }

  /** By domain; of one tenant, or of all. */
  async list(tenantId?: string): Promise<Domain[]> {
    const rows = await this.registry.query<DomainRow>(
      'listing domains',
      `SELECT d.domain, t.slug AS tenant, d.created_at ${fromDomains} AND ($1::uuid IS NULL OR t.uuid = $1)
        ORDER BY d.domain`,
      [tenantId ?? null],
    )
    return rows.map(toDomain)
  }

  /** `domain` as `parseDomain` or `hostOfHeader` gives it. */
  async find(domain: string): Promise<(Domain & { tenantId: string }) | undefined> {
    const [row] = await this.registry.query<DomainRow & { tenant_uuid: string }>(
      'looking up a domain',
      `SELECT d.domain, t.slug AS tenant, d.created_at, d.tenant_uuid ${fromDomains} AND d.domain = $1`,
      [domain],
    )
    return row && { ...toDomain(row), tenantId: row.tenant_uuid }
  }
}

const fromDomains = `FROM tenantctl.domains d JOIN tenantctl.tenants t ON t.uuid = d.tenant_uuid
  WHERE t.retained_until IS NULL`

interface DomainRow {
  domain: string
  tenant: string
  created_at: Date
}

function toDomain({ domain, tenant, created_at }: DomainRow): Domain {
  return { domain, tenant, createdAt: created_at.toISOString() }
}
