import { defineCommand, examples } from '../command.ts'
import { type LoginRole, readRole, roleOption } from '../options.ts'

export default defineCommand<{ tenant: string; admin: boolean; role: LoginRole }, { tenant: string; url: string }>({
  configure(command) {
    command.argument('<tenant>', 'slug or id')
    command.option('--admin', "the admin's login to the tenant's database instead of the tenant's own")
    roleOption(command)
    examples(command, ['tenantctl url acme', 'pg_dump --dbname "$(tenantctl url acme)" --file acme.sql'])
  },
  read: command => ({
    tenant: command.processedArgs[0] as string,
    admin: Boolean(command.opts().admin),
    role: readRole(command),
  }),
  async run({ tenant, admin, role }, context) {
    const { tenants } = await context.tenancy()
    return { tenant, url: (await tenants.url(tenant, { admin, role })).reveal() }
  },
  // Alone on stdout: this is made for "$(…)".
  text: result => result.url,
})
