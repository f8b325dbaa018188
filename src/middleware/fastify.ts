import { contextOf, type MiddlewareOptions } from './context.ts'
import { defaultRetryAfter, refusalOf } from './refusal.ts'
import type { RequestLike, TenancyLike } from './tenancy.ts'

export type { MiddlewareOptions, RequestLike, TenancyLike }

/** What is used of Fastify's request. */
export interface FastifyRequestLike extends RequestLike {
  raw: object
}

/** What is used of Fastify's reply. */
export interface FastifyReplyLike {
  raw: object
  /** Sets the status. */
  code(status: number): unknown
  /** Adds headers. */
  headers(values: Record<string, string>): unknown
  /** Answers. */
  send(body: unknown): unknown
}

/** What is used of Fastify itself. */
export interface FastifyLike<Request, Reply> {
  /** Is asked for one hook, which every request goes through. */
  addHook(name: 'onRequest', hook: (request: Request, reply: Reply, done: (error?: Error) => void) => void): unknown
}

/** How the plugin finds the tenant of a request, and what it answers when there is none. */
export interface FastifyTenantOptions<Request = FastifyRequestLike, Reply = FastifyReplyLike>
  extends MiddlewareOptions<Request> {
  /**
   * Answers requests whose tenant is unknown (404), still being made (503) or suspended (403) in a way of one's own;
   * `error.code` tells which. It must send the reply. Default: a line of JSON.
   */
  onRefused?: ((error: Error, request: Request, reply: Reply) => void) | undefined
}

/**
 * A Fastify plugin: `app.register(tenantContext(tenancy, options))`. Routes of the application it is registered in, and
 * hooks that come after it, run in the context of the request's tenant.
 */
export function tenantContext(
  tenancy: TenancyLike,
  options: FastifyTenantOptions,
): (app: FastifyLike<FastifyRequestLike, FastifyReplyLike>) => Promise<void> {
  const plugin = async (app: FastifyLike<FastifyRequestLike, FastifyReplyLike>) => {
    const enter = contextOf(tenancy, options)
    app.addHook('onRequest', (request, reply, done) => {
      let entered = false
      const go = () => {
        entered = true
        done()
      }
      enter(requestOf(request), [request.raw, reply.raw], go).catch((error: Error) => {
        const refusal = entered ? undefined : refusalOf(error, options.retryAfter ?? defaultRetryAfter)
        if (!refusal) return done(error)
        if (options.onRefused) return options.onRefused(error, request, reply)
        reply.code(refusal.status)
        reply.headers(refusal.headers)
        reply.send(refusal.body)
      })
    })
  }
  // For the application that registers it, not for a corner of its own (fastify-plugin does the same).
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true })
}

/** Duplicate headers are seen on node's own request only. */
function requestOf(request: FastifyRequestLike): FastifyRequestLike {
  const { rawHeaders } = request.raw as RequestLike
  return Object.defineProperty(request, 'rawHeaders', { value: rawHeaders, configurable: true })
}
