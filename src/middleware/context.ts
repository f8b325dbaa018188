import { AsyncResource } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import { noTenantNamed } from './refusal.ts'
import { type ResolveOptions, tenantResolver } from './resolve-tenant.ts'
import type { RequestLike, TenancyLike } from './tenancy.ts'

/** What all kinds of middleware have in common. */
export interface MiddlewareOptions<Request = RequestLike> extends ResolveOptions<Request> {
  /**
   * Refuse requests that name no tenant, with 404. Default: true. `false` lets them pass outside of any tenant's
   * context, where `currentTenant()` throws: for a landing page or a sign-up.
   */
  required?: boolean | undefined
  /** Seconds for `Retry-After`, when the tenant is still being made. Default: 2. */
  retryAfter?: number | undefined
}

/**
 * Runs `next` in the context of the tenant that a request names. Rejects with what keeps it from that; what `next`
 * throws is its own affair and is thrown as it is.
 */
export function contextOf<Request extends RequestLike>(
  tenancy: TenancyLike,
  options: MiddlewareOptions<Request>,
): (request: Request, emitters: readonly unknown[], next: () => unknown) => Promise<void> {
  const resolve = tenantResolver(tenancy, options)
  const { required = true } = options
  return async (request, emitters, next) => {
    const slug = await resolve(request)
    if (slug === undefined) {
      if (required) throw noTenantNamed()
      next()
      return
    }
    await tenancy.run(slug, () => {
      for (const emitter of emitters) bindEvents(emitter as EventEmitter)
      next()
    })
  }
}

/**
 * Events of a request and a response come from the socket, which serves many requests: their listeners, such as those
 * that read a body, are brought into the context of this one.
 */
function bindEvents(emitter: EventEmitter): void {
  emitter.emit = AsyncResource.bind(emitter.emit.bind(emitter))
}
