import { bookkeepingTimeoutMs } from '../migrations/migrate.ts'
import { type Client, withClient } from '../postgres/connect.ts'
import { scramVerifier } from '../postgres/scram.ts'
import type { TenantCredentials } from '../registry/tenant.ts'
import type { TenantLogin } from '../registry/tenant-registry.ts'
import type { Secret } from '../secrets/secret.ts'
import type { StepContext } from './step.ts'

/** A login's password, and what the server stores of it, which takes a moment to be worked out. */
export interface KnownLogin extends TenantCredentials {
  verifier?: Promise<Secret>
}

type LoginContext = Pick<StepContext, 'parts' | 'tenant'> & Partial<Pick<StepContext, 'logins'>>

/** Asks the registry where it is not known already. */
async function credentialsOf({ parts, tenant, logins }: LoginContext, login: TenantLogin): Promise<KnownLogin> {
  const known = logins?.get(login) ?? (await parts.registry.credentials(tenant, login))
  logins?.set(login, known)
  return known
}

export async function verifierOf(context: LoginContext, login: TenantLogin): Promise<Secret> {
  const known = await credentialsOf(context, login)
  known.verifier ??= scramVerifier(known.password)
  return known.verifier
}

/** On the login of the tenant that owns what is in its database. */
export async function insideAsTenant<T>(
  context: LoginContext & Pick<StepContext, 'signal'>,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const { parts, tenant, signal } = context
  const address = parts.servers.tenant(tenant, await credentialsOf(context, 'migrator'))
  const settings = { lock_timeout: parts.config.migrations.lockTimeoutMs, statement_timeout: bookkeepingTimeoutMs }
  return withClient(address, { settings, signal, doing: `logging in as role "${address.user}"` }, work)
}
