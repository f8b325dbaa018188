import { groupFailures } from '../fleet/failures.ts'
import type { FailureGroup } from '../fleet/result.ts'
import type { Selection } from '../fleet/selection.ts'
import { knownStates } from '../migrations/states.ts'
import type { LastFailure } from '../registry/fleet-census.ts'
import type { TenantStatus } from '../registry/tenant.ts'
import type { Parts } from './parts.ts'
import { lastingSelection, refuseUnknownServer } from './select.ts'

/** Tenants at one version. */
export interface VersionCount {
  /** Name of the last applied migration; null for an empty schema. */
  version: string | null
  tenants: number
  /** How many migrations of the folder they lack; null when the registry cannot tell. */
  pending: number | null
}

/** Tenants whose last attempt at something failed alike. */
export interface FailureSummary extends FailureGroup {
  /** When the first and the last of them failed. */
  since: string
  until: string
  /** The run of the last of them. */
  run: string
}

/** A fleet at a glance, as the registry knows it. */
export interface FleetSummary {
  command: 'status'
  summary: true
  total: number
  /** Newest migration of the folder; null when there is none. */
  target: string | null
  upToDate: number
  behind: number
  byStatus: Partial<Record<TenantStatus, number>>
  /** Oldest version first. */
  versions: VersionCount[]
  /** What failed last on a tenant and was not mended since, oldest first. */
  failures: FailureSummary[]
}

export async function summarize(parts: Parts, selection: Selection): Promise<FleetSummary> {
  const migrations = await parts.migrations()
  const known = knownStates(migrations)
  const chosen = await lastingSelection(parts, selection)
  const newest = known.newest
  const [groups, failures] = await Promise.all([parts.census.groups(chosen), parts.census.failures(chosen, newest)])
  if (groups.length === 0) refuseUnknownServer(parts, selection)
  const versions = new Map<string, VersionCount>()
  const byStatus: FleetSummary['byStatus'] = {}
  let upToDate = 0
  let total = 0
  for (const { version, hash, status, tenants } of groups) {
    total += tenants
    byStatus[status] = (byStatus[status] ?? 0) + tenants
    const pending = known.pending(hash)?.length ?? null
    if (pending === 0) upToDate += tenants
    const key = JSON.stringify([version, pending])
    const count = versions.get(key) ?? { version, tenants: 0, pending }
    versions.set(key, { ...count, tenants: count.tenants + tenants })
  }
  const order = (version: string | null) => migrations.findIndex(migration => migration.name === version)
  return {
    ...{ command: 'status', summary: true, total },
    target: migrations.at(-1)?.name ?? null,
    ...{ upToDate, behind: total - upToDate, byStatus },
    versions: [...versions.values()].sort((a, b) => order(a.version) - order(b.version) || b.tenants - a.tenants),
    failures: group(failures),
  }
}

function group(failures: readonly LastFailure[]): FailureSummary[] {
  const spans = new Map<FailureGroup, Pick<FailureSummary, 'since' | 'until' | 'run'>>()
  const groups = groupFailures(failures, (each, { at, run }) => {
    spans.set(each, { since: spans.get(each)?.since ?? at, until: at, run })
  })
  return groups
    .map(each => ({ ...each, ...(spans.get(each) as Pick<FailureSummary, 'since' | 'until' | 'run'>) }))
    .sort((a, b) => (a.since < b.since ? -1 : 1))
}
