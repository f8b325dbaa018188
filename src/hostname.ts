import { domainToASCII } from 'node:url'
import { TenancyError } from './errors.ts'

const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const hostPattern = new RegExp(`^${label}(?:\\.${label})*$`)
const longest = 253

/**
 * The name in a Host header, as it is compared: lower case, without port and without the dot at the end. Undefined for
 * what is no name: addresses in brackets, user names, lists, and everything that is not plain ASCII, which no browser
 * sends (RFC 9110, 7.2).
 */
export function hostOfHeader(header: string | undefined): string | undefined {
  const [, name] = /^([\w.-]{1,254})(?::\d{0,5})?$/.exec(header ?? '') ?? []
  return name === undefined ? undefined : hostname(name.toLowerCase())
}

/** A domain as somebody writes it: in any case, with or without the dot at the end, in his own script. */
export function parseDomain(written: string): string {
  const text = written.trim()
  // The URL parser behind domainToASCII would cut off or decode what does not belong to a name.
  const ascii = /^[^\s/\\@:?#%[\]]+$/.test(text) ? domainToASCII(text) : ''
  const domain = hostname(ascii)
  if (domain?.includes('.') && !/^[\d.]+$/.test(domain)) return domain
  throw new TenancyError('DOMAIN_INVALID', `${JSON.stringify(written)} is not a domain`, {
    hint: 'give the name alone, without https:// and port: app.example.com',
  })
}

function hostname(name: string): string | undefined {
  const host = name.endsWith('.') ? name.slice(0, -1) : name
  return host.length <= longest && hostPattern.test(host) ? host : undefined
}
