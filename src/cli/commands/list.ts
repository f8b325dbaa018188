import { Option } from 'commander'
import type { ListOptions, RetainedTenant } from '../../index.ts'
import type { Tenant } from '../../registry/tenant.ts'
import { defineCommand, examples } from '../command.ts'
import { CliError } from '../errors.ts'
import { filterOptions, positiveInteger, readFilter } from '../options.ts'
import { formatBytes, formatTime } from '../output/format.ts'
import { clean } from '../output/sanitize.ts'
import type { Style } from '../output/style.ts'
import { table } from '../output/table.ts'
import { labelsText, statusText } from '../output/tenant.ts'

type Listed = Tenant & { sizeBytes?: number | null }
type Input = { retained: true } | ({ retained: false } & ListOptions)

export default defineCommand<Input, Listed[] | RetainedTenant[]>({
  configure(command) {
    filterOptions(command)
      .addOption(new Option('--sort <key>', 'order').choices(['slug', 'created', 'version', 'size']).default('slug'))
      .option('--limit <n>', 'at most so many', positiveInteger)
      .option('--size', 'also ask the servers how large each database is')
      .option('--retained', 'dropped tenants that are kept, instead of the others')
    examples(command, [
      'tenantctl list',
      'tenantctl list --label plan=pro --status active',
      "tenantctl list --json | jq -r '.[].slug'",
    ])
  },
  read(command) {
    const { sort, limit, size, retained } = command.opts()
    if (retained) {
      const given = command.options.filter(option => command.getOptionValueSource(option.attributeName()) === 'cli')
      const clash = given.find(option => option.attributeName() !== 'retained')
      if (clash) throw new CliError('USAGE', `--retained lists all of them; ${clash.long} is for other tenants`)
      return { retained: true }
    }
    // Sorting by size asks the servers all the same, so it shows what it found.
    const sizes = size || sort === 'size' ? { size: true } : {}
    return { retained: false, ...readFilter(command.opts()), sort, ...(limit === undefined ? {} : { limit }), ...sizes }
  },
  async run(input, context) {
    const { tenants } = await context.tenancy()
    if (input.retained) return await tenants.retained()
    const { retained: _, ...options } = input
    return await tenants.list(options)
  },
  arrayKey: 'tenants',
  async text(tenants, style) {
    if (tenants.length === 0) return ''
    if (areRetained(tenants)) return await retainedText(tenants, style)
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
    return await table(head, rows, style, { free: 1, ...(withSize ? { right: [head.length - 1] } : {}) })
  },
  hint(tenants, input) {
    if (tenants.length > 0)
      return input.retained ? '`tenantctl undrop <tenant>` brings one back, by its slug or id' : undefined
    if (input.retained) return 'no dropped tenants are kept'
    const filtered = input.labels ?? input.server ?? input.status
    return filtered === undefined ? 'no tenants; make one with `tenantctl create <name>`' : 'no tenant matches'
  },
})

function areRetained(tenants: Listed[] | RetainedTenant[]): tenants is RetainedTenant[] {
  return tenants[0] !== undefined && 'retainedUntil' in tenants[0]
}

async function retainedText(tenants: RetainedTenant[], style: Style): Promise<string> {
  const rows = tenants.map(({ slug, name, id, droppedAt, retainedUntil, expired }) => [
    style.bold(clean(slug)),
    clean(name),
    id,
    style.dim(formatTime(droppedAt)),
    expired ? style.warn(`${formatTime(retainedUntil)} (expired)`) : formatTime(retainedUntil),
  ])
  return await table(['SLUG', 'NAME', 'ID', 'DROPPED', 'KEPT UNTIL'], rows, style, { free: 1 })
}
