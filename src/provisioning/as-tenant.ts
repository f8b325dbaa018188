import { bookkeepingTimeoutMs } from '../migrations/migrate.ts'
import { type Client, withClient } from '../postgres/connect.ts'
import type { StepContext } from './step.ts'

/** On the login of the tenant that owns what is in its database. */
export async function insideAsTenant<T>(
  context: Pick<StepContext, 'parts' | 'tenant' | 'signal'>,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const { parts, tenant, signal } = context
  const address = parts.servers.tenant(tenant, await parts.registry.credentials(tenant, 'migrator'))
  const settings = { lock_timeout: parts.config.migrations.lockTimeoutMs, statement_timeout: bookkeepingTimeoutMs }
  return withClient(address, { settings, signal, doing: `logging in as role "${address.user}"` }, work)
}
