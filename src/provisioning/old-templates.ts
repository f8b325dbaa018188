import { dropDatabase, findDatabase } from '../postgres/databases.ts'
import type { DatabaseEntry } from '../postgres/inventory.ts'
import { removeRemains } from './build-template.ts'
import type { RunOptions } from './create.ts'
import type { ProvisioningParts } from './parts.ts'
import { type PlanContext, planTemplate, templateMarker } from './template.ts'
import { templateDifferences } from './template-differences.ts'
import { whileNobodyBuilds } from './template-remains.ts'

/** Templates of a server by whether a new tenant would be copied from them. */
interface KnownTemplates {
  /** Names of those that tenants are made from now, with seeds and without, whether they are built or not. */
  current: string[]
  /** Finished ones that are not among them. */
  old: OldTemplate[]
}

interface OldTemplate {
  name: string
  /** Undefined for what its builder had no time to record. */
  builtAt: string | undefined
  /** In what it differs from the current one that is most like it. */
  reasons: string[]
}

const finished = /^tenantctl_template_[0-9a-f]{24}$/

/**
 * Sorts the finished templates that a server has of this registry. Undefined where nothing can be said: the files cannot
 * be read, or there are none, as on a machine that has the registry's address alone.
 */
export async function sortTemplates(
  parts: ProvisioningParts,
  server: string,
  adminFacts: PlanContext['adminFacts'],
  databases: Iterable<DatabaseEntry>,
): Promise<KnownTemplates | undefined> {
  const { roles } = parts.config
  const planned = [true, false].map(seed => planTemplate({ parts, adminFacts, seed, tenant: { roles } }))
  const plans = (await Promise.all(planned).catch(() => [])).flatMap(plan => plan ?? [])
  const current = [...new Set(plans.map(plan => plan.name))]
  if (current.length === 0) return undefined
  const marker = templateMarker(parts.registryId)
  const names = [...databases]
    .filter(({ name, marker: found }) => found === marker && finished.test(name) && !current.includes(name))
    .map(({ name }) => name)
  const built = names.length > 0 ? await parts.builtTemplates.list(server) : new Map<string, never>()
  const old = names.map(name => {
    const { madeOf, builtAt } = built.get(name) ?? {}
    const reasons = madeOf ? plans.map(plan => templateDifferences(madeOf, plan.madeOf)) : []
    return { name, builtAt, reasons: reasons.sort((a, b) => a.length - b.length)[0] ?? [] }
  })
  return { current, old }
}

/**
 * Removes an old template, unless somebody is building it right now (`TENANT_LOCKED`). Who is copying it keeps the server
 * from dropping it until the copy is there. Its roles stay as long as a copy belongs to them: one that is being made, or
 * was left half-made. They count as what is left of a template then, which repair removes.
 */
export async function removeOldTemplate(
  parts: ProvisioningParts,
  server: string,
  { name, current }: { name: string; current: readonly string[] },
  options: RunOptions,
): Promise<void> {
  await whileNobodyBuilds(parts, { server, name }, options, async (admin, { marker }) => {
    if ((await findDatabase(admin, name))?.marker === marker) await dropDatabase(admin, name)
    // Its names are among those of separate roles.
    await removeRemains(admin, { name, roles: 'separate' }, marker)
  })
  await parts.builtTemplates.forget(server, name)
  // Nor is it of any interest which of the others were found to be of no use.
  await parts.refusedTemplates.forgetOthers(server, current)
}
