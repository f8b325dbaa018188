import type { IncomingMessage, ServerResponse } from 'node:http'
import { contextOf, type MiddlewareOptions } from './context.ts'
import { defaultRetryAfter, type Refusal, refusalOf } from './refusal.ts'
import type { RequestLike, TenancyLike } from './tenancy.ts'

export type { MiddlewareOptions, RequestLike, TenancyLike }

/** How the wrapper finds the tenant of a request, and what it answers when there is none. */
export interface HttpTenantOptions extends MiddlewareOptions<IncomingMessage> {
  /**
   * Answers requests that have no tenant to run in, in a way of one's own: `error.code` tells why. Also called when the
   * registry cannot be reached. Default: a line of JSON, with 404, 503, 403 or 500.
   */
  onRefused?: ((error: Error, request: IncomingMessage, response: ServerResponse) => void) | undefined
}

const failure: Refusal = {
  status: 500,
  headers: { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' },
  body: { error: { code: 'INTERNAL', message: 'Something went wrong.' } },
}

/**
 * A listener for `http.createServer` that runs another one in the context of the request's tenant. What `listener`
 * throws is a rejection that nobody handles, as it is without this.
 */
export function withTenant(
  tenancy: TenancyLike,
  options: HttpTenantOptions,
  listener: (request: IncomingMessage, response: ServerResponse) => unknown,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const enter = contextOf(tenancy, options)
  return async (request, response) => {
    let result: unknown
    let entered = false
    try {
      await enter(request, [request, response], () => {
        entered = true
        result = listener(request, response)
      })
    } catch (error) {
      if (entered) throw error
      if (options.onRefused) return options.onRefused(error as Error, request, response)
      const { status, headers, body } = refusalOf(error, options.retryAfter ?? defaultRetryAfter) ?? failure
      response.writeHead(status, headers).end(JSON.stringify(body))
      return
    }
    await result
  }
}
