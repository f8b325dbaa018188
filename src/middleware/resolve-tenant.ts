import { TenancyError } from '../errors.ts'
import { hostOfHeader, parseDomain } from '../hostname.ts'
import type { RequestLike, TenancyLike } from './tenancy.ts'

/** How a request tells whose it is. The first way that names a tenant counts, in the order of this list. */
export interface ResolveOptions<Request = RequestLike> {
  /** A function of one's own, from a request to a slug or id. */
  resolve?: ((request: Request) => string | undefined | Promise<string | undefined>) | undefined
  /** A header that holds the slug, such as `x-tenant`. Only behind something that sets it: anybody can send it. */
  header?: string | undefined
  /** What stands before the slug in the path: `/t` for `/t/acme/issues`. The URL is left as it is. */
  pathPrefix?: string | undefined
  /** Domain, or domains, whose subdomains are tenants: `example.com` for `acme.example.com`. */
  baseDomain?: string | readonly string[] | undefined
  /** Look a host up among the domains of the tenants' own (`tenantctl domain add`). Default: false. */
  customDomains?: boolean | undefined
  /**
   * Believe `X-Forwarded-Host`, of which the last value counts: the one that the nearest proxy has written. Only behind
   * a proxy that sets it, since anybody can send it. Default: false.
   */
  trustForwardedHost?: boolean | undefined
}

type ResolveTenant<Request> = (request: Request) => Promise<string | undefined>

const slugPattern = /^[a-z](?:-?[a-z0-9])*$/
const uuidPattern = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/

/** Throws `USAGE` for options that name no way, or make no sense. */
export function tenantResolver<Request extends RequestLike>(
  tenancy: TenancyLike,
  options: ResolveOptions<Request>,
): ResolveTenant<Request> {
  const { resolve, header, pathPrefix, baseDomain, customDomains = false, trustForwardedHost = false } = options
  if (!resolve && header === undefined && pathPrefix === undefined && baseDomain === undefined && !customDomains) {
    throw new TenancyError('USAGE', 'the middleware was not told how a request names its tenant', {
      hint: "give it baseDomain: 'example.com', customDomains, header, pathPrefix or resolve",
    })
  }
  const domains = [baseDomain ?? []].flat().map(domain => (domain === 'localhost' ? domain : parseDomain(domain)))
  const prefix = pathPrefix === undefined ? undefined : parsePrefix(pathPrefix)

  return async request => {
    const named =
      (await resolve?.(request)) ??
      (header === undefined ? undefined : slug(single(request.headers[header.toLowerCase()]))) ??
      (prefix === undefined ? undefined : slugInPath(request.url, prefix))
    if (named !== undefined || (domains.length === 0 && !customDomains)) return named
    const host = hostOf(request, trustForwardedHost)
    if (host === undefined) return undefined
    // Below our own domain nobody can have a domain of his own.
    const below = domains.find(domain => host === domain || host.endsWith(`.${domain}`))
    if (below !== undefined) return slug(host.slice(0, -below.length - 1))
    return customDomains ? tenancy.domains.resolve(host) : undefined
  }
}

/** A request with two hosts is read in one way by a proxy and in the other by us: it has none. */
function hostOf(request: RequestLike, trustForwardedHost: boolean): string | undefined {
  const forwarded = trustForwardedHost ? request.headers['x-forwarded-host'] : undefined
  if (forwarded !== undefined) return hostOfHeader([forwarded].flat().join(',').split(',').at(-1)?.trim())
  const raw = request.rawHeaders ?? []
  const hosts = raw.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host')
  if (hosts.length > 1) return undefined
  return hostOfHeader(single(request.headers.host ?? request.headers[':authority']))
}

function slugInPath(url: string | undefined, prefix: string): string | undefined {
  const [path = ''] = (url ?? '').split(/[?#]/, 1)
  if (!path.startsWith(prefix)) return undefined
  return slug(path.slice(prefix.length).split('/', 1)[0])
}

/** `/t`, `/t/` and `t` are the same: `/t/`. */
function parsePrefix(written: string): string {
  const inner = written.replace(/^\/+|\/+$/g, '')
  if (/^[\w.~-]*(?:\/[\w.~-]+)*$/.test(inner)) return inner === '' ? '/' : `/${inner}/`
  throw new TenancyError('USAGE', `pathPrefix ${JSON.stringify(written)} is not the beginning of a path`)
}

/** What cannot be a slug is not looked up, and an id is nothing that visitors are meant to know. */
function slug(text: string | undefined): string | undefined {
  const fits = text !== undefined && text.length <= 63 && slugPattern.test(text) && !uuidPattern.test(text)
  return fits ? text : undefined
}

function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}
