import { fingerprintDatabase, readSchema } from '../drift/catalog.ts'
import { compareSchemas, type SchemaDifference } from '../drift/compare.ts'
import type { TenantOutcome } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import type { Client } from '../postgres/connect.ts'
import type { Tenant } from '../registry/tenant.ts'
import { asTenant, type FleetOptions, runOverTenants, unlessActive } from './fleet.ts'
import type { LazyParts, Parts } from './parts.ts'
import { selectTenants } from './select.ts'

/** Tenants whose schemas are alike. */
export interface SchemaGroup {
  fingerprint: string
  total: number
  /** Slugs. */
  tenants: string[]
  /** From the largest group; null for that group itself. */
  difference: SchemaDifference | null
}

/** The schemas of a fleet, by what they have in common. */
export interface DriftReport {
  command: 'drift'
  total: number
  failed: number
  skipped: number
  durationMs: number
  /** The largest group first. */
  groups: SchemaGroup[]
  /** Tenants that could not be looked at. */
  failures: TenantOutcome[]
}

/** Whether the tenants' schemas are alike, asked over each one's own login. */
export class TenantDrift {
  /** @internal */
  constructor(private readonly parts: LazyParts) {}

  /** Reads the schema of each tenant and groups those that are alike. Returns also when tenants failed. */
  async check(selection: Selection, options: FleetOptions = {}): Promise<DriftReport> {
    const parts = await this.parts.get()
    const tenants = await selectTenants(parts, selection)
    const seen = new Map<string, string[]>()
    const result = await runOverTenants(parts, 'drift', tenants, options, async (tenant, visit) => {
      const skipped = unlessActive(tenant, selection)
      if (skipped) return skipped
      const fingerprint = await asTenant(parts, tenant, visit, client => noteFingerprint(parts, tenant, client))
      const alike = seen.get(fingerprint)
      if (alike) alike.push(tenant.slug)
      else seen.set(fingerprint, [tenant.slug])
      return { status: 'checked' }
    })
    const { total, failed, skipped, durationMs } = result
    const failures = result.tenants.filter(outcome => outcome.status === 'failed')
    return { command: 'drift', total, failed, skipped, durationMs, groups: await group(parts, seen), failures }
  }
}

/** Takes a database's fingerprint and writes it down, with the whole schema when it was never seen before. */
export async function noteFingerprint(parts: Parts, tenant: Tenant, client: Client): Promise<string> {
  const fingerprint = await fingerprintDatabase(client)
  if (!(await parts.fingerprints.note(tenant.id, fingerprint))) {
    await parts.fingerprints.add(fingerprint, await readSchema(client))
    await parts.fingerprints.note(tenant.id, fingerprint)
  }
  return fingerprint
}

async function group(parts: Parts, seen: Map<string, string[]>): Promise<SchemaGroup[]> {
  for (const tenants of seen.values()) tenants.sort()
  // Tenants are looked at several at once: among groups of one size their names, not their turn, give the order.
  const largestFirst = [...seen].sort(([, a], [, b]) => b.length - a.length || compareText(a[0], b[0]))
  const schemas = await Promise.all(largestFirst.map(([fingerprint]) => parts.fingerprints.objects(fingerprint)))
  return largestFirst.map(([fingerprint, tenants], index) => ({
    fingerprint,
    total: tenants.length,
    tenants,
    difference: index === 0 ? null : compareSchemas(schemas[0] ?? [], schemas[index] ?? []),
  }))
}

function compareText(a = '', b = ''): number {
  return a < b ? -1 : a > b ? 1 : 0
}
