import { throwIfAborted } from '../errors.ts'
import { MigrationHistory } from '../migrations/history.ts'
import { versionOf } from '../migrations/version.ts'
import { insideAsTenant } from '../provisioning/as-tenant.ts'
import type { ProvisioningParts } from '../provisioning/parts.ts'
import { rereadHistory } from '../provisioning/remedies.ts'
import { historySchema } from '../registry/roles.ts'
import type { TenantVersion } from '../registry/tenant-registry.ts'
import type { ExamineOptions } from './doctor.ts'
import type { Finding } from './finding.ts'
import { chooseSample, inParallel } from './sample.ts'

/**
 * Whether the registry knows what is applied in the databases. A rollout trusts it, and a restore, a clone or the knex
 * CLI do not tell it. Asked over the logins of some tenants of each server, since nothing else may look there.
 */
export async function checkHistories(
  parts: ProvisioningParts,
  servers: readonly string[],
  options: ExamineOptions,
): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const server of servers) {
    const tenants = await parts.registry.select({ server, status: 'active' })
    const sample = chooseSample(tenants, options.sample)
    if (sample.length > 0) findings.push(...(await checkServer(parts, server, sample, options)))
  }
  return findings
}

async function checkServer(
  parts: ProvisioningParts,
  server: string,
  sample: readonly TenantVersion[],
  options: ExamineOptions,
): Promise<Finding[]> {
  const found: Finding[] = []
  let asked = 0
  const work = async (tenant: TenantVersion) => {
    try {
      const difference = await differenceOf(parts, tenant, options)
      asked += 1
      if (difference) found.push(difference)
    } catch {
      // Why nobody can log in there is for the other checks to tell.
      throwIfAborted(options.signal)
    }
  }
  await inParallel(sample, work, sample.length > quietly ? options.onEvent : undefined)
  if (found.length > 0 || asked === 0) return found
  return [
    {
      ...{ check: 'migrations', status: 'ok', server },
      message: `the registry knows what is applied in ${asked === 1 ? 'the database that was' : `all ${asked} databases that were`} asked`,
    },
  ]
}

/** Of fewer tenants no progress is told. */
const quietly = 50

async function differenceOf(
  parts: ProvisioningParts,
  tenant: TenantVersion,
  options: ExamineOptions,
): Promise<Finding | undefined> {
  if ((await applied(parts, tenant, options)).hash === tenant.migrationsHash) return undefined
  // A run may have been at work on it between the two readings.
  const [known] = await parts.registry.select({ tenants: [tenant.id] })
  const found = known?.status === 'active' ? await applied(parts, known, options) : undefined
  if (!known || !found || found.hash === known.migrationsHash) return undefined
  const versions =
    found.name === known.schemaVersion
      ? 'others than the registry knows of are applied in its database'
      : `its database is at ${found.name ?? 'no migration'}, and the registry has it at ${known.schemaVersion ?? 'none'}`
  return {
    ...{ check: 'migrations', status: 'problem', server: known.server, tenant: known.slug, message: versions },
    fix: `tenantctl migrate ${known.slug} --verify`,
    mend: async () => void (await rereadHistory({ parts, tenant: known, options })),
  }
}

async function applied(parts: ProvisioningParts, tenant: TenantVersion, { signal }: ExamineOptions) {
  const history = await insideAsTenant({ parts, tenant, signal }, client =>
    new MigrationHistory(client, historySchema(tenant)).read(),
  )
  return versionOf(history.map(each => each.name))
}
