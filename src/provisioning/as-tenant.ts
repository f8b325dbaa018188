import { throwIfAborted } from '../errors.ts'
import { bookkeepingTimeoutMs } from '../migrations/migrate.ts'
import type { ServerAddress } from '../postgres/address.ts'
import { type Client, type ConnectOptions, cancellable, close, connect, withClient } from '../postgres/connect.ts'
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
  const { address, options } = await wayIn(context)
  return withClient(address, options, work)
}

/** The same; that the session has ended is waited for by whoever waits for `context.leaving`. */
export async function visitAsTenant(context: StepContext, work: (client: Client) => Promise<void>): Promise<void> {
  const { address, options } = await wayIn(context)
  throwIfAborted(options.signal)
  const client = await connect(address, options)
  try {
    await cancellable(address, client, options.signal, () => work(client))
  } finally {
    context.leaving = close(client)
  }
}

async function wayIn(
  context: LoginContext & Pick<StepContext, 'signal'>,
): Promise<{ address: ServerAddress; options: ConnectOptions }> {
  const { parts, tenant, signal } = context
  const address = parts.servers.tenant(tenant, await credentialsOf(context, 'migrator'))
  const settings = { lock_timeout: parts.config.migrations.lockTimeoutMs, statement_timeout: bookkeepingTimeoutMs }
  return { address, options: { settings, signal, doing: `logging in as role "${address.user}"` } }
}
