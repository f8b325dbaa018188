import type { Operation } from '../../registry/operation.ts'
import { defineCommand, examples } from '../command.ts'
import { positiveInteger } from '../options.ts'
import { operationRow } from '../output/operation.ts'
import { clean } from '../output/sanitize.ts'
import { table } from '../output/table.ts'

export default defineCommand<{ tenant?: string; limit: number }, Operation[]>({
  configure(command) {
    command.argument('[tenant]', 'slug or id; default: all tenants')
    command.option('--limit <n>', 'at most so many', positiveInteger, 50)
    examples(command, ['tenantctl operations', 'tenantctl operations acme --limit 5'])
  },
  read(command) {
    const tenant = command.processedArgs[0] as string | undefined
    return { limit: command.opts().limit, ...(tenant === undefined ? {} : { tenant }) }
  },
  async run(input, context) {
    return await (await context.tenancy()).operations.list(input)
  },
  arrayKey: 'operations',
  async text(operations, style) {
    if (operations.length === 0) return ''
    const rows = operations.map(operation => {
      const [when = '', kind = '', status = '', took = '', error = ''] = operationRow(operation, style)
      return [when, style.bold(clean(operation.tenant)), kind, status, took, clean(operation.actor), error]
    })
    return await table(['STARTED', 'TENANT', 'KIND', 'STATUS', 'TOOK', 'BY', 'ERROR'], rows, style, {
      right: [4],
      free: 6,
    })
  },
  hint: operations => (operations.length === 0 ? 'nothing has been recorded yet' : undefined),
})
