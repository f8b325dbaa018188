import { AsyncLocalStorage } from 'node:async_hooks'
import type { Knex } from 'knex'
import { TenancyError } from '../errors.ts'
import type { Tenant } from '../registry/tenant.ts'

/** Whose request it is. */
export interface TenantContext {
  /** As the registry described it when the context was entered. */
  readonly tenant: Tenant
  /** A pooled knex on its database. */
  readonly connection: Knex
}

/** Of the process: a bundler may have put several copies of this file into it. */
const key = Symbol.for('tenantctl.context.v1')
const place = globalThis as { [key]?: AsyncLocalStorage<TenantContext> }
place[key] ??= new AsyncLocalStorage<TenantContext>()
const storage = place[key]

/**
 * Runs `work` in the context of a tenant, and whatever it starts: promises, timers, listeners. A context within a
 * context holds until its own end, then the outer one holds again.
 */
export function runInContext<T>(context: TenantContext, work: (context: TenantContext) => T): T {
  return storage.run(context, work, context)
}

/** Throws `NO_TENANT_CONTEXT` outside of `tenancy.run()` and of the middleware. */
export function currentTenant(): Tenant {
  return current('the current tenant').tenant
}

/**
 * A knex on the current tenant's database. Throws `NO_TENANT_CONTEXT` outside of `tenancy.run()` and of the
 * middleware: there is no database to fall back to.
 */
export function currentConnection(): Knex {
  return current("the current tenant's connection").connection
}

function current(what: string): TenantContext {
  const context = storage.getStore()
  if (context) return context
  throw new TenancyError('NO_TENANT_CONTEXT', `${what} was asked for outside of a tenant's context`, {
    hint: 'wrap the code in tenancy.run(tenant, …), or put the middleware before it',
  })
}
