import { resolve } from 'node:path'
import type { RestoreInput } from '../../index.ts'
import type { Tenant } from '../../registry/tenant.ts'
import { defineCommand, examples } from '../command.ts'
import { collectLabel } from '../options.ts'
import { clean } from '../output/sanitize.ts'
import { facts, tenantFacts } from '../output/tenant.ts'

export default defineCommand<RestoreInput, Tenant>({
  configure(command) {
    command
      .argument('<dump>', 'file that `drop --backup` or `pg_dump --format=custom` has written')
      .requiredOption('--as <slug>', 'slug of the tenant that it becomes')
      .option('--name <name>', 'its name (default: the one it had, else the slug)')
      .option('--label <key=value>', 'a label, in the place of those it had (repeatable)', collectLabel)
      .option('--server <name>', 'server to put the database on')
      .option('--database <name>', 'database name (default: made from the slug)')
    examples(command, [
      'tenantctl restore backups/acme-20260105T100000.000Z.dump --as acme',
      'tenantctl restore acme.dump --as acme-copy --name "Acme (copy)" --label plan=test',
    ])
  },
  read(command) {
    const { as, name, label, server, database } = command.opts()
    return {
      dump: command.processedArgs[0] as string,
      slug: as,
      ...(name === undefined ? {} : { name }),
      ...(label === undefined ? {} : { labels: label }),
      ...(server === undefined ? {} : { server }),
      ...(database === undefined ? {} : { database }),
    }
  },
  async run(input, context) {
    const { tenants } = await context.tenancy()
    return await tenants.restore({ ...input, dump: resolve(context.io.cwd, input.dump) }, context.runOptions)
  },
  text: (tenant, style) =>
    `${style.good('✓')} Restored ${style.bold(clean(tenant.slug))}\n${facts(tenantFacts(tenant, style), style)}`,
  hint: tenant =>
    `\`tenantctl status ${tenant.slug}\` tells whether migrations came since; \`tenantctl migrate ${tenant.slug}\` applies them`,
})
