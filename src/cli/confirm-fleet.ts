import type { Selection } from '../fleet/selection.ts'
import type { CliContext } from './context.ts'
import { plural } from './output/format.ts'
import { clean } from './output/sanitize.ts'
import { confirmByRetyping, registryInWords, requireInteractive } from './prompts.ts'

const named = 10

/**
 * Asks to type the slug of one tenant, the count of several. Returns their ids, so that the library can refuse when the
 * selection has come to match others since; undefined when nobody was asked. `refusal` is what cannot be done without
 * a terminal, where `doing` does not make sense without the tenants.
 */
export async function confirmFleet(
  context: CliContext,
  selection: Selection,
  doing: string,
  options: { ifExists?: boolean; refusal?: string } = {},
): Promise<string[] | undefined> {
  if (context.options.yes) return undefined
  requireInteractive(context, options.refusal ?? doing)
  const tenants = await (await context.tenancy()).tenants.select(selection).catch(error => {
    if (options.ifExists && (error as { code?: unknown }).code === 'TENANT_NOT_FOUND') return undefined
    throw error
  })
  // Nothing to lose for certain is nothing to ask about; the library decides again what is there.
  if (!tenants || tenants.length === 0) return tenants && []
  const where = await registryInWords(context)
  const [first] = tenants
  if (tenants.length === 1 && first) {
    const what = `${doing} tenant ${clean(first.slug)} (${clean(first.name)}), database ${clean(first.database)}, ${where}`
    await confirmByRetyping(context, { what, expected: first.slug })
  } else {
    const slugs = tenants.slice(0, named).map(tenant => clean(tenant.slug))
    const rest = tenants.length > named ? `, and ${tenants.length - named} more` : ''
    const what = `${doing} ${plural(tenants.length, 'tenant')}: ${slugs.join(', ')}${rest}; ${where}`
    await confirmByRetyping(context, { what, expected: String(tenants.length) })
  }
  return tenants.map(tenant => tenant.id)
}
