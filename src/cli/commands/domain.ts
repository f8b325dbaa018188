import type { Domain } from '../../registry/domain-registry.ts'
import { defineCommand, examples } from '../command.ts'
import { formatTime } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'

export const add = defineCommand<{ tenant: string; domain: string }, Domain>({
  configure(command) {
    command.argument('<tenant>', 'slug or id').argument('<domain>', 'such as app.acme.com')
    examples(command, ['tenantctl domain add acme app.acme.com'])
  },
  read(command) {
    const [tenant, domain] = command.args as [string, string]
    return { tenant, domain }
  },
  async run({ tenant, domain }, context) {
    return (await context.tenancy()).domains.add(tenant, domain)
  },
  text: ({ domain, tenant }, style) => `${style.good('✓')} ${domain} belongs to ${style.bold(clean(tenant))}`,
  hint: ({ domain }) => `the domain must point to your application: a CNAME or A record of ${domain}`,
})

export const remove = defineCommand<string, Domain>({
  configure(command) {
    command.argument('<domain>', 'such as app.acme.com')
    examples(command, ['tenantctl domain remove app.acme.com'])
  },
  read: command => command.args[0] as string,
  async run(domain, context) {
    return (await context.tenancy()).domains.remove(domain)
  },
  text: ({ domain, tenant }, style) =>
    `${style.good('✓')} ${domain} does not belong to ${style.bold(clean(tenant))} any more`,
})

export const list = defineCommand<string | undefined, Domain[]>({
  configure(command) {
    command.argument('[tenant]', 'slug or id; all tenants without it')
    examples(command, ['tenantctl domain list', 'tenantctl domain list acme --json'])
  },
  read: command => command.args[0],
  async run(tenant, context) {
    return (await context.tenancy()).domains.list(tenant)
  },
  arrayKey: 'domains',
  async text(domains, style) {
    if (domains.length === 0) return ''
    const rows = domains.map(each => [
      each.domain,
      style.bold(clean(each.tenant)),
      style.dim(formatTime(each.createdAt)),
    ])
    return await table(['DOMAIN', 'TENANT', 'ADDED'], rows, style)
  },
  hint: domains =>
    domains.length === 0 ? 'no domains; add one with `tenantctl domain add <tenant> <domain>`' : undefined,
})
