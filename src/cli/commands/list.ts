import { Option } from 'commander'
import type { ListOptions } from '../../index.ts'
import type { Tenant } from '../../registry/tenant.ts'
import { defineCommand, examples } from '../command.ts'
import { filterOptions, positiveInteger, readFilter } from '../options.ts'
import { formatBytes, formatTime } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'
import { labelsText, statusText } from '../output/tenant.ts'

type Listed = Tenant & { sizeBytes?: number | null }

export default defineCommand<ListOptions, Listed[]>({
  configure(command) {
    filterOptions(command)
      .addOption(new Option('--sort <key>', 'order').choices(['slug', 'created', 'version', 'size']).default('slug'))
      .option('--limit <n>', 'at most so many', positiveInteger)
      .option('--size', 'also ask the servers how large each database is')
    examples(command, [
      'tenantctl list',
      'tenantctl list --label plan=pro --status active',
      "tenantctl list --json | jq -r '.[].slug'",
    ])
  },
  read(command) {
    const { sort, limit, size } = command.opts()
    // Sorting by size asks the servers all the same, so it shows what it found.
    const sizes = size || sort === 'size' ? { size: true } : {}
    return { ...readFilter(command.opts()), sort, ...(limit === undefined ? {} : { limit }), ...sizes }
  },
  async run(input, context) {
    return await (await context.tenancy()).tenants.list(input)
  },
  arrayKey: 'tenants',
  async text(tenants, style) {
    if (tenants.length === 0) return ''
    const withSize = tenants.some(tenant => tenant.sizeBytes !== undefined)
    const withLabels = tenants.some(tenant => Object.keys(tenant.labels).length > 0)
    const withServer = tenants.some(tenant => tenant.server !== 'default')
    const head = ['SLUG', 'NAME', 'STATUS', 'DATABASE', 'SCHEMA', 'CREATED']
    if (withServer) head.push('SERVER')
    if (withLabels) head.push('LABELS')
    if (withSize) head.push('SIZE')
    const rows = tenants.map(tenant => [
      style.bold(clean(tenant.slug)),
      clean(tenant.name),
      statusText(tenant.status, style),
      clean(tenant.database),
      clean(tenant.schemaVersion ?? '-'),
      style.dim(formatTime(tenant.createdAt)),
      ...(withServer ? [clean(tenant.server)] : []),
      ...(withLabels ? [labelsText(tenant.labels)] : []),
      ...(withSize ? [tenant.sizeBytes == null ? '-' : formatBytes(tenant.sizeBytes)] : []),
    ])
    return await table(head, rows, style, withSize ? { right: [head.length - 1] } : {})
  },
  hint: tenants => (tenants.length === 0 ? 'no tenants; make one with `tenantctl create <name>`' : undefined),
})
