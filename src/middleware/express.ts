import { contextOf, type MiddlewareOptions } from './context.ts'
import { defaultRetryAfter, refusalOf } from './refusal.ts'
import type { RequestLike, TenancyLike } from './tenancy.ts'

export type { MiddlewareOptions, RequestLike, TenancyLike }

/** What is used of Express's response. */
export interface ExpressResponseLike {
  /** Sets the status. */
  status(code: number): unknown
  /** Sets a header. */
  setHeader(name: string, value: string): unknown
  /** Answers. */
  end(body: string): unknown
}

/** How the middleware finds the tenant of a request, and what it answers when there is none. */
export interface ExpressTenantOptions<Request = RequestLike> extends MiddlewareOptions<Request> {
  /**
   * Answers requests whose tenant is unknown (404), still being made (503) or suspended (403) in a way of one's own;
   * `error.code` tells which. Call `next(error)` to leave it to Express. Default: a line of JSON.
   */
  onRefused?:
    | ((error: Error, request: Request, response: ExpressResponseLike, next: (error?: unknown) => void) => void)
    | undefined
}

/**
 * Express middleware: what comes after it runs in the context of the request's tenant, with `currentTenant()` and
 * `currentConnection()`. A failure, such as a registry that cannot be reached, goes to Express's error handler.
 */
export function tenantContext<Request extends RequestLike = RequestLike>(
  tenancy: TenancyLike,
  options: ExpressTenantOptions<Request>,
): (request: Request, response: ExpressResponseLike, next: (error?: unknown) => void) => void {
  const enter = contextOf(tenancy, options)
  return (request, response, next) => {
    let entered = false
    const go = () => {
      entered = true
      next()
    }
    enter(request, [request, response], go).catch((error: unknown) => {
      const refusal = entered ? undefined : refusalOf(error, options.retryAfter ?? defaultRetryAfter)
      if (!refusal) return next(error)
      if (options.onRefused) return options.onRefused(error as Error, request, response, next)
      response.status(refusal.status)
      for (const [name, value] of Object.entries(refusal.headers)) response.setHeader(name, value)
      response.end(JSON.stringify(refusal.body))
    })
  }
}
