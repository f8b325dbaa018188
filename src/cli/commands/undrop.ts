import type { Tenant } from '../../registry/tenant.ts'
import { defineCommand, examples } from '../command.ts'
import { clean } from '../output/sanitize.ts'
import { facts, tenantFacts } from '../output/tenant.ts'

export default defineCommand<{ tenant: string; slug?: string }, Tenant>({
  configure(command) {
    command.argument('<tenant>', 'the slug it had, or its id')
    command.option('--slug <slug>', 'bring it back under another slug, when its own is taken')
    examples(command, ['tenantctl list --retained', 'tenantctl undrop acme', 'tenantctl undrop acme --slug acme-old'])
  },
  read(command) {
    const slug = command.opts().slug as string | undefined
    return { tenant: command.processedArgs[0] as string, ...(slug === undefined ? {} : { slug }) }
  },
  async run({ tenant, slug }, context) {
    const { tenants } = await context.tenancy()
    return await tenants.undrop(tenant, { ...(slug === undefined ? {} : { slug }), ...context.runOptions })
  },
  async text(tenant, style) {
    return `${style.good('✓')} Brought back ${style.bold(clean(tenant.slug))}\n${facts(tenantFacts(tenant, style), style)}`
  },
  hint: tenant =>
    tenant.status === 'suspended' ? `it was suspended, and still is: tenantctl resume ${tenant.slug}` : undefined,
})
