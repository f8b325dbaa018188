import type { TenantDetails } from '../../index.ts'
import type { Operation } from '../../registry/operation.ts'
import { defineCommand, examples } from '../command.ts'
import { formatBytes, plural } from '../output/format.ts'
import { operationRow } from '../output/operation.ts'
import { clean } from '../output/sanitize.ts'
import type { Style } from '../output/style.ts'
import { columns } from '../output/table.ts'
import { facts, tenantFacts } from '../output/tenant.ts'

export default defineCommand<string, TenantDetails>({
  configure(command) {
    command.argument('<tenant>', 'slug or id')
    examples(command, ['tenantctl show acme', "tenantctl show acme --json | jq '.pending'"])
  },
  read: command => command.processedArgs[0] as string,
  async run(tenant, context) {
    return await (await context.tenancy()).tenants.describe(tenant)
  },
  async text(tenant, style) {
    const parts = [
      style.bold(clean(tenant.slug)),
      facts([...tenantFacts(tenant, style), ...liveFacts(tenant, style)], style),
    ]
    if (tenant.pending.length > 0) {
      const files = tenant.pending.map(name => `  ${clean(name)}`)
      parts.push('', style.warn(`Pending (${plural(tenant.pending.length, 'migration')})`), ...files)
    }
    if (tenant.missing.length > 0) {
      const names = tenant.missing.map(name => `  ${clean(name)}`)
      parts.push(
        '',
        style.warn(`Applied, and not in the folder (${plural(tenant.missing.length, 'migration')})`),
        ...names,
      )
    }
    if (tenant.operations.length > 0)
      parts.push('', style.bold('Last operations'), await lastOperations(tenant.operations, style))
    return parts.join('\n')
  },
})

function liveFacts(tenant: TenantDetails, style: Style): (readonly [string, string | null])[] {
  return [
    ['host', `${clean(tenant.host)}:${tenant.port}`],
    ['size', tenant.sizeBytes === null ? null : formatBytes(tenant.sizeBytes)],
    ['connections', tenant.connections === null ? null : String(tenant.connections)],
    ['problem', tenant.problem === null ? null : style.bad(clean(tenant.problem))],
  ]
}

async function lastOperations(operations: readonly Operation[], style: Style): Promise<string> {
  return await columns(
    operations.map(operation => operationRow(operation, style)),
    { indent: '  ' },
  )
}
