import { TenancyError } from '../errors.ts'
import type { Session } from '../postgres/databases.ts'
import type { Tenant } from '../registry/tenant.ts'

/** Says who holds the connections that keep a database in use. */
export function connectionsOpen(
  tenant: Pick<Tenant, 'slug' | 'database'>,
  sessions: readonly Session[],
  hint = `end them first, or let \`tenantctl drop ${tenant.slug} --force\` do it`,
): TenancyError {
  const few = sessions
    .slice(0, 5)
    .map(each => {
      const from = [each.application, each.client].filter(Boolean).join(' from ')
      return `pid ${each.pid} (${each.user}${from ? `, ${from}` : ''}, since ${each.since})`
    })
    .join('; ')
  const more = sessions.length > 5 ? ` and ${sessions.length - 5} more` : ''
  return new TenancyError(
    'CONNECTIONS_OPEN',
    `${sessions.length} open ${sessions.length === 1 ? 'connection' : 'connections'} to database "${tenant.database}": ${few}${more}`,
    { tenant: tenant.slug, hint },
  )
}
